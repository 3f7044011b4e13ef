//! Splits as predicates on bytes: "is the row's bin in this column greater than this bin?"
//!
//! Quantising a row gives one byte, a *bin*, per *column*. A column belongs to one feature and one rule for
//! missing values. The bin of a number is the count of the feature's thresholds that it has passed. The
//! predicate is exact: a number's bin tells on which side of every threshold it lies.
//!
//! ```text
//! thresholds of a feature   t0 < t1 < … < t254 | t255 …       255 per column, further ones in further columns
//! bin of x                  count of passed thresholds − first threshold of the column, clamped to 0..=255
//! bin of a missing value    0 if it goes left, 255 if it goes right
//! split on t_k              right if bins[column] > k
//! ```
//! A set of categories has a column of its own: 0 for members, which go left, and 255 for other values.

use std::collections::HashMap;

use crate::ensemble::{CategorySet, Ensemble, Split, SplitTest};
use crate::kernel::KernelFloat;

/// Thresholds per column: the bins 0 to 255 distinguish 255 thresholds.
const THRESHOLDS_PER_COLUMN: usize = 255;

/// The column that always holds 0. With [`NEVER`] as bin, its predicate always goes left.
pub(super) const ZERO_COLUMN: u16 = 0;

/// No bin is greater.
pub(super) const NEVER: u8 = 255;

/// A split's predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BinPredicate {
    /// The column of the row.
    pub(super) column: u16,
    /// The row goes right if the column's bin is greater than this.
    pub(super) bin: u8,
}

impl BinPredicate {
    /// A predicate that always goes left.
    pub(super) const ALWAYS_LEFT: Self = Self {
        column: ZERO_COLUMN,
        bin: NEVER,
    };
}

/// How a column is filled from a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum BinnedFeature {
    /// The bin of a number among the thresholds from position `first` on.
    Thresholds {
        feature: u32,
        first: u32,
        missing_left: bool,
        zero_missing: bool,
    },
    /// Tells whether the number is missing.
    Missing { feature: u32, zero_missing: bool },
    /// Tells whether the category is in a set. Sets with equal members share a number.
    Member {
        feature: u32,
        set: u32,
        missing_left: bool,
    },
}

impl BinnedFeature {
    /// Returns the feature that is read.
    pub(super) fn feature(self) -> u32 {
        match self {
            Self::Thresholds { feature, .. }
            | Self::Missing { feature, .. }
            | Self::Member { feature, .. } => feature,
        }
    }
}

/// The binned features that a model's splits need, before they are assigned to columns.
#[derive(Debug)]
pub(super) struct BinnedFeatures<T> {
    /// Ascending thresholds of each feature.
    pub(super) thresholds: Vec<Vec<T>>,
    /// For each split: the position of its binned feature in `all`, and its bin.
    pub(super) of_split: Vec<(u32, u8)>,
    /// Every binned feature once, in order of first use.
    pub(super) all: Vec<BinnedFeature>,
}

impl<T: KernelFloat> BinnedFeatures<T> {
    /// Collects the predicates of a model. Returns `None` if a split cannot be expressed.
    pub(super) fn of(ensemble: &Ensemble<T>) -> Option<Self> {
        let mut binned_features = Self {
            thresholds: thresholds(ensemble),
            of_split: Vec::with_capacity(ensemble.splits.len()),
            all: Vec::new(),
        };
        let sets = equal_sets(&ensemble.sets);
        let mut known = HashMap::new();
        for split in &ensemble.splits {
            let (binned_feature, bin) = binned_features.read(split, &sets)?;
            let next = u32::try_from(binned_features.all.len()).ok()?;
            let position = *known.entry(binned_feature).or_insert(next);
            if position == next {
                binned_features.all.push(binned_feature);
            }
            binned_features.of_split.push((position, bin));
        }
        Some(binned_features)
    }

    fn read(&self, split: &Split<T>, sets: &[u32]) -> Option<(BinnedFeature, u8)> {
        let Split {
            feature,
            missing_left,
            zero_missing,
            ..
        } = *split;
        match split.test {
            SplitTest::Missing => Some((
                BinnedFeature::Missing {
                    feature,
                    zero_missing,
                },
                0,
            )),
            // Code 0 is missing only if the number is exactly 0, not if it is truncated to 0.
            SplitTest::Member(_) if zero_missing => None,
            SplitTest::Member(set) => {
                let set = *sets.get(set as usize)?;
                let binned_feature = BinnedFeature::Member {
                    feature,
                    set,
                    missing_left,
                };
                Some((binned_feature, 0))
            }
            SplitTest::Threshold(threshold) => {
                let all = self.thresholds.get(feature as usize)?;
                let position = all.partition_point(|other| *other < threshold);
                let first = position / THRESHOLDS_PER_COLUMN * THRESHOLDS_PER_COLUMN;
                let binned_feature = BinnedFeature::Thresholds {
                    feature,
                    first: u32::try_from(first).ok()?,
                    missing_left,
                    zero_missing,
                };
                Some((binned_feature, u8::try_from(position - first).ok()?))
            }
        }
    }
}

/// Returns the distinct thresholds of each feature, ascending.
pub(crate) fn thresholds<T: KernelFloat>(ensemble: &Ensemble<T>) -> Vec<Vec<T>> {
    let mut of_feature = vec![Vec::new(); ensemble.features];
    for split in &ensemble.splits {
        if let (SplitTest::Threshold(threshold), Some(of_feature)) =
            (split.test, of_feature.get_mut(split.feature as usize))
        {
            of_feature.push(threshold);
        }
    }
    for thresholds in &mut of_feature {
        // The builder rejects NaN. Both zeros compare equal.
        thresholds.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        thresholds.dedup();
    }
    of_feature
}

/// Maps each set to the first set with the same members.
pub(crate) fn equal_sets(sets: &[CategorySet]) -> Vec<u32> {
    let mut known = HashMap::new();
    (0u32..)
        .zip(sets)
        .map(|(position, set)| {
            let key = match set {
                CategorySet::Bits(words) => (true, words),
                CategorySet::Sorted(members) => (false, members),
            };
            *known.entry(key).or_insert(position)
        })
        .collect()
}
