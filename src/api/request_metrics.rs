//! Request counters by API, operation and result, for every protocol.

use crate::api::status;
use crate::error::{Error, ErrorKind};
use crate::log::Pace;
use crate::metrics::{IntCounter, IntCounterVec, Registry, Result as MetricsResult};

/// The request counters of all operations.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    requests: IntCounterVec,
}

impl RequestMetrics {
    /// Declares the metric.
    ///
    /// # Errors
    /// The metric is already declared.
    pub fn new(registry: &Registry) -> MetricsResult<Self> {
        let help = "Requests, by API, operation and result (ok, or the kind of the error).";
        let labels = ["api", "operation", "result"];
        let requests = registry.counters("evergreen_requests_total", help, &labels)?;
        Ok(Self { requests })
    }

    /// Returns the counters of one operation of one API.
    pub(super) fn counters(&self, api: &str, operation: &str) -> RequestCounters {
        let counter = |result: &str| self.requests.with_label_values(&[api, operation, result]);
        RequestCounters {
            ok: counter("ok"),
            errors: ErrorKind::ALL.map(|kind| counter(status::of(kind).label)),
        }
    }
}

/// The counters of one operation of one API.
#[derive(Clone, Debug)]
pub(super) struct RequestCounters {
    ok: IntCounter,
    /// In the order of [`ErrorKind::ALL`].
    errors: [IntCounter; ErrorKind::ALL.len()],
}

impl RequestCounters {
    /// Counts a failed result and returns the result. Successes are counted elsewhere.
    pub(super) fn count_errors<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match result {
            Err(error) => self.count(Err(error)),
            ok => ok,
        }
    }

    /// Counts a result and returns it. Logs the details of internal errors.
    pub(super) fn count<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => self.ok.inc(),
            Err(error) => {
                static PACE: Pace = Pace::new();
                if error.kind() == ErrorKind::Internal
                    && let Some(times) = PACE.count()
                {
                    tracing::error!(%error, times, "internal error");
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
