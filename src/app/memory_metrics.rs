//! Metrics of the memory budget, measured when they are read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::MemoryBudget;
use crate::metrics::{IntCounter, IntGauge, Registry, Result};

/// Handles of the metrics.
#[derive(Debug)]
pub(super) struct MemoryMetrics {
    limit: IntGauge,
    used: IntGauge,
    refused: IntCounter,
    counted: AtomicU64,
}

impl MemoryMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let help = "Memory budget of requests in bytes (limits.memory), by state (limit, used).";
        let budget = registry.gauges("evergreen_memory_budget_bytes", help, &["state"])?;
        let help = "Times that a request found too little of the memory budget.";
        let refused = registry.counters("evergreen_memory_refused_total", help, &[])?;
        Ok(Self {
            limit: budget.with_label_values(&["limit"]),
            used: budget.with_label_values(&["used"]),
            refused: refused.with_label_values(&[] as &[&str]),
            counted: AtomicU64::new(0),
        })
    }

    /// Sets the metrics to the present state.
    pub(super) fn measure(&self, memory: &MemoryBudget) {
        let gauge = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.limit.set(gauge(memory.limit()));
        self.used.set(gauge(memory.used()));
        let refused = memory.refused() as u64;
        let counted = self.counted.swap(refused, Ordering::Relaxed);
        self.refused.inc_by(refused.saturating_sub(counted));
    }
}
