//! A version that can answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::score_metrics::{ScoreCounters, ScoreMetrics};
use super::tensor_stats::TensorStats;
use crate::error::Error;
use crate::features::metrics::{FeatureCounters, FeatureMetrics};
use crate::features::plan::Plan;
use crate::models::ModelVersion;
use crate::observe::monitor::{DriftMonitor, SavedWindows};
use crate::values::band::Band;

/// The metrics in which versions count.
#[derive(Clone, Debug)]
pub struct ServableMetrics {
    /// Of their features.
    pub features: FeatureMetrics,
    /// Of their scores.
    pub scores: ScoreMetrics,
}

/// A version that can answer, with its plan to fetch features.
#[derive(Clone, Debug)]
pub struct Servable {
    /// The version.
    pub model: Arc<ModelVersion>,
    /// How its features are fetched; `None` without a feature source.
    pub plan: Option<Arc<Plan>>,
    /// How they were fetched from the previous snapshot, if that is kept.
    plan_before: Option<Arc<Plan>>,
    /// Its bands: those of the settings, else those of the contract.
    pub bands: Arc<[Band]>,
    /// Counts of inference on tensors.
    pub tensor_stats: Arc<TensorStats>,
    /// Counts of its features by status.
    pub features: Arc<FeatureCounters>,
    /// Counts of its scores; `None` if they do not count.
    pub(super) scores: Option<Arc<ScoreCounters>>,
    /// The entities that it scored, for comparison with training; `None` without a reference, or if they are not counted.
    pub drift: Option<Arc<DriftMonitor>>,
    /// Number of scores that were not finite.
    pub(super) not_finite: Arc<AtomicU64>,
}

impl Servable {
    /// Creates a version that has not answered yet. `bands` override those of the contract unless empty.
    pub fn new(
        model: Arc<ModelVersion>,
        plan: Option<Plan>,
        bands: &[Band],
        metrics: &FeatureMetrics,
    ) -> Self {
        let bands = effective(&model, bands);
        let features = Arc::new(counters(&model, metrics));
        Self {
            model,
            plan: plan.map(Arc::new),
            plan_before: None,
            bands,
            tensor_stats: Arc::default(),
            features,
            scores: None,
            drift: None,
            not_finite: Arc::default(),
        }
    }

    /// Returns the same version, which counts its scores in these metrics.
    pub fn counting_scores(&self, metrics: &ScoreMetrics) -> Self {
        Self {
            scores: Some(Arc::new(metrics.counters(&self.model, &self.bands))),
            ..self.clone()
        }
    }

    /// Returns the same version, which counts the entities that it scores from `now` on, in seconds since the Unix epoch, in
    /// addition to what was saved of it.
    pub fn watching_drift(&self, now: f64, saved: Option<SavedWindows>) -> Self {
        Self {
            drift: DriftMonitor::new(&self.model, now, saved).map(Arc::new),
            ..self.clone()
        }
    }

    /// Returns the same version with other bands.
    pub fn with_bands(&self, bands: &[Band]) -> Self {
        let bands = effective(&self.model, bands);
        let scores = self.scores.as_ref();
        Self {
            scores: scores.map(|scores| Arc::new(scores.with_bands(&self.model, &bands))),
            bands,
            ..self.clone()
        }
    }

    /// Returns the same version with other feature plans: for the present, and for the previous snapshot.
    pub fn with_plans(&self, plan: Option<Plan>, before: Option<Plan>) -> Self {
        Self {
            plan: plan.map(Arc::new),
            plan_before: before.map(Arc::new),
            ..self.clone()
        }
    }

    /// Returns the same version, which does not hold the previous snapshot.
    pub(super) fn without_previous(&self) -> Self {
        Self {
            plan_before: None,
            ..self.clone()
        }
    }

    /// Returns the same version with the previous snapshot as the source of its features; `None` if that is not kept.
    pub(super) fn before(&self) -> Option<Self> {
        let plan = self.plan_before.clone()?;
        Some(Self {
            plan: Some(plan),
            plan_before: None,
            ..self.clone()
        })
    }

    /// Returns the same version with counters of its own: it counts its features in other metrics, and neither scores nor entities.
    pub(super) fn counting_in(&self, metrics: &FeatureMetrics) -> Self {
        Self {
            features: Arc::new(counters(&self.model, metrics)),
            scores: None,
            drift: None,
            not_finite: Arc::default(),
            ..self.clone()
        }
    }

    /// Checks that the version can score entities, not only tensors.
    ///
    /// # Errors
    /// The model has no contract.
    pub fn scorable(&self) -> Result<(), Error> {
        if self.model.contract.is_some() {
            return Ok(());
        }
        let name = &self.model.name;
        Err(Error::invalid(format!(
            "model `{name}` has no contract (bundle.toml), so it cannot score entities; send tensors to /v2"
        ))
        .about("model"))
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
