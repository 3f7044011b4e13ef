//! Requests counted by operation and result, with handles resolved once.

use prometheus::IntCounter;

use crate::api::status;
use crate::error::{Error, ErrorKind};
use crate::telemetry::Metrics;

/// The counters of one operation of one API.
#[derive(Clone, Debug)]
pub(super) struct RequestCounters {
    ok: IntCounter,
    /// In the order of [`ErrorKind::ALL`].
    errors: [IntCounter; ErrorKind::ALL.len()],
}

impl RequestCounters {
    pub(super) fn new(metrics: &Metrics, api: &str, operation: &str) -> Self {
        let counter = |result: &str| metrics.requests.with_label_values(&[api, operation, result]);
        Self {
            ok: counter("ok"),
            errors: ErrorKind::ALL.map(|kind| counter(status::of(kind).label)),
        }
    }

    /// Counts an error and hands the result on, where what goes well is counted elsewhere.
    pub(super) fn count_errors<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match result {
            Err(error) => self.count(Err(error)),
            ok => ok,
        }
    }

    /// Counts a result and hands it on; a defect of our own goes to the log with its detail.
    pub(super) fn count<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => self.ok.inc(),
            Err(error) => {
                if error.kind() == ErrorKind::Internal {
                    tracing::error!(%error, "internal error");
                }
                for (kind, counter) in ErrorKind::ALL.iter().zip(&self.errors) {
                    if *kind == error.kind() {
                        counter.inc();
                    }
                }
            }
        }
        result
    }
}
