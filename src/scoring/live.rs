//! What is live at one moment: models, each with its way to the features. Immutable; a change makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ModelRef, Statistics};
use crate::error::Error;
use crate::features::plan::Plan;
use crate::features::snapshot::Snapshot;
use crate::features::sources::Sources;
use crate::models::ModelVersion;
use crate::models::gate::Step;
use crate::models::registry::{Found, Refused};
use crate::nearest::hint;
use crate::telemetry::FeatureCounters;

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
    pub served: Option<Arc<Served>>,
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
    /// What became of its features.
    pub features: FeatureCounters,
}

impl Served {
    fn new(model: Arc<ModelVersion>, plan: Option<Plan>, sources: &Sources) -> Self {
        let names = model.inputs.iter().map(|input| input.contract.name.as_str());
        let features = sources.counters(&model.name, names);
        Self {
            model,
            plan,
            statistics: Statistics::default(),
            features,
        }
    }

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
    /// Puts models and their feature sources together. A model that the sources cannot feed is refused.
    pub fn new(mut found: Vec<Found>, sources: &Sources, snapshot: Option<Arc<Snapshot>>) -> Self {
        let live: Vec<Arc<ModelVersion>> = found.iter().filter_map(|found| found.live.clone()).collect();
        let plans = sources.plan(
            &live.iter().map(Arc::as_ref).collect::<Vec<_>>(),
            snapshot.as_ref(),
        );
        let mut served: BTreeMap<String, Arc<Served>> = BTreeMap::new();
        for (model, plan) in live.into_iter().zip(plans) {
            match plan {
                Ok(plan) => {
                    served.insert(model.name.clone(), Arc::new(Served::new(model, plan, sources)));
                }
                Err(reason) => {
                    tracing::error!(model = model.name, reason, "version refused");
                    let of = found.iter_mut().find(|found| found.name == model.name);
                    of.into_iter()
                        .for_each(|found| found.refuse_live(Step::Features, reason.clone()));
                }
            }
        }
        let entries = found.into_iter().map(|Found { name, refused, .. }| {
            let served = served.remove(&name);
            (name, Entry { served, refused })
        });
        Self {
            models: entries.collect(),
            snapshot,
        }
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
    pub fn find(&self, model: &ModelRef) -> Result<&Arc<Served>, Error> {
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
        let live: Vec<&Arc<Served>> = self
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
                "no feature source: name the customers with features.snapshot or --customers, or a store with [source.NAME]".to_owned(),
            );
        }
        reasons
    }
}
