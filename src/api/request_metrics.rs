//! Request counters and durations by API, operation and result, for every protocol.

use crate::api::{latency, status};
use crate::error::{Error, ErrorKind};
use crate::log::Pace;
use crate::metrics::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, Result as MetricsResult};
use crate::models::ModelVersion;

/// The request counters and durations of all operations.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// Upper bounds in seconds: from a score by id to a large batch.
const SECONDS: [f64; 16] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

impl RequestMetrics {
    /// Declares the metric.
    ///
    /// # Errors
    /// The metric is already declared.
    pub fn new(registry: &Registry) -> MetricsResult<Self> {
        let help = "Requests, by API, operation and result (ok, or the kind of the error).";
        let labels = ["api", "operation", "result"];
        let requests = registry.counters("evergreen_requests_total", help, &labels)?;
        let help = "Seconds from the head of a request to the head of its answer, by API, operation (`score_one` for one customer, `score` for several) and model (empty if none answered).";
        let seconds = registry.histograms(
            "evergreen_request_seconds",
            help,
            &["api", "operation", "model"],
            &SECONDS,
        )?;
        Ok(Self { requests, seconds })
    }

    /// Returns the counters of one operation of one API.
    pub(super) fn counters(&self, api: &str, operation: &str) -> RequestCounters {
        let counter = |result: &str| self.requests.with_label_values(&[api, operation, result]);
        RequestCounters {
            ok: counter("ok"),
            errors: ErrorKind::ALL.map(|kind| counter(status::of(kind).label)),
            seconds: Some(Seconds {
                vec: self.seconds.clone(),
                api: api.to_owned(),
                operation: operation.to_owned(),
            }),
        }
    }

    /// Returns the counters of an operation whose answer begins before its work is done: its duration says nothing.
    pub(super) fn stream_counters(&self, api: &str, operation: &str) -> RequestCounters {
        RequestCounters {
            seconds: None,
            ..self.counters(api, operation)
        }
    }
}

/// The counters of one operation of one API.
#[derive(Clone, Debug)]
pub(super) struct RequestCounters {
    ok: IntCounter,
    /// In the order of [`ErrorKind::ALL`].
    errors: [IntCounter; ErrorKind::ALL.len()],
    /// `None` for streams.
    seconds: Option<Seconds>,
}

/// The durations of an operation of an API.
#[derive(Clone, Debug)]
struct Seconds {
    vec: HistogramVec,
    api: String,
    operation: String,
}

impl Seconds {
    fn of(&self, model: &str) -> Histogram {
        self.vec
            .with_label_values(&[self.api.as_str(), &self.operation, model])
    }
}

impl RequestCounters {
    /// Notes that a model answers the current request.
    pub(super) fn answered_by(&self, model: &ModelVersion) {
        if let Some(seconds) = &self.seconds {
            latency::replace(Some(seconds.of(&model.name)));
        }
    }

    /// Counts a failed result and returns the result. Successes are counted elsewhere.
    pub(super) fn count_errors<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match result {
            Err(error) => self.count(Err(error)),
            ok => ok,
        }
    }

    /// Counts a result and returns it. Logs the details of internal errors.
    pub(super) fn count<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Some(seconds) = &self.seconds {
            latency::set_default(|| seconds.of(""));
        }
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
