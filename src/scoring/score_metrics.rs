//! Metrics of the scores that each version gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::metrics::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, Result};
use crate::models::ModelVersion;
use crate::models::contract::ScoreKind;
use crate::scoring::outcome::{EntityScore, Outcome};
use crate::values::band::Band;

/// Upper bounds of a probability.
const PROBABILITIES: [f64; 20] = [
    0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98,
    1.0,
];

/// The band of a score below all bands, or of a model without bands.
const NO_BAND: &str = "";

/// The metrics of all versions.
#[derive(Clone, Debug)]
pub struct ScoreMetrics {
    bands: IntCounterVec,
    probabilities: HistogramVec,
    /// Model, version and band of every series, and whether something may still count in it: a version that is being loaded
    /// is not there yet.
    known: Arc<Mutex<BTreeMap<[String; 3], Weak<()>>>>,
}

/// The handles of one version.
#[derive(Debug)]
pub struct ScoreCounters {
    bands: Vec<(Arc<str>, IntCounter)>,
    no_band: IntCounter,
    /// `None` unless scores are probabilities.
    probabilities: Option<Histogram>,
    metrics: ScoreMetrics,
    /// Says that the series are in use.
    _in_use: Arc<()>,
}

impl ScoreMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            bands: registry.counters(
                "evergreen_scores_total",
                "Scores given to entities, by band (empty without one).",
                &["model", "version", "band"],
            )?,
            probabilities: registry.histograms(
                "evergreen_score",
                "Scores given to entities, if they are probabilities.",
                &["model", "version"],
                &PROBABILITIES,
            )?,
            known: Arc::default(),
        })
    }

    /// The handles of a version with these bands.
    pub(super) fn counters(&self, model: &ModelVersion, bands: &[Band]) -> ScoreCounters {
        let (name, version) = (&model.name, model.version.to_string());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = Arc::new(());
        let mut counter = |band: &str| {
            let labels = [name.clone(), version.clone(), band.to_owned()];
            known.insert(labels, Arc::downgrade(&in_use));
            self.bands
                .with_label_values(&[name.as_str(), version.as_str(), band])
        };
        let contract = model.contract.as_ref();
        let probability = contract.is_some_and(|contract| contract.output.kind == ScoreKind::Probability);
        ScoreCounters {
            bands: bands
                .iter()
                .map(|band| (band.name.clone(), counter(&band.name)))
                .collect(),
            no_band: counter(NO_BAND),
            probabilities: probability.then(|| {
                self.probabilities
                    .with_label_values(&[name.as_str(), version.as_str()])
            }),
            metrics: self.clone(),
            _in_use: in_use.clone(),
        }
    }

    /// Removes the series of all versions but these, by model and number, and those that still count.
    pub fn retain(&self, present: &BTreeSet<(&str, u64)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|[model, version, band], in_use| {
            let number = version.parse().unwrap_or(0);
            if in_use.strong_count() > 0 || present.contains(&(model.as_str(), number)) {
                return true;
            }
            // A model without probabilities has no such series.
            let _ = self.bands.remove_label_values(&[model.as_str(), version, band]);
            let _ = self.probabilities.remove_label_values(&[model.as_str(), version]);
            false
        });
    }
}

impl ScoreCounters {
    /// The handles of the same version with other bands.
    pub(super) fn with_bands(&self, model: &ModelVersion, bands: &[Band]) -> Self {
        self.metrics.counters(model, bands)
    }

    /// Counts the scores of a batch.
    pub(super) fn count(&self, scores: &[EntityScore]) {
        // Adding up here first costs less than one addition to shared memory per score.
        let local = self.probabilities.as_ref().map(Histogram::local);
        let mut bands = vec![0; self.bands.len() + 1];
        for score in scores {
            let Outcome::Scored(score) = &score.outcome else {
                continue;
            };
            let name = score.band.as_ref();
            let band = name.and_then(|name| self.bands.iter().position(|(band, _)| band == name));
            bands[band.unwrap_or(self.bands.len())] += 1;
            if let Some(local) = &local {
                local.observe(score.score);
            }
        }
        let counters = self.bands.iter().map(|(_, counter)| counter);
        for (counter, count) in counters.chain([&self.no_band]).zip(bands) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        if let Some(local) = local {
            local.flush();
        }
    }
}
