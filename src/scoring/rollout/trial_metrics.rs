//! Metrics of versions on trial: canary and shadow beside the live version.

use super::comparison::{EDGES, TrialCounters, TrialKind};
use crate::metrics::{HistogramVec, IntCounterVec, Registry, Result};

/// Declares the metrics of trials and hands out the counters of each.
#[derive(Clone, Debug)]
pub struct TrialMetrics {
    compared: IntCounterVec,
    differences: HistogramVec,
}

impl TrialMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        let labels = ["model", "kind", "base", "candidate"];
        let [model, kind, base, candidate] = labels;
        Ok(Self {
            compared: registry.counters(
                "evergreen_trial_entities_total",
                "Entities scored by two versions, by result (same_band, up, down, failed, dropped).",
                &[model, kind, base, candidate, "result"],
            )?,
            differences: registry.histograms(
                "evergreen_trial_score_difference",
                "The candidate's score minus the live version's.",
                &labels,
                &EDGES,
            )?,
        })
    }

    /// The counters of one trial.
    pub fn counters(&self, model: &str, kind: TrialKind, base: u64, candidate: u64) -> TrialCounters {
        let (base, candidate) = (base.to_string(), candidate.to_string());
        let labels = [model, kind.label(), &base, &candidate];
        let count = |result| {
            let [model, kind, base, candidate] = labels;
            self.compared
                .with_label_values(&[model, kind, base, candidate, result])
        };
        TrialCounters {
            same_band: count("same_band"),
            up: count("up"),
            down: count("down"),
            failed: count("failed"),
            dropped: count("dropped"),
            difference: self.differences.with_label_values(&labels),
        }
    }
}
