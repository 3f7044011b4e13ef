//! Commands of operators while the server runs.

use tokio::sync::oneshot;

use crate::config::ModelsSection;
use crate::config::models::{ShareSection, label_name, valid_share};
use crate::error::Error;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::known_version::Stage;

/// A change to the models while they serve.
#[derive(Clone, Debug)]
pub enum Command {
    /// Poll the repository and the snapshot now.
    Refresh,
    /// Load a version, or what the policy asks for, even if it was refused, withdrawn or unloaded before.
    Load {
        /// The model.
        model: String,
        /// The version; `None` for what the policy asks for.
        version: Option<u64>,
    },
    /// Unload a version or a whole model.
    Unload {
        /// The model.
        model: String,
        /// The version; `None` for all of them.
        version: Option<u64>,
    },
    /// Roll back to an older version.
    Rollback {
        /// The model.
        model: String,
        /// The version to roll back to; `None` for the newest good one before the live one.
        version: Option<u64>,
        /// The reason, shown in events and status.
        reason: String,
        /// Whether to hold that version until it is released, whatever is published.
        hold: bool,
    },
    /// Release a held version.
    Release {
        /// The model.
        model: String,
    },
    /// Point a label at a loaded version, or remove it.
    Label {
        /// The model.
        model: String,
        /// The label.
        label: String,
        /// The version; `None` removes the label.
        version: Option<u64>,
    },
    /// Start or end a canary: a version that answers for a share of the entities.
    Canary {
        /// The model.
        model: String,
        /// The version and its share; `None` ends it.
        share: Option<ShareSection>,
    },
    /// Start or end a shadow: a version that is scored without answering.
    Shadow {
        /// The model.
        model: String,
        /// The version and its share; `None` ends it.
        share: Option<ShareSection>,
    },
    /// Apply changed settings.
    Settings(Box<ModelsSection>),
}

/// A command that waits for execution, and where its result goes.
#[derive(Debug)]
pub(super) struct PendingCommand {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<String, Error>>,
}

impl Lifecycle {
    /// Executes a command; returns a sentence that says what was done.
    pub(super) fn execute(&mut self, command: Command) -> Result<String, Error> {
        match command {
            Command::Refresh => {
                self.poll_and_reconcile().map_err(Error::unavailable)?;
                // Twice, because a new snapshot must look the same at two polls.
                self.refresh_snapshot();
                self.refresh_snapshot();
                Ok("repository polled for new versions".to_owned())
            }
            Command::Load { model, version } => self.load(&model, version),
            Command::Unload { model, version } => self.unload(&model, version),
            Command::Rollback {
                model,
                version,
                reason,
                hold,
            } => self.roll_back(&model, version, &reason, hold),
            Command::Release { model } => {
                let state = self.model(&model)?;
                let summary = match state.hold.take() {
                    Some(held) => format!("`{model}` is no longer held at version {held}"),
                    None => format!("`{model}` was not held"),
                };
                state.event(summary.clone());
                self.reconcile(&model);
                Ok(summary)
            }
            Command::Label {
                model,
                label,
                version,
            } => self.set_label(&model, &label, version),
            Command::Canary { model, share } => self.set_trial(&model, share, true),
            Command::Shadow { model, share } => self.set_trial(&model, share, false),
            Command::Settings(settings) => {
                self.apply_settings(*settings);
                Ok("settings applied".to_owned())
            }
        }
    }

    fn load(&mut self, name: &str, version: Option<u64>) -> Result<String, Error> {
        self.poll_repository().map_err(Error::unavailable)?;
        let model = self.model(name)?;
        model.unloaded = false;
        match version {
            None => {
                let all: Vec<u64> = model.versions.keys().copied().collect();
                for number in all {
                    model.reinstate(number);
                    model.asked_for(number);
                }
            }
            Some(number) => {
                if !model.versions.contains_key(&number) {
                    return Err(no_version(name, number));
                }
                model.reinstate(number);
                model.asked_for(number);
                model.extra.insert(number);
            }
        }
        self.reconcile(name);
        let model = self.model(name)?;
        let number = version.or(model.live);
        let loaded = number.and_then(|number| model.versions.get(&number)?.servable().map(|_| number));
        if let Some(number) = loaded {
            return Ok(format!("version {number} of `{name}` is loaded"));
        }
        version.map(|number| model.extra.remove(&number));
        let refused = match version {
            Some(number) => model.versions.get(&number),
            None => model.versions.values().next_back(),
        };
        let reason = refused.and_then(|version| version.reason.clone());
        Err(Error::command_refused(reason.unwrap_or_else(|| {
            format!("model `{name}` has no version that may go live")
        })))
    }

    fn unload(&mut self, name: &str, version: Option<u64>) -> Result<String, Error> {
        let model = self.model(name)?;
        let reason = "unloaded by request";
        let summary = match version {
            None => {
                model.unloaded = true;
                model.previous = None;
                let loaded = model.versions.iter();
                let loaded = loaded.filter(|(_, version)| version.servable().is_some());
                let loaded: Vec<u64> = loaded.map(|(&number, _)| number).collect();
                loaded
                    .into_iter()
                    .for_each(|number| model.withdraw(number, false, reason));
                format!("`{name}` is unloaded")
            }
            Some(number) => {
                if !model.versions.contains_key(&number) {
                    return Err(no_version(name, number));
                }
                model.withdraw(number, false, reason);
                model.extra.remove(&number);
                format!("version {number} of `{name}` is unloaded")
            }
        };
        model.event(summary.clone());
        self.reconcile(name);
        Ok(summary)
    }

    fn roll_back(
        &mut self,
        name: &str,
        version: Option<u64>,
        reason: &str,
        hold: bool,
    ) -> Result<String, Error> {
        self.poll_repository().map_err(Error::unavailable)?;
        let model = self.model(name)?;
        let live = model.live.ok_or_else(|| {
            Error::command_refused(format!("model `{name}` has no live version to roll back from"))
        })?;
        let older: Vec<u64> = match version {
            Some(number) if number == live => {
                return Err(Error::invalid(format!(
                    "version {number} of `{name}` is live already"
                )));
            }
            Some(number) => vec![number],
            None => model
                .versions
                .keys()
                .rev()
                .copied()
                .filter(|&number| number < live)
                .collect(),
        };
        let mut why = Error::command_refused(format!("model `{name}` has no version before {live}"));
        let to = older
            .into_iter()
            .find(|&number| match self.ensure_loaded(name, number) {
                Ok(()) => true,
                Err(error) => {
                    why = error;
                    false
                }
            });
        let to = to.ok_or(why)?;
        let model = self.model(name)?;
        model.asked_for(to);
        // Newer versions than the target would go live again by themselves: they are rolled back as well.
        let newer = model.versions.iter().filter(|(number, version)| {
            **number == live
                || (**number > to && matches!(version.stage, Stage::Loaded(_) | Stage::Available))
        });
        let newer: Vec<u64> = newer.map(|(&number, _)| number).collect();
        for number in newer {
            model.roll_back(number, to, reason);
        }
        if hold {
            model.hold = Some(to);
        }
        self.metrics.rolled_back(name, "operator");
        self.reconcile(name);
        let held = if hold { ", held there until released" } else { "" };
        Ok(format!(
            "`{name}` was rolled back from version {live} to {to}{held}"
        ))
    }

    fn set_label(&mut self, name: &str, label: &str, version: Option<u64>) -> Result<String, Error> {
        label_name(label).map_err(Error::invalid)?;
        let model = self.model(name)?;
        let summary = match version {
            None => {
                let known = model.labels.remove(label);
                known.ok_or_else(|| {
                    Error::model_not_found(format!("model `{name}` has no label `{label}`"))
                })?;
                format!("label `{label}` removed from `{name}`")
            }
            Some(number) => {
                if model
                    .versions
                    .get(&number)
                    .and_then(|version| version.servable())
                    .is_none()
                {
                    return Err(Error::command_refused(format!(
                        "label `{label}`: version {number} of `{name}` is not loaded; load it first"
                    )));
                }
                model.labels.insert(label.to_owned(), number);
                format!("`{name}` has label `{label}` at version {number}")
            }
        };
        model.event(summary.clone());
        self.reconcile(name);
        Ok(summary)
    }

    fn set_trial(&mut self, name: &str, share: Option<ShareSection>, canary: bool) -> Result<String, Error> {
        let what = if canary { "canary" } else { "shadow" };
        if let Some(share) = &share {
            valid_share(share.share).map_err(Error::invalid)?;
            self.poll_repository().map_err(Error::unavailable)?;
            let before = self.model(name)?.extra.contains(&share.version);
            self.ensure_loaded(name, share.version)?;
            if !before {
                self.model(name)?.extra.remove(&share.version);
            }
        }
        let model = self.model(name)?;
        let summary = match &share {
            Some(share) => format!(
                "version {} of `{name}` is {what} for {}% of the entities",
                share.version,
                share.share * 100.0
            ),
            None => format!("{what} of `{name}` ended"),
        };
        *(if canary {
            &mut model.canary
        } else {
            &mut model.shadow
        }) = share;
        model.event(summary.clone());
        self.reconcile(name);
        Ok(summary)
    }

    /// Loads a version unless it is loaded already. The error says why it cannot be loaded.
    fn ensure_loaded(&mut self, name: &str, number: u64) -> Result<(), Error> {
        let model = self.model(name)?;
        let known = model.versions.get_mut(&number);
        let version = known.ok_or_else(|| no_version(name, number))?;
        if version.servable().is_some() {
            return Ok(());
        }
        model.reinstate(number);
        model.extra.insert(number);
        self.validate(name, number);
        let model = self.model(name)?;
        model.extra.remove(&number);
        let version = model.versions.get(&number);
        match version {
            Some(version) if version.servable().is_some() => Ok(()),
            Some(version) => Err(Error::command_refused(format!(
                "version {number} of `{name}`: {}",
                version.reason.clone().unwrap_or_default()
            ))),
            None => Err(no_version(name, number)),
        }
    }
}

fn no_version(name: &str, number: u64) -> Error {
    Error::model_not_found(format!(
        "model `{name}` has no version {number} in the repository"
    ))
}
