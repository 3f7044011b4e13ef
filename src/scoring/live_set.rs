//! The set of live models at one moment. It is immutable; each change builds a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::Client;
use super::request::{ModelRef, VersionSelector};
use super::rollout::Rollout;
use super::rollout::comparison::Comparison;
use super::servable::Servable;
use crate::error::Error;
use crate::features::snapshot::Snapshot;
use crate::models::status::{Event, VersionStatus};
use crate::suggest::unknown;

/// Everything that can answer at one moment.
#[derive(Debug, Default)]
pub struct LiveSet {
    models: BTreeMap<String, ModelEntry>,
    /// The in-memory feature source.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Why something that the settings name is not there.
    pub waiting: Vec<String>,
}

/// A model of the repository, live or not.
#[derive(Debug, Default)]
pub struct ModelEntry {
    /// The version that answers requests without a version or label.
    pub live: Option<Arc<Servable>>,
    /// Every version that can answer, newest first.
    pub loaded: Vec<Arc<Servable>>,
    /// Labels and the versions that they point at.
    pub labels: BTreeMap<String, u64>,
    /// Versions on trial.
    pub rollout: Rollout,
    /// Comparisons of current and recent trials, newest last.
    pub comparisons: Vec<Arc<Comparison>>,
    /// The status of every known version, newest first.
    pub versions: Vec<VersionStatus>,
    /// Recent events, newest last.
    pub events: Vec<Event>,
}

impl ModelEntry {
    /// Why no version is live, from the newest one.
    fn why_not_live(&self, name: &str) -> Option<String> {
        let newest = self.versions.first()?;
        let (version, state) = (newest.version, newest.state.label());
        let reason = newest.reason.as_deref().map(|reason| format!(": {reason}"));
        Some(format!(
            "model `{name}`: version {version} is {state}{}",
            reason.unwrap_or_default()
        ))
    }

    /// The versions that answer requests which name none: the live one and the canary.
    pub fn answering(&self) -> impl Iterator<Item = &Arc<Servable>> {
        let canary = self.rollout.canary.as_ref().map(|share| &share.servable);
        self.live.iter().chain(canary)
    }

    /// Finds a loaded version by its number.
    pub fn version(&self, version: u64) -> Option<&Arc<Servable>> {
        self.loaded
            .iter()
            .find(|servable| servable.model.version == version)
    }
}

impl LiveSet {
    /// Updates the counters of present features, before somebody reads the metrics.
    pub fn update_feature_counters(&self) {
        let loaded = self.models.values().flat_map(|entry| &entry.loaded);
        loaded.for_each(|servable| servable.features.update_present());
    }

    /// Combines the models with the snapshot that they take features from.
    pub fn new(
        models: BTreeMap<String, ModelEntry>,
        snapshot: Option<Arc<Snapshot>>,
        waiting: Vec<String>,
    ) -> Self {
        Self {
            models,
            snapshot,
            waiting,
        }
    }

    /// All models of the repository, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &ModelEntry)> {
        self.models.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// A model of the repository, live or not.
    ///
    /// # Errors
    /// No model has that name; the message lists the known ones.
    pub fn entry(&self, name: &str) -> Result<&ModelEntry, Error> {
        self.models.get(name).ok_or_else(|| {
            let known = self.models.keys().map(String::as_str);
            Error::model_not_found(unknown("model", name, known))
        })
    }

    /// The version that answers for `model`.
    ///
    /// # Errors
    /// The model, version or label is unknown, or no version passed the gate.
    pub fn find(&self, model: &ModelRef) -> Result<&Arc<Servable>, Error> {
        let name = &model.name;
        let entry = self.entry(name)?;
        let number = match &model.version {
            VersionSelector::Live => {
                let live = entry.live.as_ref();
                return live.ok_or_else(|| Error::unavailable(format!("model `{name}` has no live version")));
            }
            VersionSelector::Number(version) => *version,
            VersionSelector::Label(label) => *entry.labels.get(label).ok_or_else(|| {
                let known = entry.labels.keys().map(String::as_str);
                Error::model_not_found(format!("model `{name}`: {}", unknown("label", label, known)))
            })?,
        };
        entry.version(number).ok_or_else(|| {
            let live: Vec<String> = entry
                .loaded
                .iter()
                .map(|servable| servable.model.version.to_string())
                .collect();
            let live = if live.is_empty() {
                "none".to_owned()
            } else {
                live.join(", ")
            };
            Error::model_not_found(format!(
                "model `{name}` has no live version {number}; live is {live}"
            ))
        })
    }

    /// The version that answers for `model`, if the client may use the model.
    ///
    /// # Errors
    /// The client may not, or as [`Self::find`].
    pub fn find_for(&self, client: &Client, model: &ModelRef) -> Result<&Arc<Servable>, Error> {
        client.check_model(&model.name)?;
        self.find(model)
    }

    /// The trials of a model; `None` if there are none, or the request chooses a version itself.
    pub fn trials(&self, model: &ModelRef) -> Option<&Rollout> {
        let rollout = &self.models.get(&model.name)?.rollout;
        Some(rollout).filter(|rollout| model.version == VersionSelector::Live && !rollout.is_empty())
    }

    /// The reasons why nothing can be answered; empty if something can.
    pub fn why_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.live().next().is_none() {
            reasons.push("no model is live".to_owned());
            let models = self.models.iter();
            reasons.extend(models.filter_map(|(name, entry)| entry.why_not_live(name)));
            reasons.extend(self.waiting.iter().cloned());
        } else if self.has_no_source() {
            // Without any source configured, requests bring their own features.
            reasons.extend(self.waiting.iter().cloned());
        }
        reasons
    }

    /// Whether models are live that score entities, and none of them has a feature source.
    pub fn has_no_source(&self) -> bool {
        let lacks = |servable: &Arc<Servable>| servable.plan.is_none() && servable.model.contract.is_some();
        self.live().next().is_some() && self.live().all(lacks)
    }

    /// The live version of each model that has one.
    fn live(&self) -> impl Iterator<Item = &Arc<Servable>> {
        self.models.values().filter_map(|entry| entry.live.as_ref())
    }
}
