//! Evaluates a model's predicates for a block of rows: one line of bits per predicate, a bit for each row
//! that goes right.
//!
//! The predicates on one feature are evaluated together. Rows are sorted into buckets by the bin of their
//! number among the feature's thresholds. Going through the buckets in order, fewer and fewer rows go right.
//!
//! ```text
//! thresholds    t0 < t1 < …          bucket k: rows that have passed k thresholds
//! line of t_k   all rows − bucket 0 − … − bucket k, with or without the rows whose number is missing
//! ```

mod predicate_builder;
mod threshold_lines;

use crate::ensemble::{CodeRule, ThresholdRule, ZERO};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::bit_word::BitWord;
use crate::kernel::category_table;
use crate::kernel::isa::Isa;
use crate::kernel::threshold_search::ThresholdSearch;

/// The line that contains no row: its predicate always goes left.
pub(super) const NEVER: u32 = 0;

/// Rows in the largest block.
const MOST_ROWS: usize = 256;

/// A rule for missing values that splits on a feature use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MissingRule {
    left: bool,
    /// Zero counts as missing.
    zero: bool,
}

/// The predicates that compare a feature with thresholds.
#[derive(Clone, Debug)]
struct ThresholdPredicates {
    feature: u32,
    search: ThresholdSearch,
    thresholds: u32,
    /// The rules in use. Each threshold has one line per rule.
    rules: Vec<MissingRule>,
    first: u32,
}

/// The predicate that tests whether a number is missing.
#[derive(Clone, Copy, Debug)]
struct MissingPredicate {
    feature: u32,
    zero: bool,
    line: u32,
}

/// The predicates that test a feature for sets of categories.
#[derive(Clone, Debug)]
struct CategoryPredicates {
    feature: u32,
    /// Codes with a bucket of their own. One more bucket is for other numbers, and one for missing ones.
    codes: u32,
    /// For each set, the range in `members` of the buckets that go left.
    sets: Vec<(u32, u32)>,
    first: u32,
}

/// All predicates of a model.
#[derive(Debug)]
pub(super) struct PredicateTable<T> {
    numbers: Vec<ThresholdPredicates>,
    absences: Vec<MissingPredicate>,
    categories: Vec<CategoryPredicates>,
    thresholds: Vec<T>,
    members: Vec<u32>,
    codes: CodeRule,
    comparison: ThresholdRule,
    /// The number of lines.
    pub(super) lines: usize,
    /// The most buckets that a feature needs.
    pub(super) buckets: usize,
}

/// Features that are read from the rows together: a cache line holds sixteen `f32`.
const TILE: usize = 16;

/// Buffers for evaluating the predicates of a block.
#[derive(Clone, Copy)]
pub(super) struct BlockBuffers<W, T> {
    /// One line per predicate.
    pub(super) lines: *mut W,
    /// All zero before and after.
    pub(super) buckets: *mut W,
    /// Room for [`columns`] numbers.
    pub(super) columns: *mut T,
}

/// Returns the numbers that the columns of a tile take.
pub(super) const fn columns<W: BitWord>() -> usize {
    TILE * stride::<W>()
}

/// Returns the distance between columns. It is not a power of two, which would map all columns to the same
/// few cache sets.
const fn stride<W: BitWord>() -> usize {
    W::ROWS + 16
}

impl<T: KernelFloat> PredicateTable<T> {
    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.numbers.as_slice())
            + size_of_val(self.thresholds.as_slice())
            + size_of_val(self.members.as_slice())
            + size_of_val(self.absences.as_slice())
            + size_of_val(self.categories.as_slice())
    }

    /// Computes every line for the rows of a block.
    ///
    /// # Safety
    /// The CPU supports `W` and `M`. There are at most `W::ROWS` rows. The buffers hold [`Self::lines`] lines
    /// and [`Self::buckets`] buckets, which are zero; they are zero again afterwards.
    #[inline(always)]
    pub(super) unsafe fn fill<W: BitWord, M: Isa>(
        &self,
        rows: &[T],
        features: usize,
        buffers: BlockBuffers<W, T>,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            W::splat(0).store(buffers.lines);
            for tile in self.numbers.chunks(TILE) {
                read::<T, W, M>(tile, rows, features, buffers.columns);
                for (at, number) in tile.iter().enumerate() {
                    let column = buffers.columns.add(at * stride::<W>());
                    let scanned = number.thresholds as usize * size_of::<T>() <= M::SCAN_LIMIT * 4;
                    match number.rules.as_slice() {
                        [MissingRule { zero: false, .. }] if scanned => {
                            self.scan::<W, M>(number, column, buffers)
                        }
                        [MissingRule { zero: false, .. }, MissingRule { zero: false, .. }] if scanned => {
                            self.scan::<W, M>(number, column, buffers);
                        }
                        _ => {
                            self.sort::<W, M>(number, column, buffers);
                            self.pass_over::<W, M>(number, column, rows, features, buffers);
                        }
                    }
                }
            }
            for absence in &self.absences {
                let column = rows[absence.feature as usize..].iter().step_by(features);
                let missing = missing::<W, T>(column, absence.zero, buffers.buckets);
                W::splat(u64::MAX)
                    .without(missing)
                    .store(buffers.lines.add(absence.line as usize));
            }
            for category in &self.categories {
                self.category(category, rows, features, buffers.lines, buffers.buckets);
            }
        }
    }

    #[inline(always)]
    unsafe fn category<W: BitWord>(
        &self,
        category: &CategoryPredicates,
        rows: &[T],
        features: usize,
        lines: *mut W,
        buckets: *mut W,
    ) {
        let column = rows[category.feature as usize..].iter().step_by(features);
        // SAFETY: there are two more buckets than codes, members are buckets, and lines are numbered by sets.
        unsafe {
            let bytes = buckets.cast::<u8>();
            let (mut byte, mut bit) = (0, 1u8);
            for x in column {
                let bucket = category_table::position(self.codes, category.codes, *x);
                *bytes.add(bucket * W::BYTES + byte) |= bit;
                byte += 1;
                if byte == W::BYTES {
                    (byte, bit) = (0, bit << 1);
                }
            }
            let mut line = lines.add(category.first as usize);
            for (from, to) in &category.sets {
                let mut left = W::splat(0);
                for member in &self.members[*from as usize..*to as usize] {
                    left = left.or(W::load(buckets.add(*member as usize)));
                }
                W::splat(u64::MAX).without(left).store(line);
                line = line.add(1);
            }
            for at in 0..category.codes as usize + 2 {
                W::splat(0).store(buckets.add(at));
            }
        }
    }
}

/// Reads a bucket and clears it.
#[inline(always)]
unsafe fn take<W: BitWord>(bucket: *mut W) -> W {
    // SAFETY: the caller points at a bucket.
    unsafe {
        let held = W::load(bucket);
        W::splat(0).store(bucket);
        held
    }
}

/// Reads the numbers of a tile column by column, in the bit order of the instruction set.
#[inline(always)]
unsafe fn read<T: KernelFloat, W: BitWord, M: Isa>(
    tile: &[ThresholdPredicates],
    rows: &[T],
    features: usize,
    columns: *mut T,
) {
    for (at, row) in rows.chunks_exact(features).enumerate() {
        let bit = at % W::BYTES * 8 + at / W::BYTES;
        let place = bit / 32 * 32 + M::number_of_bit::<T>(bit % 32);
        for (column, number) in tile.iter().enumerate() {
            // SAFETY: a feature is below `features`; the buffer holds the columns of a tile.
            unsafe {
                *columns.add(column * stride::<W>() + place) = *row.get_unchecked(number.feature as usize)
            };
        }
    }
}

/// Returns the rows whose number is missing. Needs an empty bucket.
#[inline(always)]
unsafe fn missing<'a, W: BitWord, T: KernelFloat>(
    column: impl Iterator<Item = &'a T>,
    zero: bool,
    bucket: *mut W,
) -> W {
    // SAFETY: the caller points at a bucket and passes at most a word's rows.
    unsafe {
        for (row, x) in column.enumerate() {
            let missing = x.missing() || (zero && x.to_f64().abs() <= f64::from(ZERO));
            *bucket.cast::<u8>().add(row % W::BYTES) |= u8::from(missing) << (row / W::BYTES);
        }
        take(bucket)
    }
}
