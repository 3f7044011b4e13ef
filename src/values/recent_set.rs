//! A set of hashes without locks, for things that are done once and asked for often.

use std::sync::atomic::{AtomicU64, Ordering};

/// Remembers hashes that were inserted lately. A hash may lose its place to another one: so what is not found may have been
/// inserted, and what is found was.
#[derive(Debug)]
pub struct RecentSet {
    /// 0: empty. The hash 0 is never found.
    slots: Box<[AtomicU64]>,
}

impl RecentSet {
    /// An empty set with at least this many places of 8 bytes each.
    pub fn new(places: usize) -> Self {
        // A power of two, so that the place of a hash is some of its bits.
        Self {
            slots: (0..places.next_power_of_two())
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    /// Whether a hash was inserted and still has its place.
    pub fn contains(&self, hash: u64) -> bool {
        hash != 0
            && self
                .slot(hash)
                .is_some_and(|slot| slot.load(Ordering::Relaxed) == hash)
    }

    /// Inserts a hash. Returns whether it was not found before. Of threads that insert the same hash at the same time, one
    /// hears so.
    pub fn insert(&self, hash: u64) -> bool {
        // Reading first: a write would take the cache line from the other processors, also where nothing changes.
        !self.contains(hash)
            && self
                .slot(hash)
                .is_none_or(|slot| slot.swap(hash, Ordering::Relaxed) != hash)
    }

    fn slot(&self, hash: u64) -> Option<&AtomicU64> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of the hash will do")]
        self.slots.get(hash as usize & (self.slots.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_found_until_another_hash_takes_its_place() {
        let set = RecentSet::new(8);
        assert!(!set.contains(3) && set.insert(3) && !set.insert(3) && set.contains(3));
        assert!(set.insert(11), "the same place");
        assert!(!set.contains(3) && set.insert(3) && !set.contains(11));
    }

    #[test]
    fn zero_is_never_found_and_every_set_has_a_place() {
        let set = RecentSet::new(0);
        assert!(set.insert(7) && set.contains(7) && set.insert(8) && !set.contains(7));
        let set = RecentSet::new(5);
        assert!(!set.contains(0));
        set.insert(0);
        assert!(!set.contains(0));
    }
}
