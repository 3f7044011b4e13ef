//! What each client address has in use, in bounded memory: a table of 65,536 addresses in sets of four. A new address
//! takes the place of the one in its set that was not seen for the longest time. The hash is seeded, so that nobody can
//! choose addresses of the same set.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::scoring::client::Usage;

const SETS: usize = 16_384;
const WAYS: usize = 4;

/// The addresses seen last.
pub(super) struct AddressTable {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
    hasher: RandomState,
    /// Number of look-ups so far, which tells which slot is the oldest.
    clock: AtomicU64,
}

#[derive(Default)]
struct Slot {
    address: u128,
    seen: u64,
    usage: Option<Arc<Usage>>,
}

impl std::fmt::Debug for AddressTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressTable").finish_non_exhaustive()
    }
}

impl AddressTable {
    pub(super) fn new() -> Self {
        Self::with_sets(SETS)
    }

    fn with_sets(sets: usize) -> Self {
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            clock: AtomicU64::new(1),
        }
    }

    /// Returns what an address has in use. IPv6 counts by its first 64 bits, as a client has all the others.
    pub(super) fn usage(&self, address: IpAddr) -> Arc<Usage> {
        let address = match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        };
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let set = self.hasher.hash_one(address) as usize % self.sets.len();
        let Some(set) = self.sets.get(set) else {
            return Arc::default();
        };
        let seen = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots
            .iter_mut()
            .find(|slot| slot.address == address && slot.usage.is_some());
        if let Some(slot) = known {
            slot.seen = seen;
            return slot.usage.clone().unwrap_or_default();
        }
        let usage = Arc::<Usage>::default();
        if let Some(oldest) = slots.iter_mut().min_by_key(|slot| slot.seen) {
            *oldest = Slot {
                address,
                seen,
                usage: Some(usage.clone()),
            };
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_usage_until_others_need_its_slot() {
        let table = AddressTable::with_sets(1);
        let usage = |text: &str| table.usage(text.parse().unwrap());
        let first = usage("192.0.2.1");
        assert!(Arc::ptr_eq(&first, &usage("::ffff:192.0.2.1")));
        assert!(!Arc::ptr_eq(&first, &usage("192.0.2.2")));
        usage("192.0.2.3");
        usage("192.0.2.4");
        // It was seen last, so another goes.
        assert!(Arc::ptr_eq(&first, &usage("192.0.2.1")));
        usage("192.0.2.5");
        assert!(Arc::ptr_eq(&first, &usage("192.0.2.1")));
        for last in 6..10 {
            usage(&format!("192.0.2.{last}"));
        }
        assert!(!Arc::ptr_eq(&first, &usage("192.0.2.1")));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let table = AddressTable::new();
        let usage = |text: &str| table.usage(text.parse().unwrap());
        assert!(Arc::ptr_eq(&usage("2001:db8::1"), &usage("2001:db8::ffff:1")));
        assert!(!Arc::ptr_eq(&usage("2001:db8::1"), &usage("2001:db8:0:1::1")));
    }
}
