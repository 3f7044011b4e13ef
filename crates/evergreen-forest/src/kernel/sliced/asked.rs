//! What the splits of a model ask, one line of bits for each question: the rows of a block that go right.
//!
//! The questions on one feature are answered together. Rows are sorted into buckets by the rank of their number
//! among the feature's thresholds; passing over the buckets in order, fewer and fewer rows go right.
//!
//! ```text
//! thresholds   t0 < t1 < …          bucket k: rows that have passed k of them; the last: rows without a number
//! line of t_k  all rows − bucket 0 − … − bucket k, with or without those that miss the number
//! ```

mod asking;

use super::super::super::ensemble::{Codes, Comparison, ZERO};
use super::super::super::number::Real;
use super::super::categories;
use super::super::machine::Machine;
use super::super::search::Search;
use super::word::Word;

/// The line that no row is in: who asks it goes left.
pub(super) const NEVER: u32 = 0;

/// Rows in the largest block.
const MOST_ROWS: usize = 256;

/// A way in which splits on a feature treat what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    left: bool,
    /// Zero counts as missing.
    zero: bool,
}

/// A feature with thresholds.
#[derive(Clone, Debug)]
struct Number {
    feature: u32,
    search: Search,
    thresholds: u32,
    /// Its lines: for each threshold one for each of these.
    ways: Vec<Missing>,
    first: u32,
}

/// A question whether a number is missing.
#[derive(Clone, Copy, Debug)]
struct Absence {
    feature: u32,
    zero: bool,
    line: u32,
}

/// A feature with sets of categories.
#[derive(Clone, Debug)]
struct Category {
    feature: u32,
    /// Codes with a bucket of their own; one more is for all other numbers, and one for missing ones.
    codes: u32,
    /// Where the members of its sets are: the buckets that go left, set by set.
    sets: Vec<(u32, u32)>,
    first: u32,
}

/// All questions of a model.
#[derive(Debug)]
pub(super) struct Asked<T> {
    numbers: Vec<Number>,
    absences: Vec<Absence>,
    categories: Vec<Category>,
    thresholds: Vec<T>,
    members: Vec<u32>,
    codes: Codes,
    comparison: Comparison,
    /// How many lines there are.
    pub(super) lines: usize,
    /// How many buckets any feature needs.
    pub(super) buckets: usize,
}

/// Numbers that are read from the rows together: a line of the first cache has sixteen.
const TILE: usize = 16;

/// Where the lines of a block go, and what is needed on the way.
#[derive(Clone, Copy)]
pub(super) struct Sheet<W, T> {
    /// One for each question.
    pub(super) lines: *mut W,
    /// Empty before and after.
    pub(super) buckets: *mut W,
    /// Room for [`columns`] numbers.
    pub(super) columns: *mut T,
}

/// Numbers that the columns of a tile take.
pub(super) const fn columns<W: Word>() -> usize {
    TILE * stride::<W>()
}

/// From one column to the next: not a power of two, which would put all of them into the same few sets of a cache.
const fn stride<W: Word>() -> usize {
    W::ROWS + 16
}

impl<T: Real> Asked<T> {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.numbers.as_slice())
            + size_of_val(self.thresholds.as_slice())
            + size_of_val(self.members.as_slice())
            + size_of_val(self.absences.as_slice())
            + size_of_val(self.categories.as_slice())
    }

    /// Fills every line for the rows of a block.
    ///
    /// # Safety
    /// This is such a machine; there are at most `W::ROWS` rows; there is room for [`Self::lines`] and
    /// [`Self::buckets`], and the buckets are empty. They are left empty.
    #[inline(always)]
    pub(super) unsafe fn fill<W: Word, M: Machine>(&self, rows: &[T], features: usize, sheet: Sheet<W, T>) {
        // SAFETY: as promised by the caller.
        unsafe {
            W::splat(0).store(sheet.lines);
            for tile in self.numbers.chunks(TILE) {
                read::<T, W, M>(tile, rows, features, sheet.columns);
                for (at, number) in tile.iter().enumerate() {
                    let column = sheet.columns.add(at * stride::<W>());
                    let scanned = number.thresholds as usize * size_of::<T>() <= M::SCANNED * 4;
                    match number.ways.as_slice() {
                        [Missing { zero: false, .. }] if scanned => self.scan::<W, M>(number, column, sheet),
                        [Missing { zero: false, .. }, Missing { zero: false, .. }] if scanned => {
                            self.scan::<W, M>(number, column, sheet);
                        }
                        _ => {
                            self.sort::<W, M>(number, column, sheet);
                            self.pass_over::<W, M>(number, column, rows, features, sheet);
                        }
                    }
                }
            }
            for absence in &self.absences {
                let column = rows[absence.feature as usize..].iter().step_by(features);
                let missing = missing::<W, T>(column, absence.zero, sheet.buckets);
                W::splat(u64::MAX)
                    .without(missing)
                    .store(sheet.lines.add(absence.line as usize));
            }
            for category in &self.categories {
                self.category(category, rows, features, sheet.lines, sheet.buckets);
            }
        }
    }

    /// Compares every number with every threshold.
    #[inline(always)]
    unsafe fn scan<W: Word, M: Machine>(&self, number: &Number, column: *const T, sheet: Sheet<W, T>) {
        let first = number.search.first();
        let thresholds = &self.thresholds[first..first + number.thresholds as usize];
        // SAFETY: a word is `ROWS / 32` times 32 bits, and the lines were numbered by thresholds and ways.
        unsafe {
            let mut missing = [0u32; MOST_ROWS / 32];
            for (part, missing) in missing[..W::ROWS / 32].iter_mut().enumerate() {
                *missing = M::missing(column.add(32 * part));
            }
            let mut line = sheet.lines.add(number.first as usize).cast::<u32>();
            for threshold in thresholds {
                for (part, missing) in missing[..W::ROWS / 32].iter().enumerate() {
                    let right = M::passing(self.comparison, column.add(32 * part), *threshold);
                    match number.ways.as_slice() {
                        [Missing { left: true, .. }] => *line = right,
                        [_] => *line = right | *missing,
                        _ => {
                            *line = right;
                            *line.add(W::ROWS / 32) = right | *missing;
                        }
                    }
                    line = line.add(1);
                }
                line = line.add((number.ways.len() - 1) * (W::ROWS / 32));
            }
        }
    }

    /// Sorts the rows into buckets.
    #[inline(always)]
    unsafe fn sort<W: Word, M: Machine>(&self, number: &Number, column: *const T, sheet: Sheet<W, T>) {
        // All ranks first: a search would wait for the bucket that the one before has changed.
        let mut ranks = [0u32; MOST_ROWS];
        // SAFETY: ranks are at most the number of thresholds, and there are more buckets than that.
        unsafe {
            let numbers = std::slice::from_raw_parts(column, W::ROWS);
            let search = &number.search;
            search.ranks::<T, M>(&self.thresholds, self.comparison, numbers, &mut ranks[..W::ROWS]);
            for part in 0..W::ROWS / 32 {
                let bytes = sheet.buckets.cast::<u8>().add(4 * part);
                for bit in 0..32 {
                    let rank = *ranks.get_unchecked(32 * part + M::place::<T>(bit)) as usize;
                    *bytes.add(rank * W::BYTES + bit / 8) |= 1 << (bit % 8);
                }
            }
        }
    }

    /// Turns the buckets into lines.
    #[inline(always)]
    unsafe fn pass_over<W: Word, M: Machine>(
        &self,
        number: &Number,
        column: *const T,
        rows: &[T],
        features: usize,
        sheet: Sheet<W, T>,
    ) {
        let Sheet { lines, buckets, .. } = sheet;
        let count = number.thresholds as usize;
        // SAFETY: there are more buckets than thresholds, and the lines were numbered by thresholds and ways.
        unsafe {
            // A missing number has passed no threshold: it is never on the right, unless put there.
            let spare = buckets.add(count);
            W::splat(0).store(spare);
            let mut sets = [W::splat(0); 4];
            for (set, way) in sets.iter_mut().zip(&number.ways) {
                if way.zero {
                    let column = rows[number.feature as usize..].iter().step_by(features);
                    *set = missing::<W, T>(column, true, spare);
                } else if !way.left {
                    for part in 0..W::ROWS / 32 {
                        *spare.cast::<u32>().add(part) = M::missing(column.add(32 * part));
                    }
                    *set = take(spare);
                }
            }
            let mut right = W::splat(u64::MAX);
            let mut line = lines.add(number.first as usize);
            match number.ways.as_slice() {
                [
                    Missing {
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
                    Missing {
                        left: true,
                        zero: false,
                    },
                    Missing {
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
                ways => {
                    for at in 0..count {
                        right = right.without(take(buckets.add(at)));
                        for (way, set) in ways.iter().zip(sets) {
                            let right = if way.left {
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
    unsafe fn category<W: Word>(
        &self,
        category: &Category,
        rows: &[T],
        features: usize,
        lines: *mut W,
        buckets: *mut W,
    ) {
        let column = rows[category.feature as usize..].iter().step_by(features);
        // SAFETY: there are two more buckets than codes, members are among them, and the lines were numbered so.
        unsafe {
            let bytes = buckets.cast::<u8>();
            let (mut byte, mut bit) = (0, 1u8);
            for x in column {
                let bucket = categories::position(self.codes, category.codes, *x);
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

/// What a bucket holds; it is left empty.
#[inline(always)]
unsafe fn take<W: Word>(bucket: *mut W) -> W {
    // SAFETY: the caller points at a bucket.
    unsafe {
        let held = W::load(bucket);
        W::splat(0).store(bucket);
        held
    }
}

/// Reads the numbers of a tile column by column, in the order of the machine's bits.
#[inline(always)]
unsafe fn read<T: Real, W: Word, M: Machine>(tile: &[Number], rows: &[T], features: usize, columns: *mut T) {
    for (at, row) in rows.chunks_exact(features).enumerate() {
        let bit = at % W::BYTES * 8 + at / W::BYTES;
        let place = bit / 32 * 32 + M::place::<T>(bit % 32);
        for (column, number) in tile.iter().enumerate() {
            // SAFETY: a feature is below `features`; there is room for the columns.
            unsafe {
                *columns.add(column * stride::<W>() + place) = *row.get_unchecked(number.feature as usize)
            };
        }
    }
}

/// The rows whose number is missing; needs an empty bucket.
#[inline(always)]
unsafe fn missing<'a, W: Word, T: Real>(
    column: impl Iterator<Item = &'a T>,
    zero: bool,
    bucket: *mut W,
) -> W {
    // SAFETY: the caller points at a bucket and gives at most a word's rows.
    unsafe {
        for (row, x) in column.enumerate() {
            let missing = x.missing() || (zero && x.to_f64().abs() <= f64::from(ZERO));
            *bucket.cast::<u8>().add(row % W::BYTES) |= u8::from(missing) << (row / W::BYTES);
        }
        take(bucket)
    }
}
