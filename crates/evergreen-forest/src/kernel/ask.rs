//! Questions as bytes: every split becomes "is the byte in this slot greater than this number".
//!
//! A *slot* is a byte that a row has for one reading of one feature: the rank of its value among the thresholds
//! that the model's splits on the feature use, with missing values ranked first or last. What a split asks is then
//! `slot > rank`, and `true` goes right. The replacement is exact: a value's rank among the thresholds says
//! precisely which of them it is below.
//!
//! ```text
//! thresholds of a feature   t0 < t1 < … < t254 | t255 …       255 to a slot, further ones in further slots
//! rank of x                 how many of them x has passed
//! slot                      rank − first threshold of the slot, held within 0..=255; missing: 0 or 255
//! split on t_k              slot > k
//! ```
//! A set of categories is a slot of its own that holds 0 for members (left) and 255 for others.

use std::collections::HashMap;

use super::super::ensemble::{Ensemble, Set, Split, Test};
use super::super::number::Real;

/// Thresholds to a slot: ranks 0 to 255 tell 255 thresholds apart.
const PER_SLOT: usize = 255;

/// The slot that always holds 0: what asks it with [`NEVER`] goes left.
pub(super) const ZERO_SLOT: u16 = 0;

/// No byte is greater.
pub(super) const NEVER: u8 = 255;

/// A split's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// The slot asked about.
    pub(super) slot: u16,
    /// Right if the slot holds more than this.
    pub(super) rank: u8,
}

impl Ask {
    /// A question whose answer is always left.
    pub(super) const LEFT: Self = Self {
        slot: ZERO_SLOT,
        rank: NEVER,
    };
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// The rank of a number among the thresholds from position `first` on.
    Rank {
        feature: u32,
        first: u32,
        missing_left: bool,
        zero_missing: bool,
    },
    /// Whether the number is missing.
    Missing { feature: u32, zero_missing: bool },
    /// Whether the category is in a set; sets of equal members have one number.
    Member {
        feature: u32,
        set: u32,
        missing_left: bool,
    },
}

impl Reading {
    /// The feature it reads.
    pub(super) fn feature(self) -> u32 {
        match self {
            Self::Rank { feature, .. } | Self::Missing { feature, .. } | Self::Member { feature, .. } => {
                feature
            }
        }
    }
}

/// The readings that a model's splits need, before slots are given out.
#[derive(Debug)]
pub(super) struct Readings<T> {
    /// Ascending thresholds of each feature.
    pub(super) thresholds: Vec<Vec<T>>,
    /// For each split: its reading's position below, and its rank there.
    pub(super) of_split: Vec<(u32, u8)>,
    /// Every reading once, in order of first use.
    pub(super) all: Vec<Reading>,
}

impl<T: Real> Readings<T> {
    /// Collects what the splits of a model ask; `None` if something cannot be asked in this way.
    pub(super) fn of(ensemble: &Ensemble<T>) -> Option<Self> {
        let mut readings = Self {
            thresholds: thresholds(ensemble),
            of_split: Vec::with_capacity(ensemble.splits.len()),
            all: Vec::new(),
        };
        let sets = alike(&ensemble.sets);
        let mut known = HashMap::new();
        for split in &ensemble.splits {
            let (reading, rank) = readings.read(split, &sets)?;
            let next = u32::try_from(readings.all.len()).ok()?;
            let position = *known.entry(reading).or_insert(next);
            if position == next {
                readings.all.push(reading);
            }
            readings.of_split.push((position, rank));
        }
        Some(readings)
    }

    fn read(&self, split: &Split<T>, sets: &[u32]) -> Option<(Reading, u8)> {
        let Split {
            feature,
            missing_left,
            zero_missing,
            ..
        } = *split;
        match split.test {
            Test::Missing => Some((
                Reading::Missing {
                    feature,
                    zero_missing,
                },
                0,
            )),
            // A code of 0 would be missing only where the number is exactly 0, not where it is cut off to 0.
            Test::Member(_) if zero_missing => None,
            Test::Member(set) => {
                let set = *sets.get(set as usize)?;
                let reading = Reading::Member {
                    feature,
                    set,
                    missing_left,
                };
                Some((reading, 0))
            }
            Test::Threshold(threshold) => {
                let all = self.thresholds.get(feature as usize)?;
                let position = all.partition_point(|other| *other < threshold);
                let first = position / PER_SLOT * PER_SLOT;
                let reading = Reading::Rank {
                    feature,
                    first: u32::try_from(first).ok()?,
                    missing_left,
                    zero_missing,
                };
                Some((reading, u8::try_from(position - first).ok()?))
            }
        }
    }
}

/// The thresholds on each feature, ascending, each once.
pub(super) fn thresholds<T: Real>(ensemble: &Ensemble<T>) -> Vec<Vec<T>> {
    let mut of_feature = vec![Vec::new(); ensemble.features];
    for split in &ensemble.splits {
        if let (Test::Threshold(threshold), Some(of_feature)) =
            (split.test, of_feature.get_mut(split.feature as usize))
        {
            of_feature.push(threshold);
        }
    }
    for thresholds in &mut of_feature {
        // The builder lets no NaN pass; the zeros compare equal, as they do with every number.
        thresholds.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        thresholds.dedup();
    }
    of_feature
}

/// For each set the first that has the same members.
pub(super) fn alike(sets: &[Set]) -> Vec<u32> {
    let mut known = HashMap::new();
    (0u32..)
        .zip(sets)
        .map(|(position, set)| {
            let key = match set {
                Set::Bits(words) => (true, words),
                Set::Sorted(members) => (false, members),
            };
            *known.entry(key).or_insert(position)
        })
        .collect()
}
