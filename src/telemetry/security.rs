//! Metrics of certificates and keys.

use jiff::Timestamp;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// What is read from files and kept from eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The certificate of TLS, with its key.
    Certificate,
    /// The hashes of API keys.
    Keys,
}

/// The handles.
#[derive(Clone, Debug)]
pub struct SecurityMetrics {
    reads: IntCounterVec,
    expires: IntGauge,
}

impl SecurityMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name or label is not valid, or stands twice.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let help =
            "Times that certificates or keys were read, by what (certificate, keys) and result (ok, failed).";
        let reads = IntCounterVec::new(
            Opts::new("evergreen_secret_reads_total", help),
            &["what", "result"],
        )?;
        registry.register(Box::new(reads.clone()))?;
        let help = "When the TLS certificate expires, in seconds since 1970; 0 without TLS.";
        let expires = IntGauge::new("evergreen_tls_certificate_expiry_seconds", help)?;
        registry.register(Box::new(expires.clone()))?;
        Ok(Self { reads, expires })
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

    /// Says when the certificate expires.
    pub fn expires(&self, at: Timestamp) {
        self.expires.set(at.as_second());
    }
}
