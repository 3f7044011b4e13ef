//! What operators asked for and what was taken back, kept in a file (`models.state_file`): a restart must neither forget
//! an order nor let a version that misbehaved answer again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::model::{Model, State};
use crate::config::models::{PolicySection, ShareSection};
use crate::models::repository::Found;
use crate::storage::{Entry, FileStat};

/// What is kept, by model; models without orders are left out.
pub(super) type Kept = BTreeMap<String, Orders>;

/// What is kept of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Orders {
    /// The policy that labels, canary and shadow were set beside: a changed one goes before them.
    policy: PolicySection,
    labels: BTreeMap<String, u64>,
    canary: Option<ShareSection>,
    shadow: Option<ShareSection>,
    hold: Option<u64>,
    extra: BTreeSet<u64>,
    unloaded: bool,
    /// Versions that were rolled back or unloaded.
    away: BTreeMap<u64, Away>,
}

/// A version that is not to be loaded by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Away {
    /// What its files looked like: others are a new chance.
    files: Vec<FileStat>,
    rolled_back: bool,
    reason: String,
}

impl Orders {
    /// What there is to keep of a model.
    fn of(model: &Model) -> Option<Self> {
        let away = model.versions.iter().filter_map(|(&number, version)| {
            let rolled_back = match version.state {
                State::RolledBack => true,
                State::Unloaded => false,
                _ => return None,
            };
            let away = Away {
                files: files(version.found.as_ref())?.to_vec(),
                rolled_back,
                reason: version.reason.clone().unwrap_or_default(),
            };
            Some((number, away))
        });
        let orders = Self {
            policy: model.policy.clone(),
            labels: model.labels.clone(),
            canary: model.canary.clone(),
            shadow: model.shadow.clone(),
            hold: model.hold,
            extra: model.extra.clone(),
            unloaded: model.unloaded,
            away: away.collect(),
        };
        let untouched = Model::new(&model.policy);
        let nothing = orders.labels == untouched.labels
            && orders.canary == untouched.canary
            && orders.shadow == untouched.shadow
            && orders.hold.is_none()
            && orders.extra.is_empty()
            && !orders.unloaded
            && orders.away.is_empty();
        (!nothing).then_some(orders)
    }

    /// Gives them to a model whose versions have been seen but not judged.
    fn restore(&self, model: &mut Model) {
        if self.policy == model.policy {
            model.labels.clone_from(&self.labels);
            model.canary.clone_from(&self.canary);
            model.shadow.clone_from(&self.shadow);
        }
        model.hold = self.hold;
        model.extra.clone_from(&self.extra);
        model.unloaded = self.unloaded;
        for (number, away) in &self.away {
            let Some(version) = model.versions.get_mut(number) else {
                continue;
            };
            if files(version.found.as_ref()) == Some(&*away.files) {
                let state = if away.rolled_back {
                    State::RolledBack
                } else {
                    State::Unloaded
                };
                version.set(state, Some(away.reason.clone()));
            }
        }
        model.event("orders from before the restart were taken up".to_owned());
    }
}

fn files(found: Option<&Found>) -> Option<&[FileStat]> {
    found?.as_ref().ok().map(Entry::files)
}

/// Where it is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    /// What the file holds.
    written: Kept,
    /// What could not be written, so that it is told once.
    failed: Option<Kept>,
}

impl Keeper {
    /// Reads the file, if there is one, and gives its orders to the models.
    ///
    /// # Errors
    /// The file is not one of these, or cannot be read.
    pub(super) fn open(path: &Path, models: &mut BTreeMap<String, Model>) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| {
            format!(
                "{} (models.state_file): {why}; remove it to begin without the orders in it",
                path.display()
            )
        };
        let written: Kept = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| wrong(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::new(),
            Err(error) => return Err(wrong(&error)),
        };
        for (name, orders) in &written {
            if let Some(model) = models.get_mut(name) {
                orders.restore(model);
                tracing::info!(model = name, "orders from before the restart were taken up");
            }
        }
        Ok(Self {
            path: path.to_owned(),
            written,
            failed: None,
        })
    }

    /// Writes down what has changed.
    ///
    /// # Errors
    /// The file cannot be written; it is tried again at the next call.
    pub(super) fn keep(&mut self, models: &BTreeMap<String, Model>) -> Result<(), String> {
        let orders = models.iter();
        let now: Kept = orders
            .filter_map(|(name, model)| Some((name.clone(), Orders::of(model)?)))
            .collect();
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
                tracing::error!(%path, reason, "orders cannot be kept: a restart would forget them");
                self.failed = Some(now);
            }
            Err(_) => {}
        }
        written
    }
}

/// Whoever reads finds the old file or the new one, whole.
fn write(path: &Path, kept: &Kept) -> Result<(), String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = parent.join(format!(".{name}.new"));
    let attempt = || {
        let mut file = std::fs::File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, kept)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        std::fs::File::open(parent)?.sync_all()
    };
    attempt().map_err(|error| error.to_string())
}
