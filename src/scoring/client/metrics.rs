//! Counts what clients are refused.

use crate::metrics::{IntCounter, IntCounterVec, Registry, Result};

/// The counters of all clients.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    refused: IntCounterVec,
}

impl ClientMetrics {
    /// Declares the metric.
    ///
    /// # Errors
    /// The metric is already declared.
    pub fn new(registry: &Registry) -> Result<Self> {
        let help = "Requests and batches refused by a client's own limits, by API key (`address` without keys) and reason \
                    (rate, share, model).";
        let refused = registry.counters("evergreen_client_refusals_total", help, &["client", "reason"])?;
        Ok(Self { refused })
    }

    /// Returns the counters of a client.
    pub fn counters(&self, client: &str) -> RefusalCounters {
        let counter = |reason| self.refused.with_label_values(&[client, reason]);
        RefusalCounters {
            rate: counter("rate"),
            share: counter("share"),
            model: counter("model"),
        }
    }
}

/// The counters of one client, one per reason.
#[derive(Clone, Debug)]
pub struct RefusalCounters {
    pub(super) rate: IntCounter,
    pub(in crate::scoring) share: IntCounter,
    pub(super) model: IntCounter,
}
