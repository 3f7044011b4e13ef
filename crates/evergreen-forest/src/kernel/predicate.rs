//! Questions as bytes: every split becomes "is the byte in this column greater than this number".
//!
//! A *column* is a byte that a row has for one binned_feature of one feature: the bin of its value among the thresholds
//! that the model's splits on the feature use, with missing values ranked first or last. What a split predicates is then
//! `column > bin`, and `true` goes right. The replacement is exact: a value's bin among the thresholds says
//! precisely which of them it is below.
//!
//! ```text
//! thresholds of a feature   t0 < t1 < … < t254 | t255 …       255 to a column, further ones in further columns
//! bin of x                 how many of them x has passed
//! column                      bin − first threshold of the column, held within 0..=255; missing: 0 or 255
//! split on t_k              column > k
//! ```
//! A set of categories is a column of its own that holds 0 for members (left) and 255 for others.

use std::collections::HashMap;

use crate::ensemble::{CategorySet, Ensemble, Split, SplitTest};
use crate::kernel::KernelFloat;

/// Thresholds to a column: bins 0 to 255 tell 255 thresholds apart.
const THRESHOLDS_PER_COLUMN: usize = 255;

/// The column that always holds 0: what predicates it with [`NEVER`] goes left.
pub(super) const ZERO_COLUMN: u16 = 0;

/// No byte is greater.
pub(super) const NEVER: u8 = 255;

/// A split's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BinPredicate {
    /// The column asked about.
    pub(super) column: u16,
    /// Right if the column holds more than this.
    pub(super) bin: u8,
}

impl BinPredicate {
    /// A question whose answer is always left.
    pub(super) const ALWAYS_LEFT: Self = Self {
        column: ZERO_COLUMN,
        bin: NEVER,
    };
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum BinnedFeature {
    /// The bin of a number among the thresholds from position `first` on.
    Thresholds {
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

impl BinnedFeature {
    /// The feature it reads.
    pub(super) fn feature(self) -> u32 {
        match self {
            Self::Thresholds { feature, .. }
            | Self::Missing { feature, .. }
            | Self::Member { feature, .. } => feature,
        }
    }
}

/// The binned_features that a model's splits need, before columns are given out.
#[derive(Debug)]
pub(super) struct BinnedFeatures<T> {
    /// Ascending thresholds of each feature.
    pub(super) thresholds: Vec<Vec<T>>,
    /// For each split: its binned_feature's position below, and its bin there.
    pub(super) of_split: Vec<(u32, u8)>,
    /// Every binned_feature once, in order of first use.
    pub(super) all: Vec<BinnedFeature>,
}

impl<T: KernelFloat> BinnedFeatures<T> {
    /// Collects what the splits of a model predicate; `None` if something cannot be asked in this way.
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
            // A code of 0 would be missing only where the number is exactly 0, not where it is cut off to 0.
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

/// The thresholds on each feature, ascending, each once.
pub(super) fn thresholds<T: KernelFloat>(ensemble: &Ensemble<T>) -> Vec<Vec<T>> {
    let mut of_feature = vec![Vec::new(); ensemble.features];
    for split in &ensemble.splits {
        if let (SplitTest::Threshold(threshold), Some(of_feature)) =
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
pub(super) fn equal_sets(sets: &[CategorySet]) -> Vec<u32> {
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
