//! Exchanges the decisions about each model with the other servers of the repository.

use std::collections::BTreeMap;

use super::Lifecycle;
use super::decisions::Decisions;
use super::model_state::ModelState;
use super::withdrawn::Withdrawn;
use crate::models::repository::Repository;
use crate::values::time::now;

impl ModelState {
    /// The versions that this server has rolled back.
    fn rolled_back(&self) -> BTreeMap<u64, Withdrawn> {
        let withdrawn = self.withdrawn.iter();
        let rolled_back = withdrawn.filter(|(_, withdrawn)| withdrawn.rolled_back);
        rolled_back
            .map(|(&number, withdrawn)| (number, withdrawn.clone()))
            .collect()
    }

    /// Whether something is decided that is not recorded yet.
    fn has_decided(&self) -> bool {
        let mut now_decided = self.decisions.clone();
        now_decided.record(self.hold, &self.rolled_back(), now());
        now_decided != self.decisions
    }

    /// Applies the latest decisions of all servers.
    fn apply(&mut self, decisions: Decisions) {
        let before = self.rolled_back();
        if self.hold != decisions.hold() {
            self.hold = decisions.hold();
            self.event(match decisions.hold() {
                Some(version) => format!("version {version} is held, as another server recorded"),
                None => "the hold ended, as another server recorded".to_owned(),
            });
        }
        for (number, withdrawn) in decisions.rolled_back() {
            if before.get(&number) != Some(withdrawn) {
                self.withdraw_as(number, withdrawn.clone());
                let reason = &withdrawn.reason;
                self.event(format!(
                    "version {number} was rolled back, as another server recorded: {reason}"
                ));
            }
        }
        for &number in before
            .keys()
            .filter(|&&number| !decisions.has_rolled_back(number))
        {
            self.reinstate(number);
            self.event(format!(
                "version {number} may be loaded again, as another server recorded"
            ));
        }
        self.decisions = decisions;
    }
}

impl Lifecycle {
    /// Merges the decisions about a model with those in the repository.
    ///
    /// # Errors
    /// They cannot be read or written: what this server decided holds for it alone.
    pub(super) fn exchange_decisions(&mut self, name: &str) -> Result<(), String> {
        let path = Decisions::path(name);
        let Some(state) = self.models.get_mut(name) else {
            return Ok(());
        };
        let rolled_back = state.rolled_back();
        state.decisions.record(state.hold, &rolled_back, now());
        let place = path.clone();
        let read = self.with_repository("reading decisions", move |repository| repository.read(&place))?;
        let theirs = Decisions::parse(&path, read.as_deref())?;
        let Some(state) = self.models.get_mut(name) else {
            return Ok(());
        };
        let merged = state.decisions.merged(&theirs);
        state.apply(merged.clone());
        if merged != theirs {
            let text = serde_json::to_vec_pretty(&merged).map_err(|error| error.to_string())?;
            let write = move |repository: &Repository| repository.write(&path, &text);
            self.with_repository("writing decisions", write)?;
        }
        Ok(())
    }

    /// Exchanges the decisions about every model at a poll. Failures are logged once.
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

    fn state(found: &[u64]) -> ModelState {
        let files: VersionFiles = Ok(Listing::Folder(Vec::new()));
        let mut state = ModelState::default();
        let found = found.iter().map(|&number| (number, files.clone())).collect();
        state.observe(&found, Instant::now());
        state
    }

    /// The decisions of a server that has rolled version 2 back.
    fn of_another_server() -> Decisions {
        let mut other = state(&[1, 2]);
        other.withdraw(2, true, "wrong scores");
        let mut decisions = Decisions::default();
        decisions.record(None, &other.rolled_back(), 10.0);
        decisions
    }

    #[test]
    fn another_servers_rollback_takes_a_version_out_and_its_end_makes_it_due_again() {
        let mut state = state(&[1, 2]);
        assert_eq!(state.next(), Some(2));
        let mut decisions = of_another_server();
        state.apply(decisions.clone());
        assert_eq!(state.next(), Some(1), "version 2 is rolled back");
        assert!(!state.has_decided(), "it is recorded already");
        decisions.record(None, &BTreeMap::new(), 20.0);
        state.apply(decisions);
        assert_eq!(state.next(), Some(2));
        assert!(!state.has_decided());
    }

    #[test]
    fn an_unloaded_version_is_a_matter_of_one_server() {
        let mut state = state(&[1]);
        state.withdraw(1, false, "unloaded by request");
        assert!(!state.has_decided());
        state.withdraw(1, true, "wrong scores");
        assert!(state.has_decided());
    }
}
