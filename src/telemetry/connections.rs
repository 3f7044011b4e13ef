//! Metrics of connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Why a connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The port has as many as it may.
    Limit,
    /// The TLS handshake failed, or took too long.
    Handshake,
}

/// The metrics of all ports.
#[derive(Clone, Debug)]
pub struct PortMetrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
}

/// The handles of one port.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    open: IntGauge,
    limit: IntCounter,
    handshake: IntCounter,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub struct Open(IntGauge);

impl PortMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name or label is not valid, or stands twice.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let open = Opts::new("evergreen_connections", "Open connections, by port.");
        let open = IntGaugeVec::new(open, &["port"])?;
        registry.register(Box::new(open.clone()))?;
        let help = "Connections that came to nothing, by port and reason: limit or handshake.";
        let refused = Opts::new("evergreen_connections_refused_total", help);
        let refused = IntCounterVec::new(refused, &["port", "reason"])?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { open, refused })
    }

    /// The handles of a port.
    pub fn of(&self, port: &str) -> ConnectionMetrics {
        ConnectionMetrics {
            open: self.open.with_label_values(&[port]),
            limit: self.refused.with_label_values(&[port, "limit"]),
            handshake: self.refused.with_label_values(&[port, "handshake"]),
        }
    }
}

impl ConnectionMetrics {
    /// Counts an open connection.
    pub fn open(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    /// Counts one that came to nothing.
    pub fn refused(&self, why: Refused) {
        match why {
            Refused::Limit => self.limit.inc(),
            Refused::Handshake => self.handshake.inc(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
