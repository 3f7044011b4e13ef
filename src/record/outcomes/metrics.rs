//! Metrics of outcomes and performance.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::{GaugeVec, IntCounter, IntCounterVec, Registry, Result};

/// What became of a score that was to be kept.
#[derive(Clone, Debug)]
pub(super) struct ScoreCounters {
    /// Kept.
    pub(super) kept: IntCounter,
    /// Not the first one of its period.
    pub(super) repeated: IntCounter,
    /// Dropped because the queue was full.
    pub(super) dropped: IntCounter,
    /// Not kept because the store is full or away.
    pub(super) failed: IntCounter,
}

/// Handles of the metrics.
#[derive(Clone, Debug)]
pub struct OutcomeMetrics {
    outcomes: IntCounterVec,
    pub(super) scores: ScoreCounters,
    pub(super) torn: IntCounter,
    pub(super) damaged: IntCounter,
    performance: GaugeVec,
    /// The label values of `performance` that exist, to remove those of versions that are gone.
    present: Arc<Mutex<HashSet<[String; 3]>>>,
}

impl OutcomeMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        let help = "Recorded outcomes, by model and result (stayed, left, none: an action only).";
        let outcomes = registry.counters("evergreen_outcomes_total", help, &["model", "result"])?;
        let help = "Scores for comparison with outcomes, by result (kept, repeated: not the first of its period, dropped: \
                    queue full, failed: store full or away).";
        let scores = registry.counters("evergreen_outcome_scores_total", help, &["result"])?;
        let help =
            "Lines of the outcome folder that could not be read at the start, by state (torn, damaged).";
        let lines = registry.counters("evergreen_outcome_lines_lost_total", help, &["state"])?;
        let help = "Performance of a version, by model, version and measure (brier, log_loss, auc, calibration_error, \
                    left_rate, expected_left_rate, coverage, matured, known, expected_auc, expected_brier).";
        let performance =
            registry.float_gauges("evergreen_performance", help, &["model", "version", "measure"])?;
        let score = |result: &str| scores.with_label_values(&[result]);
        Ok(Self {
            outcomes,
            scores: ScoreCounters {
                kept: score("kept"),
                repeated: score("repeated"),
                dropped: score("dropped"),
                failed: score("failed"),
            },
            torn: lines.with_label_values(&["torn"]),
            damaged: lines.with_label_values(&["damaged"]),
            performance,
            present: Arc::default(),
        })
    }

    /// Counts a recorded outcome. `model` must be a model of the repository.
    pub fn count(&self, model: &str, result: Option<super::CustomerResult>) {
        let result = result.map_or("none", super::CustomerResult::label);
        self.outcomes.with_label_values(&[model, result]).inc();
    }

    /// Sets the measures of a model: version, measure and value. Those of earlier calls that are missing now are removed.
    pub fn set_performance(&self, model: &str, measures: &[(u64, &'static str, f64)]) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |(version, measure, _): &(u64, &'static str, f64)| {
            [model.to_owned(), version.to_string(), (*measure).to_owned()]
        };
        let now: HashSet<[String; 3]> = measures.iter().map(labels).collect();
        present.retain(|known| {
            let stays = known[0] != model || now.contains(known);
            if !stays {
                // It is not there if another call was quicker.
                let _ = self
                    .performance
                    .remove_label_values(&[&known[0], &known[1], &known[2]]);
            }
            stays
        });
        for measure in measures {
            let [model, version, name] = labels(measure);
            self.performance
                .with_label_values(&[&model, &version, &name])
                .set(measure.2);
        }
        present.extend(now);
    }

    /// Removes the measures of all models but these.
    pub fn retain_performance(&self, models: &BTreeSet<&str>) {
        let known = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let others = known.iter().map(|[model, ..]| model.clone());
        let others: BTreeSet<String> = others.filter(|model| !models.contains(model.as_str())).collect();
        drop(known);
        for model in others {
            self.set_performance(&model, &[]);
        }
    }
}
