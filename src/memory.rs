//! The memory budget: one number of bytes for everything that clients make the server hold. Bodies while they arrive,
//! decoded messages, batches in progress and answers that were not taken yet draw on it. A request that finds too little
//! is refused at once, before it is decoded; nothing waits for memory, as waiting while holding some could deadlock.
//!
//! [`MemoryBudget`] counts, [`Reservation`] holds a share for as long as it lives, and [`RequestMemory`] is the account of
//! one request from its first byte to the last byte of its answer. When much was returned, freed memory that the allocator keeps
//! goes back to the system.

mod default_budget;
mod release;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use default_budget::{DefaultBudget, available_memory, container_limit};
pub use request::{BodyMeter, ConnectionMemory, RequestMemory, current, with_current};

use release::Returned;

use crate::error::Error;

/// Requests that hold at most this many bytes may use the whole budget; larger ones leave the last quarter free, so that
/// they cannot lock out the usual small request.
const SMALL_REQUEST: usize = 64 << 10;

/// Most bytes of a piece in which an answer leaves. Long JSON is written in chunks of this size, so that each is free when its
/// client has taken it.
pub const PIECE: usize = 32 << 10;

/// The least budget in bytes: less could not hold a body of the default size and its scores.
pub const LEAST: usize = 16 << 20;

/// Counts the bytes that clients make the server hold.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: AtomicUsize,
    used: AtomicUsize,
    refused: AtomicUsize,
    /// Of the budget of the process only, whose resident memory it looks at.
    returned: Option<Returned>,
}

/// Why bytes were not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMemory {
    /// Others use the budget at present.
    #[error("the server's memory for requests (limits.memory, {} MiB) is in use; retry shortly", .limit >> 20)]
    InUse {
        /// The budget in bytes.
        limit: usize,
    },
    /// The connection already holds its share.
    #[error(
        "this connection's requests use its share of the server's memory (an eighth of limits.memory); retry when some are answered"
    )]
    ConnectionShare,
    /// The request alone needs more than there is.
    #[error("the request needs {} MiB of memory, more than a request may use of limits.memory ({} MiB); send it in smaller parts", .needed.div_ceil(1 << 20), .limit >> 20)]
    TooLarge {
        /// Bytes that the request needs.
        needed: usize,
        /// The budget in bytes.
        limit: usize,
    },
}

impl From<NoMemory> for Error {
    fn from(error: NoMemory) -> Self {
        match error {
            NoMemory::InUse { .. } | NoMemory::ConnectionShare => Self::overloaded(error.to_string()),
            NoMemory::TooLarge { .. } => Self::too_large(error.to_string()),
        }
    }
}

/// A share of the budget; dropping it returns the share.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget of this many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Self::with(limit, None)
    }

    /// The budget of a process, which has one: freed memory goes back to the system as `memory/release.rs` says. It has no
    /// limit until [`Self::set_limit`].
    pub fn of_process() -> Arc<Self> {
        Self::with(usize::MAX, Some(Returned::default()))
    }

    fn with(limit: usize, returned: Option<Returned>) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            returned,
        })
    }

    /// Sets another limit, for requests from now on.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// The bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often bytes were refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether more than half of the budget is in use: clients that are slow to send or to take an answer are cut off then.
    /// Large requests can use three quarters, so the other quarter is left for them.
    pub fn is_short(&self) -> bool {
        self.used() > self.limit() / 2
    }

    /// Reserves bytes for a piece of work.
    ///
    /// # Errors
    /// Too little is free, or the work needs more than there is.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation, NoMemory> {
        self.take(0, bytes)?;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }

    /// Reserves bytes that are needed in any case, such as those of a model that is being loaded. Requests get less
    /// meanwhile.
    pub fn reserve_anyway(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Reservation {
            budget: self.clone(),
            bytes,
        }
    }

    /// Takes bytes for a holder that has `held` already.
    fn take(&self, held: usize, bytes: usize) -> Result<(), NoMemory> {
        self.granted(held, bytes, |most| {
            let grow = |used: usize| used.checked_add(bytes).filter(|&used| used <= most);
            let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow);
            taken.is_ok()
        })
    }

    /// Checks that [`Self::take`] would take.
    fn check(&self, held: usize, bytes: usize) -> Result<(), NoMemory> {
        self.granted(held, bytes, |most| self.used().saturating_add(bytes) <= most)
    }

    /// Judges a wish by what its holder may have at most; `is_free` says whether that much is free.
    fn granted(
        &self,
        held: usize,
        bytes: usize,
        is_free: impl FnOnce(usize) -> bool,
    ) -> Result<(), NoMemory> {
        let limit = self.limit();
        let needed = held.saturating_add(bytes);
        let most = if needed <= SMALL_REQUEST {
            limit
        } else {
            limit - limit / 4
        };
        let refusal = if needed > most {
            NoMemory::TooLarge { needed, limit }
        } else if is_free(most) {
            return Ok(());
        } else {
            NoMemory::InUse { limit }
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    /// Returns bytes.
    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.was_returned(bytes);
    }

    /// Tells that bytes are no longer in use.
    fn was_returned(&self, bytes: usize) {
        if let Some(returned) = &self.returned {
            returned.add(bytes, self.limit(), || self.used());
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_refused_beyond_the_limit_and_come_back() {
        let budget = MemoryBudget::new(1 << 20);
        let large = budget.reserve(700 << 10).unwrap();
        // Large requests leave the last quarter to small ones.
        assert_eq!(
            budget.reserve(100 << 10).unwrap_err(),
            NoMemory::InUse { limit: 1 << 20 }
        );
        let small: Vec<Reservation> = (0..5).map(|_| budget.reserve(64 << 10).unwrap()).collect();
        assert!(budget.reserve(64 << 10).is_err());
        assert!(budget.is_short());
        drop(large);
        assert!(budget.reserve(100 << 10).is_ok());
        drop(small);
        assert_eq!((budget.used(), budget.refused()), (0, 2));
    }

    #[test]
    fn what_never_fits_is_said_so() {
        let budget = MemoryBudget::new(1 << 20);
        let error = Error::from(budget.reserve(2 << 20).unwrap_err());
        assert_eq!(error.kind(), crate::error::ErrorKind::TooLarge);
        assert!(error.to_string().contains("needs 2 MiB"), "{error}");
        let _model = budget.reserve_anyway(3 << 20);
        assert_eq!(budget.used(), 3 << 20);
        assert!(budget.reserve(1).is_err());
    }
}
