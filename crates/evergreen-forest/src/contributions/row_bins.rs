//! Rows as bins: every split becomes "right if `bins[column] > bound`", whatever it tests.
//!
//! A column belongs to a feature and to one rule for missing values. The bin of a number is the count of the
//! feature's thresholds that it has passed, so that one search answers all splits on the feature, in the model's own
//! precision. A set of categories, or a test for missing values, has a column of its own with bins 0 (left) and 1.

use crate::ensemble::{Ensemble, Split, SplitTest, ThresholdRule, ZERO};
use crate::kernel::KernelFloat;
#[cfg(target_arch = "x86_64")]
use crate::kernel::isa::avx2::{self, Avx2};
use crate::kernel::isa::{Isa, portable::Portable};
use crate::kernel::predicate::{equal_sets, thresholds};
use crate::kernel::scalar;
use crate::kernel::threshold_search::ThresholdSearch;

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
    /// By feature.
    searches: Vec<ThresholdSearch>,
    /// The thresholds of all searches.
    thresholds: Vec<T>,
    isa: SearchSet,
}

/// The instruction set of the searches.
#[derive(Clone, Copy, Debug)]
enum SearchSet {
    Portable,
    /// Only where it is available.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl SearchSet {
    /// Returns the fastest one that this CPU has.
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if avx2::available() {
            return Self::Avx2;
        }
        Self::Portable
    }
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
        let mut all = Vec::new();
        let searches = of_feature
            .iter()
            .map(|thresholds| ThresholdSearch::new(thresholds, &mut all))
            .collect();
        all.shrink_to_fit();
        let bins = Self {
            columns,
            searches,
            thresholds: all,
            isa: SearchSet::best(),
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
            + size_of_val(self.searches.as_slice())
    }

    /// Writes a prepared row's bins, one for each column.
    #[inline]
    pub(super) fn fill<'a>(
        &self,
        ensemble: &Ensemble<T>,
        row: &[T],
        into: impl Iterator<Item = &'a mut i32>,
    ) {
        match self.isa {
            // SAFETY: plain Rust runs everywhere.
            SearchSet::Portable => unsafe { self.fill_in::<Portable>(ensemble, row, into) },
            // SAFETY: the set is chosen only where it is available.
            #[cfg(target_arch = "x86_64")]
            SearchSet::Avx2 => unsafe { self.fill_avx2(ensemble, row, into) },
        }
    }

    /// # Safety
    /// [`avx2::available`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    unsafe fn fill_avx2<'a>(
        &self,
        ensemble: &Ensemble<T>,
        row: &[T],
        into: impl Iterator<Item = &'a mut i32>,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match ensemble.comparison {
                ThresholdRule::Less => self.fill_in::<Avx2<false>>(ensemble, row, into),
                ThresholdRule::LessEqual => self.fill_in::<Avx2<true>>(ensemble, row, into),
            }
        }
    }

    /// # Safety
    /// The CPU supports `M`.
    #[inline(always)]
    unsafe fn fill_in<'a, M: Isa>(
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
                        let search = &self.searches[column.feature as usize];
                        // SAFETY: guaranteed by the caller.
                        let count = unsafe { search.bin::<T, M>(&self.thresholds, ensemble.comparison, x) };
                        counted = (column.feature, count as i32);
                    }
                    counted.1
                }
            };
        }
    }
}
