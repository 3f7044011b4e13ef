//! Chooses which entities of a window count: each once, in bounded memory.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

/// Entities remembered in a window. This many are plenty for any statistic, and take about 1 MB.
pub const MOST: usize = 1 << 16;

/// The number of classes of hashes.
pub const CLASSES: usize = 24;

/// The entities counted in a window, by the hash of their id.
///
/// Hashes fall into classes: half of all into the first, a quarter into the second, and so on. When there are too many entities, the
/// first class that still counts is given up, with what it has counted. So all entities that count have the same chance to,
/// whether they come early or late.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Distinct {
    seen: FxHashSet<u64>,
    /// Classes below it do not count.
    first: usize,
}

impl Distinct {
    /// The class of an entity if it counts now: for the first time in this window, and in a class that counts.
    pub fn admit(&mut self, hash: u64) -> Option<usize> {
        if class(hash) < self.first || !self.seen.insert(hash) {
            return None;
        }
        if self.seen.len() > MOST && self.first + 1 < CLASSES {
            self.first += 1;
            let first = self.first;
            self.seen.retain(|&hash| class(hash) >= first);
        }
        Some(class(hash)).filter(|&class| class >= self.first)
    }

    /// Whether it can have come from this program.
    pub fn is_valid(&self) -> bool {
        self.first < CLASSES && self.seen.len() <= MOST + 1
    }

    /// The first class that counts.
    pub fn first_class(&self) -> usize {
        self.first
    }
}

/// The class of a hash, by its leading zeros.
fn class(hash: u64) -> usize {
    (hash.leading_zeros() as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn an_entity_counts_once() {
        let mut distinct = Distinct::default();
        assert_eq!(distinct.admit(7), Some(CLASSES - 1));
        assert_eq!(distinct.admit(7), None);
        assert_eq!(distinct.admit(u64::MAX), Some(0));
    }

    #[test]
    fn late_entities_count_as_much_as_early_ones_and_memory_is_bounded() {
        let (hasher, mut distinct) = (RandomState::new(), Distinct::default());
        let mut counted: Vec<Vec<u64>> = vec![Vec::new(); CLASSES];
        for round in 0..2 {
            for id in 0..400_000_u64 {
                if let Some(class) = distinct.admit(hasher.hash_one(id)) {
                    counted[class].push(id);
                    assert_eq!(round, 0, "{id} counts twice");
                }
            }
        }
        assert!(distinct.seen.len() <= MOST);
        let counting = counted.iter().skip(distinct.first_class()).flatten();
        let (early, late): (Vec<u64>, Vec<u64>) = counting.partition(|&&id| id < 200_000);
        assert_eq!(early.len() + late.len(), distinct.seen.len());
        let share = early.len() as f64 / (early.len() + late.len()) as f64;
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }
}
