//! Quantises a row's numbers into bins, as [`predicate`](crate::kernel::predicate) defines them.

use crate::ensemble::{Ensemble, ThresholdRule, ZERO};
use crate::kernel::KernelFloat;
use crate::kernel::category_table::CategoryTable;
use crate::kernel::isa::Isa;
use crate::kernel::predicate::{BinnedFeature, BinnedFeatures};
use crate::kernel::threshold_search::{self, BLOCK, HALF, ThresholdSearch};

/// Thresholds that two searches of half a block distinguish.
const SMALL: usize = HALF * (HALF + 1);

/// A feature that is compared with thresholds.
#[derive(Clone, Copy, Debug)]
struct ThresholdFeature {
    feature: u32,
    /// The position of its thresholds.
    search: ThresholdSearch,
    /// The range of its columns in [`Quantizer::columns`].
    columns: (u32, u32),
}

/// A feature with at most two columns, one where missing values have bin 0 and one where they have bin 255,
/// and thresholds for one column. The same instructions quantise all such features.
#[derive(Clone, Copy, Debug)]
struct PlainFeature {
    feature: u32,
    /// The block of its pivots; its thresholds follow.
    pivots: u32,
    missing_first: u16,
    missing_last: u16,
}

/// A column filled from a number.
#[derive(Clone, Copy, Debug)]
struct BinColumn {
    to: u16,
    /// The bin of a missing number.
    missing: u8,
    /// Zero counts as missing.
    zero_missing: bool,
    /// Subtracted from the count of passed thresholds.
    first: i32,
}

/// Turns a row's numbers into bins.
#[derive(Debug)]
pub(in crate::kernel) struct Quantizer<T> {
    /// Plain features with few thresholds.
    small: Vec<PlainFeature>,
    plain: Vec<PlainFeature>,
    numbers: Vec<ThresholdFeature>,
    columns: Vec<BinColumn>,
    thresholds: Vec<T>,
    categories: CategoryTable,
    comparison: ThresholdRule,
    features: usize,
    len: usize,
}

impl<T: KernelFloat> Quantizer<T> {
    /// Builds a quantizer that writes binned feature `binned_features.all[p]` to column `column_of[p]`.
    pub(in crate::kernel) fn new(
        ensemble: &Ensemble<T>,
        binned_features: &BinnedFeatures<T>,
        column_of: &[u16],
    ) -> Option<Self> {
        let mut quantizer = Self {
            small: Vec::new(),
            plain: Vec::new(),
            numbers: Vec::new(),
            columns: Vec::new(),
            thresholds: Vec::new(),
            categories: CategoryTable::new(ensemble),
            comparison: ensemble.comparison,
            features: ensemble.features,
            // The first column is the zero column. The last is the spare one, for plain features with one
            // column.
            len: column_of.len() + 2,
        };
        let mut by_feature: Vec<(BinnedFeature, u16)> = binned_features
            .all
            .iter()
            .copied()
            .zip(column_of.iter().copied())
            .collect();
        by_feature.sort_by_key(|(binned_feature, column)| (binned_feature.feature(), *column));
        for of_feature in by_feature.chunk_by(|a, b| a.0.feature() == b.0.feature()) {
            quantizer.push_thresholds(binned_features, of_feature)?;
            quantizer.push_category(ensemble, of_feature)?;
        }
        Some(quantizer)
    }

    /// Returns the columns of a row.
    pub(in crate::kernel) fn len(&self) -> usize {
        self.len
    }

    /// Returns the bytes held in memory.
    pub(in crate::kernel) fn bytes(&self) -> usize {
        size_of_val(self.small.as_slice())
            + size_of_val(self.plain.as_slice())
            + size_of_val(self.numbers.as_slice())
            + size_of_val(self.columns.as_slice())
            + size_of_val(self.thresholds.as_slice())
            + self.categories.bytes()
    }

    fn push_thresholds(
        &mut self,
        binned_features: &BinnedFeatures<T>,
        of_feature: &[(BinnedFeature, u16)],
    ) -> Option<()> {
        let begin = u32::try_from(self.columns.len()).ok()?;
        let columns = of_feature
            .iter()
            .filter_map(|(binned_feature, to)| bin_column(*binned_feature, *to));
        self.columns.extend(columns);
        let end = u32::try_from(self.columns.len()).ok()?;
        if begin == end {
            return Some(());
        }
        let feature = of_feature.first()?.0.feature();
        let thresholds = binned_features.thresholds.get(feature as usize)?;
        let spare = u16::try_from(self.len - 1).ok()?;
        if let Some((missing_first, missing_last)) =
            plain(thresholds.len(), self.columns.get(begin as usize..)?, spare)
        {
            self.columns.truncate(begin as usize);
            let small = thresholds.len() <= SMALL;
            let pivots = if small {
                threshold_search::lay_out::<T, HALF>(thresholds, &mut self.thresholds)?
            } else {
                threshold_search::lay_out::<T, BLOCK>(thresholds, &mut self.thresholds)?
            };
            let plain = PlainFeature {
                feature,
                pivots,
                missing_first,
                missing_last,
            };
            if small { &mut self.small } else { &mut self.plain }.push(plain);
            return Some(());
        }
        self.numbers.push(ThresholdFeature {
            feature,
            search: ThresholdSearch::new(thresholds, &mut self.thresholds),
            columns: (begin, end),
        });
        Some(())
    }

    fn push_category(&mut self, ensemble: &Ensemble<T>, of_feature: &[(BinnedFeature, u16)]) -> Option<()> {
        let mut predicates = of_feature
            .iter()
            .filter_map(|(binned_feature, to)| match binned_feature {
                BinnedFeature::Member {
                    set, missing_left, ..
                } => Some(((*set, *missing_left), *to)),
                _ => None,
            });
        let Some((first, to)) = predicates.next() else {
            return Some(());
        };
        let mut all = vec![first];
        for (one, at) in predicates {
            debug_assert_eq!(usize::from(at - to), all.len(), "not side by side");
            all.push(one);
        }
        let feature = of_feature.first()?.0.feature();
        self.categories.add(ensemble, feature, usize::from(to), &all)
    }

    /// Writes a row's bins.
    ///
    /// # Safety
    /// The CPU supports the ISA.
    #[inline(always)]
    pub(in crate::kernel) unsafe fn fill<M: Isa>(&self, row: &[T], into: &mut [u8]) {
        assert!(into.len() >= self.len, "too few columns");
        into[0] = 0;
        // The builder and `new` guarantee every position. Two assertions replace five checks per feature.
        assert!(row.len() >= self.features, "too few numbers");
        // SAFETY: guaranteed by the caller and by the assertions.
        unsafe {
            self.fill_plain::<M, HALF>(&self.small, row, into);
            self.fill_plain::<M, BLOCK>(&self.plain, row, into);
        }
        for number in &self.numbers {
            let x = row[number.feature as usize];
            // SAFETY: the caller guarantees the ISA.
            let bin = unsafe { number.search.bin::<T, M>(&self.thresholds, self.comparison, x) };
            for column in &self.columns[number.columns.0 as usize..number.columns.1 as usize] {
                into[usize::from(column.to)] = column.bin_of(bin, x);
            }
        }
        for (to, bins) in self.categories.of_row(row) {
            into[to..][..bins.len()].copy_from_slice(bins);
        }
    }

    #[inline(always)]
    unsafe fn fill_plain<M: Isa, const N: usize>(
        &self,
        features: &[PlainFeature],
        row: &[T],
        into: &mut [u8],
    ) {
        let thresholds = self.thresholds.as_ptr();
        for plain in features {
            // SAFETY: features are below `self.features` and columns below `self.len`; the thresholds were
            // written for this search; the caller guarantees the ISA.
            unsafe {
                let x = *row.get_unchecked(plain.feature as usize);
                let pivots = thresholds.add(plain.pivots as usize);
                let bin = threshold_search::two_blocks::<T, M, N>(pivots, self.comparison, x);
                // A missing number has passed no threshold.
                *into.get_unchecked_mut(usize::from(plain.missing_first)) = bin;
                let missing = if x.missing() { u8::MAX } else { 0 };
                *into.get_unchecked_mut(usize::from(plain.missing_last)) = bin | missing;
            }
        }
    }

    /// Returns how numbers are compared with thresholds.
    pub(in crate::kernel) fn comparison(&self) -> ThresholdRule {
        self.comparison
    }
}

impl BinColumn {
    #[inline(always)]
    fn bin_of<T: KernelFloat>(&self, bin: u32, x: T) -> u8 {
        let missing = x.missing() || (self.zero_missing && x.to_f64().abs() <= f64::from(ZERO));
        if missing {
            return self.missing;
        }
        u8::try_from((bin.cast_signed() - self.first).max(0)).unwrap_or(u8::MAX)
    }
}

fn bin_column(binned_feature: BinnedFeature, to: u16) -> Option<BinColumn> {
    match binned_feature {
        BinnedFeature::Thresholds {
            first,
            missing_left,
            zero_missing,
            ..
        } => Some(BinColumn {
            to,
            missing: if missing_left { 0 } else { u8::MAX },
            zero_missing,
            first: i32::try_from(first).ok()?,
        }),
        // Counts begin at 0. With 255 added, every number that is not missing has a bin above 0.
        BinnedFeature::Missing { zero_missing, .. } => Some(BinColumn {
            to,
            missing: 0,
            zero_missing,
            first: -255,
        }),
        BinnedFeature::Member { .. } => None,
    }
}

/// Returns the two columns of a plain feature, or `None` if the feature is not plain. `spare` replaces a
/// column that no split uses.
fn plain(thresholds: usize, columns: &[BinColumn], spare: u16) -> Option<(u16, u16)> {
    if thresholds > 255
        || columns
            .iter()
            .any(|column| column.zero_missing || column.first != 0)
    {
        return None;
    }
    let with = |missing| {
        columns
            .iter()
            .find(|column| column.missing == missing)
            .map_or(spare, |column| column.to)
    };
    Some((with(0), with(u8::MAX)))
}
