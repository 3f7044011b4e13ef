//! Exchanges the decisions about each model with the other servers of the repository.

use super::Lifecycle;
use super::decisions::Decisions;
use super::model_state::ModelState;

impl ModelState {
    /// The decisions in this state.
    fn decisions(&self) -> Decisions {
        let rolled_back = self
            .withdrawn
            .iter()
            .filter(|(_, withdrawn)| withdrawn.rolled_back);
        Decisions {
            hold: self.hold,
            rolled_back: rolled_back
                .map(|(&number, withdrawn)| (number, withdrawn.clone()))
                .collect(),
        }
    }

    /// Whether this server has decided something that the repository does not hold yet.
    fn has_decided(&self) -> bool {
        self.decisions() != self.recorded
    }

    /// Applies decisions of other servers.
    fn apply(&mut self, decisions: &Decisions) {
        let now = self.decisions();
        if now.hold != decisions.hold {
            self.hold = decisions.hold;
            self.event(match decisions.hold {
                Some(version) => format!("version {version} is held, as another server recorded"),
                None => "the hold ended, as another server recorded".to_owned(),
            });
        }
        for (&number, withdrawn) in &decisions.rolled_back {
            if now.rolled_back.get(&number) != Some(withdrawn) {
                self.withdraw_as(number, withdrawn.clone());
                let reason = &withdrawn.reason;
                self.event(format!(
                    "version {number} was rolled back, as another server recorded: {reason}"
                ));
            }
        }
        for &number in now.rolled_back.keys() {
            if !decisions.rolled_back.contains_key(&number) {
                self.reinstate(number);
                self.event(format!(
                    "version {number} may be loaded again, as another server recorded"
                ));
            }
        }
    }
}

impl Lifecycle {
    /// Merges the decisions of a model with those in the repository.
    ///
    /// # Errors
    /// They cannot be read or written: what this server decided holds for it alone.
    pub(super) fn exchange_decisions(&mut self, name: &str) -> Result<(), String> {
        let path = format!("{name}/decisions.json");
        let Some(state) = self.models.get_mut(name) else {
            return Ok(());
        };
        let theirs: Decisions = match self.repository.read(&path)? {
            None => Decisions::default(),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("{path}: {error}; delete it to forget all decisions"))?,
        };
        let ours = state.decisions();
        let merged = ours.merged(&state.recorded, &theirs);
        if merged != ours {
            state.apply(&merged);
        }
        state.recorded = theirs;
        if merged != state.recorded {
            let text = serde_json::to_vec_pretty(&merged).map_err(|error| error.to_string())?;
            self.repository.write(&path, &text)?;
            state.recorded = merged;
        }
        Ok(())
    }

    /// Exchanges the decisions of every model at a poll. Failures are logged once.
    pub(super) fn exchange_all_decisions(&mut self) {
        for name in self.names() {
            let failed = self.exchange_decisions(&name).err();
            let Some(state) = self.models.get_mut(&name) else {
                continue;
            };
            if let Some(reason) = &failed
                && state.exchange_failed.as_ref() != Some(reason)
            {
                tracing::warn!(model = name, reason, "decisions not exchanged with other servers");
            }
            state.exchange_failed = failed;
        }
    }

    /// Records what a command has decided. Returns how far that reaches, if it decided anything.
    pub(super) fn record_decisions(&mut self) -> Option<String> {
        let decided = |(name, state): (&String, &ModelState)| state.has_decided().then(|| name.clone());
        let names: Vec<String> = self.models.iter().filter_map(decided).collect();
        let results: Vec<Result<(), String>> = names
            .iter()
            .map(|name| {
                let result = self.exchange_decisions(name);
                self.reconcile(name);
                result
            })
            .collect();
        let failure = results.iter().find_map(|result| result.as_ref().err());
        match failure {
            Some(reason) => Some(format!("for this server only: {reason}")),
            None if names.is_empty() => None,
            None => Some("recorded in the repository for every server".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::models::repository::VersionFiles;
    use crate::storage::Listing;

    fn files() -> VersionFiles {
        Ok(Listing::Folder(Vec::new()))
    }

    fn state(found: &[u64]) -> ModelState {
        let mut state = ModelState::default();
        let found = found.iter().map(|&number| (number, files())).collect();
        state.observe(&found, Instant::now());
        state
    }

    fn rolled_back(number: u64) -> Decisions {
        let mut state = state(&[number]);
        state.withdraw(number, true, "wrong scores");
        state.decisions()
    }

    #[test]
    fn changes_of_others_and_of_this_server_are_both_kept() {
        let base = rolled_back(1);
        let mut ours = base.clone();
        ours.rolled_back.extend(rolled_back(2).rolled_back);
        // Others have released version 1 and hold version 3.
        let theirs = Decisions {
            hold: Some(3),
            ..Decisions::default()
        };
        let merged = ours.merged(&base, &theirs);
        assert_eq!(merged.hold, Some(3));
        assert_eq!(merged.rolled_back.keys().collect::<Vec<_>>(), [&2]);
        // Without changes of others ours stay.
        assert_eq!(ours.merged(&base, &base), ours);
    }

    #[test]
    fn another_servers_rollback_takes_a_version_out_and_its_end_makes_it_due_again() {
        let mut state = state(&[1, 2]);
        assert_eq!(state.next(), Some(2));
        state.apply(&rolled_back(2));
        assert_eq!(state.next(), Some(1), "version 2 is rolled back");
        assert_eq!(state.decisions(), rolled_back(2));
        state.apply(&Decisions::default());
        assert_eq!(state.next(), Some(2));
    }

    #[test]
    fn an_unloaded_version_is_a_matter_of_one_server() {
        let mut state = state(&[1]);
        state.withdraw(1, false, "unloaded by request");
        assert_eq!(state.decisions(), Decisions::default());
    }

    #[test]
    fn the_file_is_read_back_as_written() {
        let decisions = Decisions {
            hold: Some(1),
            ..rolled_back(2)
        };
        let text = serde_json::to_vec(&decisions).unwrap();
        assert_eq!(serde_json::from_slice::<Decisions>(&text).unwrap(), decisions);
    }
}
