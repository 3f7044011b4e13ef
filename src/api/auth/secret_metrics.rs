//! Metrics of certificates and keys.

use jiff::Timestamp;

use crate::metrics::{IntCounterVec, IntGauge, Registry, Result};

/// A secret read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The certificate of TLS, with its key.
    Certificate,
    /// The hashes of API keys.
    Keys,
}

/// The handles.
#[derive(Clone, Debug)]
pub struct SecretMetrics {
    reads: IntCounterVec,
    expiry: IntGauge,
}

impl SecretMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            reads: registry.counters(
                "evergreen_secret_reads_total",
                "Reads of certificates and API keys, by what (certificate, keys) and result (ok, failed).",
                &["what", "result"],
            )?,
            expiry: registry.gauge(
                "evergreen_tls_certificate_expiry_seconds",
                "When the TLS certificate expires, in seconds since 1970; 0 without TLS.",
            )?,
        })
    }

    /// Counts an attempt to read.
    pub fn read(&self, what: Secret, ok: bool) {
        let what = match what {
            Secret::Certificate => "certificate",
            Secret::Keys => "keys",
        };
        let result = if ok { "ok" } else { "failed" };
        self.reads.with_label_values(&[what, result]).inc();
    }

    /// Sets when the certificate expires.
    pub fn certificate_expires(&self, at: Timestamp) {
        self.expiry.set(at.as_second());
    }
}
