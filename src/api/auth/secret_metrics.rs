//! Metrics of the certificate and key files, for the operator who rotates them.

use jiff::Timestamp;

use crate::metrics::{IntCounterVec, IntGauge, Registry, Result};

/// A secret read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The TLS certificate and its private key.
    Certificate,
    /// The hashes of API keys.
    Keys,
}

/// Metric handles.
#[derive(Clone, Debug)]
pub struct SecretMetrics {
    reads: IntCounterVec,
    expiry: IntGauge,
}

impl SecretMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// The metrics are already declared.
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

    /// Counts an attempt to read a secret.
    pub fn count_read(&self, what: Secret, ok: bool) {
        let what = match what {
            Secret::Certificate => "certificate",
            Secret::Keys => "keys",
        };
        let result = if ok { "ok" } else { "failed" };
        self.reads.with_label_values(&[what, result]).inc();
    }

    /// Sets the certificate's expiry time.
    pub fn certificate_expires(&self, at: Timestamp) {
        self.expiry.set(at.as_second());
    }
}
