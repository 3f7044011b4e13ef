//! Admission: a request that would exceed the limit is refused at once, not queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;
use crate::memory::Reservation;

/// Counts the cost of the entities being scored.
#[derive(Debug)]
pub(super) struct Admission {
    limit: AtomicUsize,
    busy: AtomicUsize,
}

/// A share of the limit; dropping it returns the share.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    cost: usize,
    /// The memory of the admitted work.
    _memory: Option<Reservation>,
}

impl Permit {
    /// Holds the memory of the work as long as the permit.
    pub(super) fn with_memory(mut self, memory: Reservation) -> Self {
        self._memory = Some(memory);
        self
    }
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            busy: AtomicUsize::new(0),
        }
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Admits this many entities at this cost.
    ///
    /// # Errors
    /// The limit would be exceeded.
    pub(super) fn enter(self: &Arc<Self>, entities: usize, cost: usize) -> Result<Permit, Error> {
        let limit = self.limit.load(Ordering::Relaxed);
        // Above half of the limit only the number of entities counts, or costly requests would need an idle server. A
        // request above the whole limit runs alone.
        let cost = cost.min((limit / 2).max(entities)).min(limit);
        let admitted = self
            .busy
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
                busy.checked_add(cost).filter(|&total| total <= limit)
            });
        match admitted {
            Ok(_) => Ok(Permit {
                admission: self.clone(),
                cost,
                _memory: None,
            }),
            Err(_) => Err(Error::overloaded(format!(
                "the server is scoring as many entities as limits.in_flight allows ({limit}); retry shortly"
            ))),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.busy.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beyond_the_limit_is_refused_until_some_is_done() {
        let admission = Arc::new(Admission::new(10));
        let permit = admission.enter(8, 8).unwrap();
        assert!(admission.enter(3, 3).is_err());
        assert!(admission.enter(2, 2).is_ok());
        drop(permit);
        assert!(admission.enter(10, 10).is_ok());
        let alone = admission.enter(50, 50).unwrap();
        assert!(admission.enter(1, 1).is_err());
        drop(alone);
        let costly = admission.enter(2, 20).unwrap();
        assert!(admission.enter(5, 5).is_ok() && admission.enter(6, 6).is_err());
        drop(costly);
        assert!(admission.enter(10, 10).is_ok());
    }
}
