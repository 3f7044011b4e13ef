//! Metrics of scores that answer nobody.

use crate::features::metrics::FeatureMetrics;
use crate::metrics::{Registry, Result};
use crate::scoring::metrics::ScoringMetrics;

/// Metrics that nobody reads: the server's own count only what was answered.
pub(super) struct UnreadMetrics {
    pub(super) scoring: ScoringMetrics,
    pub(super) features: FeatureMetrics,
}

impl UnreadMetrics {
    pub(super) fn new() -> Result<Self> {
        let registry = Registry::default();
        Ok(Self {
            scoring: ScoringMetrics::new(&registry)?,
            features: FeatureMetrics::new(&registry)?,
        })
    }
}
