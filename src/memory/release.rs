//! Gives freed memory back to the system. An allocator keeps what was freed for the next allocation, for seconds and in parts
//! that do not share it, so bursts of large requests would make the process keep a multiple of the budget.
//!
//! When clients have returned an eighth of the budget, the thread that returns the last of it looks at the resident memory. If
//! that has grown by half more than the budget, all that is free goes back. The thread does it itself, also if another one is at
//! it: under load that one may wait for a processor while others allocate.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::PIECE;
use crate::os;

/// The returned memory of a budget.
#[derive(Debug, Default)]
pub(super) struct Returned {
    /// Bytes that were returned since the last look.
    bytes: AtomicUsize,
    /// Resident bytes without those in use: models, customers, threads, connections. 0 before the first look.
    base: AtomicUsize,
}

impl Returned {
    /// Counts bytes that were returned to a budget of `limit`, and releases memory if too much is kept. Less than a piece is
    /// not counted: threads keep small allocations for themselves, and small requests shall pay nothing.
    pub(super) fn add(&self, bytes: usize, limit: usize, used: impl Fn() -> usize) {
        if bytes < PIECE {
            return;
        }
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) < limit / 8 {
            return;
        }
        self.bytes.store(0, Ordering::Relaxed);
        let base = self.base.load(Ordering::Relaxed);
        let memory = || (os::resident_bytes(), used());
        let base = next_base(base, limit, memory, os::release_memory);
        self.base.store(base, Ordering::Relaxed);
    }
}

/// Releases memory if the resident memory is far above the base, and returns the new base. `memory` gives resident bytes and
/// those in use.
fn next_base(
    base: usize,
    limit: usize,
    memory: impl Fn() -> (usize, usize),
    release: impl FnOnce(),
) -> usize {
    let (resident, used) = memory();
    let is_first = base == 0;
    if !is_first && resident <= base.saturating_add(limit).saturating_add(limit / 2) {
        return base.min(resident.saturating_sub(used));
    }
    release();
    let (resident, used) = memory();
    let found = resident.saturating_sub(used);
    // What a load has added stays, and ends up in the base; threads and connections of a burst go again.
    match is_first {
        true => found,
        false => found.min(base + limit / 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1600;

    /// The new base, and whether memory was released, if `resident` falls to `after` then. 100 bytes are in use.
    fn looked(base: usize, resident: usize, after: usize) -> (usize, bool) {
        let released = std::cell::Cell::new(false);
        let memory = || (if released.get() { after } else { resident }, 100);
        (
            next_base(base, LIMIT, memory, || released.set(true)),
            released.get(),
        )
    }

    #[test]
    fn memory_is_released_when_it_has_grown_by_more_than_the_budget_and_a_half() {
        assert_eq!(looked(500, 2900, 700), (500, false));
        assert_eq!(looked(500, 2901, 600), (500, true));
    }

    #[test]
    fn the_base_falls_at_once_and_rises_in_steps() {
        assert_eq!(looked(0, 9500, 9100), (9000, true));
        assert_eq!(looked(9000, 1100, 0), (1000, false));
        // A model was loaded: the base follows.
        assert_eq!(looked(1000, 5000, 5000), (1025, true));
        assert_eq!(looked(4850, 5000, 0), (4850, false));
        assert_eq!(looked(1000, 5000, 1110), (1010, true));
    }

    #[test]
    fn only_large_returns_of_an_eighth_of_the_budget_make_a_thread_look() {
        let returned = Returned::default();
        for _ in 0..100 {
            returned.add(PIECE - 1, PIECE, || 0);
        }
        returned.add(PIECE, 9 * PIECE, || 0);
        assert_eq!(returned.base.load(Ordering::Relaxed), 0);
        returned.add(PIECE, 9 * PIECE, || 0);
        assert!(returned.base.load(Ordering::Relaxed) > 0);
        assert_eq!(returned.bytes.load(Ordering::Relaxed), 0);
    }
}
