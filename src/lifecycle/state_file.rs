//! The state file (`models.state_file`): saves commands of operators and withdrawn versions, so that a restart neither
//! forgets a command nor serves a version that misbehaved.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::decisions::Decisions;
use super::model_state::ModelState;
use super::withdrawn::Withdrawn;
use crate::config::models::{PolicySection, ShareSection, label_name, valid_share};
use crate::files;
use crate::storage::temporary_name;

/// The saved state by model; models without commands are left out.
pub(super) type SavedState = BTreeMap<String, SavedCommands>;

/// What both a policy and a command can set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Pointers {
    labels: BTreeMap<String, u64>,
    canary: Option<ShareSection>,
    shadow: Option<ShareSection>,
}

/// The saved state of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedCommands {
    /// The settings when the state was saved. Where the present settings differ, they override the saved state.
    settings: Pointers,
    now: Pointers,
    hold: Option<u64>,
    extra: BTreeSet<u64>,
    unloaded: bool,
    #[serde(rename = "away")]
    withdrawn: BTreeMap<u64, Withdrawn>,
    /// The latest decisions of all servers when the state was saved.
    decisions: Decisions,
}

impl Pointers {
    fn of(model: &ModelState) -> Self {
        Self {
            labels: model.labels.clone(),
            canary: model.canary.clone(),
            shadow: model.shadow.clone(),
        }
    }

    /// A policy that sets only this.
    fn policy(&self) -> PolicySection {
        PolicySection {
            labels: self.labels.clone(),
            canary: self.canary.clone(),
            shadow: self.shadow.clone(),
            ..PolicySection::default()
        }
    }

    fn validate(&self) -> Result<(), String> {
        let mut shares = self.canary.iter().chain(&self.shadow);
        shares.try_for_each(|share| valid_share(share.share))?;
        self.labels.keys().try_for_each(|label| label_name(label))
    }
}

impl SavedCommands {
    /// The state of a model to save; `None` if there is none.
    fn of(model: &ModelState) -> Option<Self> {
        let commands = Self {
            settings: Pointers::of(&ModelState::new(&model.policy)),
            now: Pointers::of(model),
            hold: model.hold,
            extra: model.extra.clone(),
            unloaded: model.unloaded,
            withdrawn: model.withdrawn.clone(),
            decisions: model.decisions.clone(),
        };
        let untouched = Self {
            settings: commands.settings.clone(),
            now: commands.settings.clone(),
            ..Self::default()
        };
        (commands != untouched).then_some(commands)
    }

    /// Creates a model with this state under a policy, before its versions are polled.
    fn model(&self, policy: &PolicySection) -> ModelState {
        let mut model = ModelState::new(&self.settings.policy());
        model.labels.clone_from(&self.now.labels);
        model.canary.clone_from(&self.now.canary);
        model.shadow.clone_from(&self.now.shadow);
        model.apply_policy(policy);
        model.hold = self.hold;
        model.extra.clone_from(&self.extra);
        model.unloaded = self.unloaded;
        model.withdrawn.clone_from(&self.withdrawn);
        model.decisions.clone_from(&self.decisions);
        model.event("saved commands were restored".to_owned());
        model
    }
}

/// Reads and writes the state file. Without a file, only the state of models that are temporarily gone is kept, in memory.
#[derive(Debug, Default)]
pub(super) struct StateStore {
    path: PathBuf,
    /// The content of the file.
    written: SavedState,
    /// State of models that are not in the repository now; they may come back.
    absent: SavedState,
    /// What could not be written, so that the failure is logged once.
    failed: Option<SavedState>,
}

impl StateStore {
    /// Reads the file, if it exists; an empty path means no file.
    ///
    /// # Errors
    /// The file cannot be read or is not a state file.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let written = match files::read(path, files::LISTS) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SavedState::new()),
            Err(error) => Err(error.to_string()),
        };
        let written = written.map_err(|why| {
            format!(
                "{} (models.state_file): {why}; delete it to start without saved commands",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            absent: written.clone(),
            written,
            failed: None,
        })
    }

    /// Creates the state of a model that was found, with its saved commands.
    pub(super) fn restore(&mut self, name: &str, policy: &PolicySection) -> ModelState {
        match self.absent.remove(name) {
            Some(commands) => {
                tracing::info!(model = name, "saved commands restored");
                commands.model(policy)
            }
            None => ModelState::new(policy),
        }
    }

    /// Keeps the commands of a model that is gone from the repository.
    pub(super) fn set_aside(&mut self, name: &str, model: &ModelState) {
        if let Some(commands) = SavedCommands::of(model) {
            self.absent.insert(name.to_owned(), commands);
        }
    }

    /// Writes the file if the state has changed.
    ///
    /// # Errors
    /// The file cannot be written; the next call retries.
    pub(super) fn save(&mut self, models: &BTreeMap<String, ModelState>) -> Result<(), String> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let commands = models.iter();
        let commands = commands.filter_map(|(name, model)| Some((name.clone(), SavedCommands::of(model)?)));
        let mut now = self.absent.clone();
        now.extend(commands);
        if now == self.written {
            return Ok(());
        }
        let written = write(&self.path, &now);
        match &written {
            Ok(()) => {
                self.written = now;
                self.failed = None;
            }
            Err(reason) if self.failed.as_ref() != Some(&now) => {
                let path = self.path.display();
                tracing::error!(%path, reason, "state file not written: a restart would forget commands");
                self.failed = Some(now);
            }
            Err(_) => {}
        }
        written
    }
}

/// Parses and checks the content of a state file.
pub(super) fn parse(text: &[u8]) -> Result<SavedState, String> {
    let saved: SavedState = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    for (name, commands) in &saved {
        let valid = commands.now.validate().and(commands.settings.validate());
        valid.map_err(|error| format!("`{name}`: {error}"))?;
    }
    Ok(saved)
}

/// Replaces the file atomically: a reader finds the old content or the new one.
fn write(path: &Path, saved: &SavedState) -> Result<(), String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let new = parent.join(temporary_name("evergreen-state"));
    let attempt = || {
        let mut file = std::fs::File::create_new(&new)?;
        serde_json::to_writer_pretty(&mut file, saved)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        std::fs::File::open(parent)?.sync_all()
    };
    attempt().map_err(|error| {
        // Best-effort cleanup: the temporary file may not exist.
        let _ = std::fs::remove_file(&new);
        error.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::repository::VersionFiles;
    use crate::storage::{FileStat, Listing};

    fn files(tag: &str) -> VersionFiles {
        Ok(Listing::Folder(vec![FileStat {
            name: "model.ubj".to_owned(),
            size: 5,
            tag: tag.to_owned(),
        }]))
    }

    /// A model with every kind of command.
    fn commanded(policy: &PolicySection) -> ModelState {
        let mut state = ModelState::new(policy);
        state.observe(
            &BTreeMap::from([(1, files("t1 i1")), (2, files("t1 i1"))]),
            std::time::Instant::now(),
        );
        state.labels.insert("stable".to_owned(), 1);
        state.canary = Some(ShareSection {
            version: 2,
            share: 0.25,
        });
        state.hold = Some(1);
        state.extra.insert(1);
        state.withdraw(2, true, "wrong scores");
        state
    }

    fn restored(path: &Path, policy: &PolicySection) -> ModelState {
        StateStore::open(path).unwrap().restore("churn", policy)
    }

    #[test]
    fn a_restart_restores_every_command() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let policy = PolicySection::default();
        let models = BTreeMap::from([
            ("churn".to_owned(), commanded(&policy)),
            ("plain".to_owned(), ModelState::new(&policy)),
        ]);
        StateStore::open(&path).unwrap().save(&models).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("plain"),
            "a model without commands is left out: {text}"
        );
        let mut state = restored(&path, &policy);
        let before = &models["churn"];
        assert_eq!((&state.labels, &state.canary), (&before.labels, &before.canary));
        assert_eq!((state.hold, &state.extra), (Some(1), &before.extra));
        // Another inode is the same file on a new mount; another time is another file.
        let now = std::time::Instant::now();
        state.observe(&BTreeMap::from([(2, files("t1 i9"))]), now);
        assert_eq!(state.next(), None);
        state.observe(&BTreeMap::from([(2, files("t2 i9"))]), now);
        assert_eq!(state.next(), Some(2));
    }

    #[test]
    fn a_changed_policy_overrides_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let models = BTreeMap::from([("churn".to_owned(), commanded(&PolicySection::default()))]);
        StateStore::open(&path).unwrap().save(&models).unwrap();
        let policy: PolicySection = toml::from_str("labels = { stable = 3 }").unwrap();
        let state = restored(&path, &policy);
        assert_eq!(state.labels["stable"], 3);
        assert!(state.canary.is_some(), "the policy says nothing of it");
    }

    #[test]
    fn commands_of_a_model_out_of_sight_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let policy = PolicySection::default();
        let mut store = StateStore::open(&path).unwrap();
        store.set_aside("churn", &commanded(&policy));
        store.save(&BTreeMap::new()).unwrap();
        assert_eq!(store.restore("churn", &policy).hold, Some(1));
        assert_eq!(restored(&path, &policy).hold, Some(1));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        for text in [
            "{",
            "[]",
            r#"{"churn": {"now": {"labels": {"7": 1}}}}"#,
            r#"{"churn": {"now": {"canary": {"version": 1, "share": 2}}}}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let error = StateStore::open(&path).unwrap_err();
            assert!(
                error.contains("state.json") && error.contains("models.state_file"),
                "{error}"
            );
        }
    }

    #[test]
    fn without_a_file_nothing_is_written() {
        let mut store = StateStore::open(Path::new("")).unwrap();
        let models = BTreeMap::from([("churn".to_owned(), commanded(&PolicySection::default()))]);
        store.save(&models).unwrap();
    }
}
