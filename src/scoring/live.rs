//! What is live at one moment: models, each with its way to the features. Immutable; a change makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ModelRef, Statistics};
use crate::error::Error;
use crate::features::plan::Plan;
use crate::features::snapshot::Snapshot;
use crate::models::ModelVersion;
use crate::models::gate::Step;
use crate::models::registry::{Found, Refused};
use crate::nearest::hint;

/// Everything that can answer.
#[derive(Debug, Default)]
pub struct Live {
    models: BTreeMap<String, Entry>,
    /// The feature source.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// A model of the folder, live or not.
#[derive(Debug)]
pub struct Entry {
    /// The version that answers.
    pub served: Option<Served>,
    /// Versions that may not.
    pub refused: Vec<Refused>,
}

/// A live version with its way to the features.
#[derive(Debug)]
pub struct Served {
    /// The version.
    pub model: Arc<ModelVersion>,
    /// Where its features come from; `None` without a feature source.
    pub plan: Option<Plan>,
    /// Counts of inference on tensors.
    pub statistics: Statistics,
}

impl Served {
    /// Whether it can answer for entities, not just tensors.
    ///
    /// # Errors
    /// The model has no contract.
    pub fn scorable(&self) -> Result<(), Error> {
        if self.model.contract.is_some() {
            return Ok(());
        }
        let name = &self.model.name;
        Err(Error::Invalid(format!(
            "model `{name}` has no contract (bundle.toml): it answers tensors, not entities"
        )))
    }
}

impl Live {
    /// Puts models and their feature source together. A model that the source cannot feed is refused.
    pub fn new(found: Vec<Found>, snapshot: Option<Arc<Snapshot>>) -> Self {
        let mut models = BTreeMap::new();
        for mut found in found {
            let source = snapshot
                .as_ref()
                .zip(found.live.as_deref().filter(|model| model.contract.is_some()));
            let plan = source
                .map(|(snapshot, model)| Plan::new(snapshot, model))
                .transpose();
            let plan = plan.unwrap_or_else(|reason| {
                tracing::error!(model = found.name, reason, "version refused");
                found.refuse_live(Step::Features, reason);
                None
            });
            let Found { name, live, refused } = found;
            let served = live.map(|model| Served {
                model,
                plan,
                statistics: Statistics::default(),
            });
            models.insert(name, Entry { served, refused });
        }
        Self { models, snapshot }
    }

    /// All models of the folder, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.models.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// A model of the folder, live or not.
    ///
    /// # Errors
    /// There is none of that name; the text lists those there are.
    pub fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.models.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let hint = hint(name, known.iter().copied());
            Error::ModelNotFound(format!(
                "no model `{name}`{hint}; there are: {}",
                known.join(", ")
            ))
        })
    }

    /// The version that answers for `model`.
    ///
    /// # Errors
    /// There is no such model or version, or none of its versions passed the gate.
    pub fn find(&self, model: &ModelRef) -> Result<&Served, Error> {
        let name = &model.name;
        let Some(served) = &self.entry(name)?.served else {
            return Err(Error::Unavailable(format!(
                "model `{name}` has no version that may go live"
            )));
        };
        match model.version {
            Some(version) if version != served.model.version => {
                let live = served.model.version;
                Err(Error::ModelNotFound(format!(
                    "model `{name}` has no live version {version}; live is {live}"
                )))
            }
            _ => Ok(served),
        }
    }

    /// Why nothing can be answered; empty when something can.
    pub fn why_not_ready(&self) -> Vec<String> {
        let live: Vec<&Served> = self
            .models
            .values()
            .filter_map(|entry| entry.served.as_ref())
            .collect();
        let mut reasons = Vec::new();
        if live.is_empty() {
            reasons.push("no model is live".to_owned());
        } else if live
            .iter()
            .all(|served| served.plan.is_none() && served.model.contract.is_some())
        {
            reasons.push(
                "no feature source: name the customers with features.snapshot or --customers".to_owned(),
            );
        }
        reasons
    }
}
