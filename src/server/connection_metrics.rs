//! Connection metrics of each port.

use crate::metrics::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};

/// Why a connection was closed before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The port has reached `server.connections`.
    Limit,
    /// The TLS handshake failed, or took too long.
    Handshake,
}

/// The metrics of all ports.
#[derive(Clone, Debug)]
pub(super) struct PortMetrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
}

/// Metric handles of one port.
#[derive(Clone, Debug)]
pub(super) struct ConnectionMetrics {
    open: IntGauge,
    limit: IntCounter,
    handshake: IntCounter,
}

/// Counts one open connection until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection(IntGauge);

impl PortMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// The metrics are already declared.
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            open: registry.gauges("evergreen_connections", "Open connections, by port.", &["port"])?,
            refused: registry.counters(
                "evergreen_connections_refused_total",
                "Connections closed before use, by port and reason (limit, handshake).",
                &["port", "reason"],
            )?,
        })
    }

    /// Returns the handles of a port.
    pub(super) fn of(&self, port: &str) -> ConnectionMetrics {
        ConnectionMetrics {
            open: self.open.with_label_values(&[port]),
            limit: self.refused.with_label_values(&[port, "limit"]),
            handshake: self.refused.with_label_values(&[port, "handshake"]),
        }
    }
}

impl ConnectionMetrics {
    /// Counts an open connection.
    pub(super) fn open(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// Counts a connection closed before use.
    pub(super) fn count_refused(&self, reason: CloseReason) {
        match reason {
            CloseReason::Limit => self.limit.inc(),
            CloseReason::Handshake => self.handshake.inc(),
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
