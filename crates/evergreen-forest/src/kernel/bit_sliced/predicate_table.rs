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

    /// Compares every number with every threshold. Used where there are few thresholds.
    #[inline(always)]
    unsafe fn scan<W: BitWord, M: Isa>(
        &self,
        number: &ThresholdPredicates,
        column: *const T,
        buffers: BlockBuffers<W, T>,
    ) {
        let first = number.search.first();
        let thresholds = &self.thresholds[first..first + number.thresholds as usize];
        // SAFETY: a word is `ROWS / 32` times 32 bits; lines are numbered by thresholds and rules.
        unsafe {
            let mut missing = [0u32; MOST_ROWS / 32];
            for (part, missing) in missing[..W::ROWS / 32].iter_mut().enumerate() {
                *missing = M::missing_mask(column.add(32 * part));
            }
            let mut line = buffers.lines.add(number.first as usize).cast::<u32>();
            for threshold in thresholds {
                for (part, missing) in missing[..W::ROWS / 32].iter().enumerate() {
                    let right = M::passed_mask(self.comparison, column.add(32 * part), *threshold);
                    match number.rules.as_slice() {
                        [MissingRule { left: true, .. }] => *line = right,
                        [_] => *line = right | *missing,
                        _ => {
                            *line = right;
                            *line.add(W::ROWS / 32) = right | *missing;
                        }
                    }
                    line = line.add(1);
                }
                line = line.add((number.rules.len() - 1) * (W::ROWS / 32));
            }
        }
    }

    /// Sorts the rows into buckets by bin.
    #[inline(always)]
    unsafe fn sort<W: BitWord, M: Isa>(
        &self,
        number: &ThresholdPredicates,
        column: *const T,
        buffers: BlockBuffers<W, T>,
    ) {
        // Compute all bins first: otherwise each search would wait for the store to the previous bucket.
        let mut bins = [0u32; MOST_ROWS];
        // SAFETY: bins are at most the number of thresholds, and there are more buckets than that.
        unsafe {
            let numbers = std::slice::from_raw_parts(column, W::ROWS);
            let search = &number.search;
            search.bins::<T, M>(&self.thresholds, self.comparison, numbers, &mut bins[..W::ROWS]);
            for part in 0..W::ROWS / 32 {
                let bytes = buffers.buckets.cast::<u8>().add(4 * part);
                for bit in 0..32 {
                    let bin = *bins.get_unchecked(32 * part + M::number_of_bit::<T>(bit)) as usize;
                    *bytes.add(bin * W::BYTES + bit / 8) |= 1 << (bit % 8);
                }
            }
        }
    }

    /// Returns the rows that each of a feature's rules treats specially: those whose number is missing, or none for
    /// the rule that sends missing values left, as they have passed no threshold. Needs an empty bucket.
    #[inline(always)]
    unsafe fn missing_sets<W: BitWord, M: Isa>(
        &self,
        number: &ThresholdPredicates,
        column: *const T,
        rows: &[T],
        features: usize,
        spare: *mut W,
    ) -> [W; 4] {
        // SAFETY: the caller points at a bucket and guarantees the ISA and the column.
        unsafe {
            let mut sets = [W::splat(0); 4];
            for (set, rule) in sets.iter_mut().zip(&number.rules) {
                if rule.zero {
                    let column = rows[number.feature as usize..].iter().step_by(features);
                    *set = missing::<W, T>(column, true, spare);
                } else if !rule.left {
                    for part in 0..W::ROWS / 32 {
                        *spare.cast::<u32>().add(part) = M::missing_mask(column.add(32 * part));
                    }
                    *set = take(spare);
                }
            }
            sets
        }
    }

    /// Turns the buckets into lines.
    #[inline(always)]
    unsafe fn pass_over<W: BitWord, M: Isa>(
        &self,
        number: &ThresholdPredicates,
        column: *const T,
        rows: &[T],
        features: usize,
        buffers: BlockBuffers<W, T>,
    ) {
        let BlockBuffers { lines, buckets, .. } = buffers;
        let count = number.thresholds as usize;
        // SAFETY: there are more buckets than thresholds; lines are numbered by thresholds and rules.
        unsafe {
            // A missing number has passed no threshold, so it goes left unless a rule sends it right.
            let spare = buckets.add(count);
            W::splat(0).store(spare);
            let sets = self.missing_sets::<W, M>(number, column, rows, features, spare);
            let mut right = W::splat(u64::MAX);
            let mut line = lines.add(number.first as usize);
            match number.rules.as_slice() {
                [
                    MissingRule {
                        left: true,
                        zero: false,
                    },
                ] => {
                    for at in 0..count {
                        right = right.without(take(buckets.add(at)));
                        right.store(line);
                        line = line.add(1);
                    }
                }
                [
                    MissingRule {
                        left: true,
                        zero: false,
                    },
                    MissingRule {
                        left: false,
                        zero: false,
                    },
                ] => {
                    for at in 0..count {
                        right = right.without(take(buckets.add(at)));
                        right.store(line);
                        right.or(sets[1]).store(line.add(1));
                        line = line.add(2);
                    }
                }
                rules => {
                    for at in 0..count {
                        right = right.without(take(buckets.add(at)));
                        for (rule, set) in rules.iter().zip(sets) {
                            let right = if rule.left {
                                right.without(set)
                            } else {
                                right.or(set)
                            };
                            right.store(line);
                            line = line.add(1);
                        }
                    }
                }
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
