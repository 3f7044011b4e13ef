//! Metrics of the scoring path.

use crate::metrics::{Histogram, IntCounter, IntGauge, Registry, Result};
use crate::scoring::outcome::EntityResult;

/// Upper bounds in seconds: from a microsecond, for a cached row and a small forest, to ten seconds, for bulk.
const SECONDS: [f64; 18] = [
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1.0, 10.0,
];

/// Handles of the scoring path's metrics.
#[derive(Clone, Debug)]
pub struct ScoringMetrics {
    entities: [(EntityResult, IntCounter); EntityResult::ALL.len()],
    /// Seconds to fetch features from stores.
    pub(super) fetch: Histogram,
    /// Seconds to assemble the rows of a request.
    pub(super) features: Histogram,
    /// Seconds to evaluate the forest for a request.
    pub(super) forest: Histogram,
    /// Seconds of a request from admission to answer, without the protocol.
    pub(super) whole: Histogram,
    in_flight_limit: IntGauge,
    in_flight_used: IntGauge,
}

impl ScoringMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        let help = "Entities of score requests, by result (ok, degraded, not_found, error).";
        let entities = registry.counters("evergreen_entities_total", help, &["result"])?;
        let help = "Seconds of a scoring request, by stage (fetch: from stores, features: rows by the contract, forest, whole: total excluding the protocol).";
        let stages = registry.histograms("evergreen_stage_seconds", help, &["stage"], &SECONDS)?;
        let help = "Entities in progress, an explained one as ten or its reasons (limits.in_flight), by state (limit, used).";
        let in_flight = registry.gauges("evergreen_in_flight_entities", help, &["state"])?;
        Ok(Self {
            entities: EntityResult::ALL.map(|result| (result, entities.with_label_values(&[result.label()]))),
            fetch: stages.with_label_values(&["fetch"]),
            features: stages.with_label_values(&["features"]),
            forest: stages.with_label_values(&["forest"]),
            whole: stages.with_label_values(&["whole"]),
            in_flight_limit: in_flight.with_label_values(&["limit"]),
            in_flight_used: in_flight.with_label_values(&["used"]),
        })
    }

    /// Sets the gauges of admission to the present state.
    pub(super) fn set_in_flight(&self, limit: usize, used: usize) {
        let gauge = |entities: usize| i64::try_from(entities).unwrap_or(i64::MAX);
        self.in_flight_limit.set(gauge(limit));
        self.in_flight_used.set(gauge(used));
    }

    /// Counts entities by their result.
    pub(super) fn count_entities(&self, results: impl IntoIterator<Item = EntityResult>) {
        for result in results {
            for (known, counter) in &self.entities {
                if *known == result {
                    counter.inc();
                }
            }
        }
    }
}
