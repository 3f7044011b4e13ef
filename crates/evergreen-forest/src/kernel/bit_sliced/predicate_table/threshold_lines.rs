//! The lines of predicates that compare a feature with thresholds: by comparing every number with every threshold, or by
//! sorting the rows into buckets.

use super::{BlockBuffers, MOST_ROWS, MissingRule, PredicateTable, ThresholdPredicates, missing, take};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::bit_word::BitWord;
use crate::kernel::isa::Isa;

impl<T: KernelFloat> PredicateTable<T> {
    /// Compares every number with every threshold. Used where there are few thresholds.
    #[inline(always)]
    pub(super) unsafe fn scan<W: BitWord, M: Isa>(
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
    pub(super) unsafe fn sort<W: BitWord, M: Isa>(
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
    pub(super) unsafe fn pass_over<W: BitWord, M: Isa>(
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
}
