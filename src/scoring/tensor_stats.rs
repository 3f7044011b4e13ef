//! Counts and times of inference on tensors, for clients that ask the server about them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters since a version went live.
#[derive(Debug, Default)]
pub struct TensorStats {
    success: Total,
    failure: Total,
}

/// Requests, and nanoseconds in all of them.
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
    pub(super) fn record(&self, time: Duration, success: bool) {
        let total = if success { &self.success } else { &self.failure };
        total.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        total.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Requests answered, and nanoseconds spent on them.
    pub fn success(&self) -> (u64, u64) {
        self.success.get()
    }

    /// Requests refused, and nanoseconds spent on them.
    pub fn failure(&self) -> (u64, u64) {
        self.failure.get()
    }
}
