//! What is live at one moment: models, each with its way to the features. Immutable; a change makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::features::plan::Plan;
use crate::features::snapshot::Snapshot;
use crate::models::ModelVersion;
use crate::models::status::{Event, VersionStatus};
use crate::scoring::answer_stats::AnswerStats;
use crate::scoring::rollout::Rollout;
use crate::scoring::rollout::comparison::Comparison;
use crate::scoring::{ModelRef, TensorStats, VersionSelector};
use crate::suggest::hint;
use crate::telemetry::{FeatureCounters, FeatureMetrics};
use crate::values::band::Band;

/// Everything that can answer.
#[derive(Debug, Default)]
pub struct LiveSet {
    models: BTreeMap<String, ModelEntry>,
    /// The feature source.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// A model of the repository, live or not.
#[derive(Debug, Default)]
pub struct ModelEntry {
    /// The version that answers requests which name none.
    pub served: Option<Arc<Servable>>,
    /// Every version that can answer, newest first.
    pub loaded: Vec<Arc<Servable>>,
    /// Names for versions.
    pub labels: BTreeMap<String, u64>,
    /// Versions that are being tried beside the one that answers.
    pub rollout: Rollout,
    /// How they compare, and how those tried lately did.
    pub comparisons: Vec<Arc<Comparison>>,
    /// Every version that is there or answers, newest first.
    pub versions: Vec<VersionStatus>,
    /// What happened lately, newest last.
    pub events: Vec<Event>,
}

/// A live version with its way to the features.
#[derive(Clone, Debug)]
pub struct Servable {
    /// The version.
    pub model: Arc<ModelVersion>,
    /// Where its features come from; `None` without a feature source.
    pub plan: Option<Arc<Plan>>,
    /// Its bands: the settings' or the contract's.
    pub bands: Arc<[Band]>,
    /// Counts of inference on tensors.
    pub statistics: Arc<TensorStats>,
    /// What became of its features.
    pub features: Arc<FeatureCounters>,
    /// What its answers are like.
    pub tally: Arc<AnswerStats>,
}

impl Servable {
    /// A version that has not answered yet. `bands` go before the contract's, unless there are none.
    pub fn new(
        model: Arc<ModelVersion>,
        plan: Option<Plan>,
        bands: &[Band],
        metrics: &FeatureMetrics,
    ) -> Self {
        let tally = Arc::new(AnswerStats::of(&model));
        let bands = effective(&model, bands);
        let features = Arc::new(counters(&model, metrics));
        Self {
            model,
            plan: plan.map(Arc::new),
            bands,
            statistics: Arc::default(),
            features,
            tally,
        }
    }

    /// The same with other bands.
    pub fn with_bands(&self, bands: &[Band]) -> Self {
        Self {
            bands: effective(&self.model, bands),
            ..self.clone()
        }
    }

    /// The same with other feature sources.
    pub fn with_plan(&self, plan: Option<Plan>) -> Self {
        Self {
            plan: plan.map(Arc::new),
            ..self.clone()
        }
    }

    /// The same, counting its features elsewhere.
    pub(super) fn counting_in(&self, metrics: &FeatureMetrics) -> Self {
        Self {
            features: Arc::new(counters(&self.model, metrics)),
            ..self.clone()
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
        Err(Error::invalid(format!(
            "model `{name}` has no contract (bundle.toml): it answers tensors, not entities"
        )))
    }
}

impl LiveSet {
    /// Brings the counters of features up to date, for somebody is about to read them.
    pub fn settle_counts(&self) {
        let served = self.models.values().flat_map(|entry| &entry.loaded);
        served.for_each(|served| served.features.settle());
    }
}

fn counters(model: &ModelVersion, metrics: &FeatureMetrics) -> FeatureCounters {
    let names = model.inputs.iter().map(|input| input.contract.name.as_str());
    metrics.counters(&model.name, names)
}

fn effective(model: &ModelVersion, bands: &[Band]) -> Arc<[Band]> {
    let contract = model.contract.as_ref();
    match contract {
        Some(contract) if bands.is_empty() => contract.output.bands.as_slice().into(),
        _ => bands.into(),
    }
}

impl ModelEntry {
    /// A version that can answer, by its number.
    pub fn version(&self, version: u64) -> Option<&Arc<Servable>> {
        self.loaded.iter().find(|served| served.model.version == version)
    }
}

impl LiveSet {
    /// Puts models and their feature source together.
    pub fn new(models: BTreeMap<String, ModelEntry>, snapshot: Option<Arc<Snapshot>>) -> Self {
        Self { models, snapshot }
    }

    /// All models of the repository, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &ModelEntry)> {
        self.models.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// A model of the repository, live or not.
    ///
    /// # Errors
    /// There is none of that name; the text lists those there are.
    pub fn entry(&self, name: &str) -> Result<&ModelEntry, Error> {
        self.models.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let hint = hint(name, known.iter().copied());
            Error::model_not_found(format!(
                "no model `{name}`{hint}; there are: {}",
                known.join(", ")
            ))
        })
    }

    /// The version that answers for `model`.
    ///
    /// # Errors
    /// There is no such model, version or label, or none of its versions passed the gate.
    pub fn find(&self, model: &ModelRef) -> Result<&Arc<Servable>, Error> {
        let name = &model.name;
        let entry = self.entry(name)?;
        let number = match &model.version {
            VersionSelector::Live => {
                let served = entry.served.as_ref();
                return served.ok_or_else(|| {
                    Error::unavailable(format!("model `{name}` has no version that may go live"))
                });
            }
            VersionSelector::Number(version) => *version,
            VersionSelector::Label(label) => *entry.labels.get(label).ok_or_else(|| {
                let known: Vec<&str> = entry.labels.keys().map(String::as_str).collect();
                let hint = hint(label, known.iter().copied());
                let known = match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("there are: {}", known.join(", ")),
                };
                Error::model_not_found(format!("model `{name}` has no label `{label}`{hint}; {known}"))
            })?,
        };
        entry.version(number).ok_or_else(|| {
            let live: Vec<String> = entry
                .loaded
                .iter()
                .map(|served| served.model.version.to_string())
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

    /// What is being tried beside the version that answers; `None` for requests that name a version themselves.
    pub fn trials(&self, model: &ModelRef) -> Option<&Rollout> {
        let rollout = &self.models.get(&model.name)?.rollout;
        Some(rollout).filter(|rollout| model.version == VersionSelector::Live && !rollout.is_empty())
    }

    /// Why nothing can be answered; empty when something can.
    pub fn why_not_ready(&self) -> Vec<String> {
        let live: Vec<&Arc<Servable>> = self
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
