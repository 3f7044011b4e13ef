//! Rows as bins: every split becomes "right if `bins[column] > bound`", whatever it tests.
//!
//! A column belongs to a feature and to one rule for missing values. The bin of a number is the count of the
//! feature's thresholds that it has passed, so that one search answers all splits on the feature, in the model's own
//! precision. A set of categories, or a test for missing values, has a column of its own with bins 0 (left) and 1.

use crate::ensemble::{Ensemble, Split, SplitTest, ThresholdRule, ZERO};
use crate::kernel::KernelFloat;
use crate::kernel::predicate::{equal_sets, thresholds};
use crate::kernel::scalar;

/// The bin of a missing value that goes right.
const RIGHT: i32 = i32::MAX;

/// A split on the bins of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BinTest {
    pub(super) column: u32,
    /// Right if the bin is greater.
    pub(super) bound: i32,
}

/// What a column is filled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ColumnKey {
    Thresholds {
        feature: u32,
        missing_left: bool,
        zero_missing: bool,
    },
    Missing {
        feature: u32,
        zero_missing: bool,
    },
    Member {
        feature: u32,
        set: u32,
        missing_left: bool,
        zero_missing: bool,
    },
}

impl ColumnKey {
    fn feature(self) -> u32 {
        match self {
            Self::Thresholds { feature, .. }
            | Self::Missing { feature, .. }
            | Self::Member { feature, .. } => feature,
        }
    }

    fn of<T>(split: &Split<T>, sets: &[u32]) -> Self {
        let Split {
            feature,
            missing_left,
            zero_missing,
            ..
        } = *split;
        match split.test {
            SplitTest::Threshold(_) => Self::Thresholds {
                feature,
                missing_left,
                zero_missing,
            },
            SplitTest::Missing => Self::Missing {
                feature,
                zero_missing,
            },
            SplitTest::Member(set) => Self::Member {
                feature,
                set: sets[set as usize],
                missing_left,
                zero_missing,
            },
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
struct BinColumn<T> {
    feature: u32,
    rule: ColumnRule<T>,
}

/// How a column's bin follows from its feature's number.
#[derive(Clone, Copy, Debug)]
enum ColumnRule<T> {
    /// The count of thresholds passed; `missing` is the bin of a missing value.
    Count { missing: i32, zero_missing: bool },
    /// 0 if this split goes left, otherwise 1.
    Test(Split<T>),
}

/// Computes the bins of rows.
#[derive(Debug)]
pub(super) struct RowBins<T> {
    columns: Vec<BinColumn<T>>,
    /// The ascending thresholds of all features, one feature after the other.
    thresholds: Vec<T>,
    /// Where each feature's thresholds begin, and the end of the last one's.
    first: Vec<u32>,
}

impl<T: KernelFloat> RowBins<T> {
    /// Assigns columns. Returns also the test of each split on them.
    pub(super) fn new(ensemble: &Ensemble<T>) -> (Self, Vec<BinTest>) {
        let sets = equal_sets(&ensemble.sets);
        let keys = || ensemble.splits.iter().map(|split| ColumnKey::of(split, &sets));
        let mut known: Vec<(ColumnKey, usize)> = keys().zip(0..).collect();
        // In the order of features, so that one search serves all columns of a feature.
        known.sort_unstable_by_key(|(key, split)| (key.feature(), *key, *split));
        known.dedup_by_key(|(key, _)| *key);
        let columns = known.iter().map(|(key, split)| BinColumn {
            feature: key.feature(),
            rule: match *key {
                ColumnKey::Thresholds {
                    missing_left,
                    zero_missing,
                    ..
                } => ColumnRule::Count {
                    missing: if missing_left { 0 } else { RIGHT },
                    zero_missing,
                },
                _ => ColumnRule::Test(ensemble.splits[*split]),
            },
        });
        let columns = columns.collect();
        let of_feature = thresholds(ensemble);
        let tests = keys().zip(&ensemble.splits).map(|(key, split)| BinTest {
            column: known.partition_point(|(other, _)| (other.feature(), *other) < (key.feature(), key))
                as u32,
            bound: match split.test {
                SplitTest::Threshold(threshold) => {
                    let thresholds = &of_feature[split.feature as usize];
                    thresholds.partition_point(|other| *other < threshold) as i32
                }
                _ => 0,
            },
        });
        let tests = tests.collect();
        let mut first = vec![0];
        first.extend(of_feature.iter().scan(0, |end, thresholds| {
            *end += thresholds.len() as u32;
            Some(*end)
        }));
        let bins = Self {
            columns,
            thresholds: of_feature.concat(),
            first,
        };
        (bins, tests)
    }

    /// Returns the number of columns.
    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Returns the feature of a column.
    pub(super) fn feature(&self, column: usize) -> usize {
        self.columns[column].feature as usize
    }

    /// Numbers the features that have columns. Returns the number of each column's feature, and the features.
    pub(super) fn places(&self) -> (Vec<u32>, Vec<usize>) {
        let mut used: Vec<usize> = (0..self.columns()).map(|column| self.feature(column)).collect();
        used.dedup();
        let places = (0..self.columns()).map(|column| {
            let feature = self.feature(column);
            used.partition_point(|other| *other < feature) as u32
        });
        (places.collect(), used)
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.columns.as_slice())
            + size_of_val(self.thresholds.as_slice())
            + size_of_val(self.first.as_slice())
    }

    /// Writes a prepared row's bins, one for each column.
    #[inline]
    pub(super) fn fill<'a>(
        &self,
        ensemble: &Ensemble<T>,
        row: &[T],
        into: impl Iterator<Item = &'a mut i32>,
    ) {
        let mut counted = (u32::MAX, 0);
        for (column, bin) in self.columns.iter().zip(into) {
            let x = row[column.feature as usize];
            *bin = match &column.rule {
                ColumnRule::Test(split) => i32::from(!scalar::goes_left(ensemble, split, x)),
                ColumnRule::Count { missing, .. } if x.missing() => *missing,
                ColumnRule::Count {
                    missing,
                    zero_missing: true,
                } if x.to_f64().abs() <= f64::from(ZERO) => *missing,
                ColumnRule::Count { .. } => {
                    if counted.0 != column.feature {
                        counted = (column.feature, self.count(ensemble.comparison, column.feature, x));
                    }
                    counted.1
                }
            };
        }
    }

    /// Counts the thresholds of a feature that `x` has passed: those at which it goes right.
    fn count(&self, comparison: ThresholdRule, feature: u32, x: T) -> i32 {
        let feature = feature as usize;
        let thresholds = &self.thresholds[self.first[feature] as usize..self.first[feature + 1] as usize];
        let count = match comparison {
            ThresholdRule::Less => thresholds.partition_point(|threshold| *threshold <= x),
            ThresholdRule::LessEqual => thresholds.partition_point(|threshold| *threshold < x),
        };
        count as i32
    }
}
