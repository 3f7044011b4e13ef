//! What an operator may ask for while the server runs.

use tokio::sync::oneshot;

use crate::config::ModelsSection;
use crate::config::models::{ShareSection, label_name, valid_share};
use crate::error::Error;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::model_state::Stage;

/// Something to be done to models, while they serve.
#[derive(Clone, Debug)]
pub enum Command {
    /// Look for new versions now.
    Refresh,
    /// Load a version, or what the policy asks for, even if it was refused, taken back or unloaded before.
    Load {
        /// The model.
        model: String,
        /// A version; `None` for what the policy asks for.
        version: Option<u64>,
    },
    /// Take a version or a whole model away.
    Unload {
        /// The model.
        model: String,
        /// A version; `None` for all of them.
        version: Option<u64>,
    },
    /// Go back to an older version.
    Rollback {
        /// The model.
        model: String,
        /// The version to go back to; `None` for the newest good one before the one that answers.
        version: Option<u64>,
        /// Why, for those who ask later.
        reason: String,
        /// Whether to stay there until released, whatever is published.
        hold: bool,
    },
    /// End a hold.
    Release {
        /// The model.
        model: String,
    },
    /// Point a label at a loaded version, or take it away.
    Label {
        /// The model.
        model: String,
        /// The label.
        label: String,
        /// The version; `None` takes the label away.
        version: Option<u64>,
    },
    /// Let a version answer for a share of the entities, or end that.
    Canary {
        /// The model.
        model: String,
        /// The version and its share; `None` ends it.
        share: Option<ShareSection>,
    },
    /// Score a version beside the one that answers, or end that.
    Shadow {
        /// The model.
        model: String,
        /// The version and its share; `None` ends it.
        share: Option<ShareSection>,
    },
    /// Take over changed settings.
    Settings(Box<ModelsSection>),
}

/// An order on its way, and where the answer goes: one sentence.
#[derive(Debug)]
pub(super) struct PendingCommand {
    pub(super) order: Command,
    pub(super) answer: oneshot::Sender<Result<String, Error>>,
}

impl Lifecycle {
    /// Does what is asked; says what was done.
    pub(super) fn obey(&mut self, order: Command) -> Result<String, Error> {
        match order {
            Command::Refresh => {
                self.pass().map_err(Error::unavailable)?;
                // Twice, for what is new has to be the same at two looks.
                self.look_for_customers();
                self.look_for_customers();
                Ok("looked for new versions".to_owned())
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
                let said = match state.hold.take() {
                    Some(held) => format!("`{model}` is no longer held at version {held}"),
                    None => format!("`{model}` was not held"),
                };
                state.event(said.clone());
                self.settle(&model);
                Ok(said)
            }
            Command::Label {
                model,
                label,
                version,
            } => self.label(&model, &label, version),
            Command::Canary { model, share } => self.try_out(&model, share, true),
            Command::Shadow { model, share } => self.try_out(&model, share, false),
            Command::Settings(settings) => {
                self.take_settings(*settings);
                Ok("settings taken over".to_owned())
            }
        }
    }

    fn load(&mut self, name: &str, version: Option<u64>) -> Result<String, Error> {
        self.look().map_err(Error::unavailable)?;
        let model = self.model(name)?;
        model.unloaded = false;
        match version {
            None => {
                let all: Vec<u64> = model.versions.keys().copied().collect();
                all.into_iter().for_each(|number| model.lift(number));
            }
            Some(number) => {
                if !model.versions.contains_key(&number) {
                    return Err(no_version(name, number));
                }
                model.lift(number);
                model.extra.insert(number);
            }
        }
        self.settle(name);
        let model = self.model(name)?;
        let number = version.or(model.live);
        let loaded = number.and_then(|number| model.versions.get(&number)?.served().map(|_| number));
        if let Some(number) = loaded {
            return Ok(format!("version {number} of `{name}` is loaded"));
        }
        version.map(|number| model.extra.remove(&number));
        let refused = match version {
            Some(number) => model.versions.get(&number),
            None => model.versions.values().next_back(),
        };
        let reason = refused.and_then(|version| version.reason.clone());
        Err(Error::rejected(reason.unwrap_or_else(|| {
            format!("model `{name}` has no version that may go live")
        })))
    }

    fn unload(&mut self, name: &str, version: Option<u64>) -> Result<String, Error> {
        let model = self.model(name)?;
        let reason = "unloaded by request";
        let said = match version {
            None => {
                model.unloaded = true;
                model.watch = None;
                let loaded = model.versions.iter();
                let loaded = loaded.filter(|(_, version)| version.served().is_some());
                let loaded: Vec<u64> = loaded.map(|(&number, _)| number).collect();
                loaded
                    .into_iter()
                    .for_each(|number| model.send_away(number, false, reason));
                format!("`{name}` is unloaded")
            }
            Some(number) => {
                if !model.versions.contains_key(&number) {
                    return Err(no_version(name, number));
                }
                model.send_away(number, false, reason);
                model.extra.remove(&number);
                format!("version {number} of `{name}` is unloaded")
            }
        };
        model.event(said.clone());
        self.settle(name);
        Ok(said)
    }

    fn roll_back(
        &mut self,
        name: &str,
        version: Option<u64>,
        reason: &str,
        hold: bool,
    ) -> Result<String, Error> {
        self.look().map_err(Error::unavailable)?;
        let model = self.model(name)?;
        let live = model.live.ok_or_else(|| {
            Error::rejected(format!("model `{name}` has no live version to roll back from"))
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
        let mut why = format!("model `{name}` has no version before {live}");
        let to = older.into_iter().find(|&number| match self.ready(name, number) {
            Ok(()) => true,
            Err(error) => {
                why = error;
                false
            }
        });
        let to = to.ok_or(Error::rejected(why))?;
        let model = self.model(name)?;
        // Whatever is newer than the target and would answer again by itself goes back with the one that answers.
        let newer = model.versions.iter().filter(|(number, version)| {
            **number == live || (**number > to && matches!(version.state, Stage::Loaded(_) | Stage::Waiting))
        });
        let newer: Vec<u64> = newer.map(|(&number, _)| number).collect();
        for number in newer {
            model.roll_back(number, to, reason);
        }
        if hold {
            model.hold = Some(to);
        }
        self.count_rollback(name, "operator");
        self.settle(name);
        let held = if hold { ", held there until released" } else { "" };
        Ok(format!(
            "`{name}` was rolled back from version {live} to {to}{held}"
        ))
    }

    fn label(&mut self, name: &str, label: &str, version: Option<u64>) -> Result<String, Error> {
        label_name(label).map_err(Error::invalid)?;
        let model = self.model(name)?;
        let said = match version {
            None => {
                let known = model.labels.remove(label);
                known.ok_or_else(|| {
                    Error::model_not_found(format!("model `{name}` has no label `{label}`"))
                })?;
                format!("`{name}` has no label `{label}` any more")
            }
            Some(number) => {
                if model
                    .versions
                    .get(&number)
                    .and_then(|version| version.served())
                    .is_none()
                {
                    return Err(Error::rejected(format!(
                        "label `{label}`: version {number} of `{name}` is not loaded; load it first"
                    )));
                }
                model.labels.insert(label.to_owned(), number);
                format!("`{name}` has label `{label}` at version {number}")
            }
        };
        model.event(said.clone());
        self.settle(name);
        Ok(said)
    }

    fn try_out(&mut self, name: &str, share: Option<ShareSection>, canary: bool) -> Result<String, Error> {
        let what = if canary { "canary" } else { "shadow" };
        if let Some(share) = &share {
            valid_share(share.share).map_err(Error::invalid)?;
            self.look().map_err(Error::unavailable)?;
            let before = self.model(name)?.extra.contains(&share.version);
            self.ready(name, share.version).map_err(Error::rejected)?;
            if !before {
                self.model(name)?.extra.remove(&share.version);
            }
        }
        let model = self.model(name)?;
        let said = match &share {
            Some(share) => format!(
                "version {} of `{name}` is {what} for {}% of the entities",
                share.version,
                share.share * 100.0
            ),
            None => format!("`{name}` has no {what} any more"),
        };
        *(if canary {
            &mut model.canary
        } else {
            &mut model.shadow
        }) = share;
        model.event(said.clone());
        self.settle(name);
        Ok(said)
    }

    /// Loads a version unless it is loaded; why not, if it cannot be.
    fn ready(&mut self, name: &str, number: u64) -> Result<(), String> {
        let model = self.model(name).map_err(|error| error.to_string())?;
        let known = model.versions.get_mut(&number);
        let version = known.ok_or_else(|| no_version(name, number).to_string())?;
        if version.served().is_some() {
            return Ok(());
        }
        model.lift(number);
        model.extra.insert(number);
        self.judge(name, number);
        let model = self.model(name).map_err(|error| error.to_string())?;
        model.extra.remove(&number);
        let version = model.versions.get(&number);
        match version {
            Some(version) if version.served().is_some() => Ok(()),
            Some(version) => Err(format!(
                "version {number} of `{name}`: {}",
                version.reason.clone().unwrap_or_default()
            )),
            None => Err(no_version(name, number).to_string()),
        }
    }
}

fn no_version(name: &str, number: u64) -> Error {
    Error::model_not_found(format!(
        "model `{name}` has no version {number} in the repository"
    ))
}
