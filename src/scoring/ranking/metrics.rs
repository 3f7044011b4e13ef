//! Metrics of rankings.

use crate::metrics::{GaugeVec, IntCounterVec, IntGaugeVec, Registry, Result};

/// Handles of the metrics.
#[derive(Clone, Debug)]
pub struct RankingMetrics {
    customers: IntGaugeVec,
    bytes: IntGaugeVec,
    seconds: GaugeVec,
    at: GaugeVec,
    stale: IntGaugeVec,
    rankings: IntCounterVec,
}

/// What the metrics show of a ranking.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankingSize {
    pub(super) ranked: usize,
    pub(super) unscored: usize,
    pub(super) bytes: usize,
    pub(super) seconds: f64,
    pub(super) at: f64,
}

impl RankingMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        let help = "Customers of the ranking of a model, by result (ranked, unscored).";
        let customers = registry.gauges("evergreen_ranking_customers", help, &["model", "result"])?;
        let help = "Memory of the ranking of a model in bytes, without the snapshot.";
        let bytes = registry.gauges("evergreen_ranking_bytes", help, &["model"])?;
        let help = "Seconds that the last ranking of a model took.";
        let seconds = registry.float_gauges("evergreen_ranking_seconds", help, &["model"])?;
        let help = "Time of the last ranking of a model in seconds since the Unix epoch; its age is time() less this.";
        let at = registry.float_gauges("evergreen_ranking_timestamp_seconds", help, &["model"])?;
        let help = "1 while the ranking of a model is of an earlier version or snapshot than the live ones.";
        let stale = registry.gauges("evergreen_ranking_stale", help, &["model"])?;
        let help = "Rankings computed, by model and result (ok, failed).";
        let rankings = registry.counters("evergreen_rankings_total", help, &["model", "result"])?;
        Ok(Self {
            customers,
            bytes,
            seconds,
            at,
            stale,
            rankings,
        })
    }

    pub(super) fn ranked(&self, model: &str, size: RankingSize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let customers = |result| self.customers.with_label_values(&[model, result]);
        customers("ranked").set(gauge(size.ranked));
        customers("unscored").set(gauge(size.unscored));
        self.bytes.with_label_values(&[model]).set(gauge(size.bytes));
        self.seconds.with_label_values(&[model]).set(size.seconds);
        self.at.with_label_values(&[model]).set(size.at);
        self.rankings.with_label_values(&[model, "ok"]).inc();
    }

    pub(super) fn failed(&self, model: &str) {
        self.rankings.with_label_values(&[model, "failed"]).inc();
    }

    pub(super) fn set_stale(&self, model: &str, stale: bool) {
        self.stale.with_label_values(&[model]).set(stale.into());
    }

    /// Removes what is shown of a model that has no ranking any more.
    pub(super) fn forget(&self, model: &str) {
        // What was never shown cannot be removed, which is no failure.
        for result in ["ranked", "unscored"] {
            let _ = self.customers.remove_label_values(&[model, result]);
        }
        let _ = self.bytes.remove_label_values(&[model]);
        let _ = self.seconds.remove_label_values(&[model]);
        let _ = self.at.remove_label_values(&[model]);
        let _ = self.stale.remove_label_values(&[model]);
    }
}
