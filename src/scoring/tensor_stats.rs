//! Counts and durations of inference on tensors, for the statistics of the Open Inference Protocol.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters since a version went live.
#[derive(Debug, Default)]
pub struct TensorStats {
    success: Total,
    failure: Total,
    rows: AtomicU64,
}

/// A number of requests and their total nanoseconds.
#[derive(Debug, Default)]
struct Total {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Total {
    fn get(&self) -> (u64, u64) {
        (
            self.count.load(Ordering::Relaxed),
            self.nanoseconds.load(Ordering::Relaxed),
        )
    }
}

impl TensorStats {
    /// Counts a request that took `time`: its rows if it succeeded, or a failure.
    pub(super) fn record(&self, time: Duration, rows: Option<usize>) {
        let total = if rows.is_some() {
            &self.success
        } else {
            &self.failure
        };
        total.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        total.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.rows.fetch_add(rows.unwrap_or(0) as u64, Ordering::Relaxed);
    }

    /// The number of rows in answered requests.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The number of answered requests and their total nanoseconds.
    pub fn success(&self) -> (u64, u64) {
        self.success.get()
    }

    /// The number of failed requests and their total nanoseconds.
    pub fn failure(&self) -> (u64, u64) {
        self.failure.get()
    }
}
