//! Builds the [`PredicateTable`] of a model. Equal predicates share a line.

use std::collections::HashMap;

use crate::ensemble::{ChildRef, Ensemble, Split, SplitTest};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::predicate_table::{
    CategoryPredicates, MissingPredicate, MissingRule, PredicateTable, ThresholdPredicates,
};
use crate::kernel::threshold_search::ThresholdSearch;
use crate::kernel::{predicate, scalar};

/// Buckets of category sets that are always allowed, however small the model.
const FEW: usize = 1 << 20;

/// Most codes with a bucket of their own. Beyond, the table is not worth its memory.
const MOST_CODES: u64 = 1 << 14;

/// A table under construction.
struct PredicateBuilder<'a, T> {
    ensemble: &'a Ensemble<T>,
    table: PredicateTable<T>,
    /// Position of each feature's `ThresholdPredicates`.
    number_of: Vec<Option<u32>>,
    thresholds: Vec<Vec<T>>,
    absence_of: HashMap<(u32, bool), u32>,
    member_of: HashMap<(u32, u32, bool), u32>,
    /// Maps each set to the first set with the same members; they share lines.
    equal_sets: Vec<u32>,
}

impl<T: KernelFloat> PredicateTable<T> {
    /// Builds the table and the line of each split. Returns `None` if a split cannot be expressed.
    pub(in crate::kernel::bit_sliced) fn of(ensemble: &Ensemble<T>) -> Option<(Self, Vec<u32>)> {
        let mut builder = PredicateBuilder {
            ensemble,
            table: Self {
                numbers: Vec::new(),
                absences: Vec::new(),
                categories: Vec::new(),
                thresholds: Vec::new(),
                members: Vec::new(),
                codes: ensemble.codes,
                comparison: ensemble.comparison,
                lines: 1,
                buckets: 0,
            },
            number_of: vec![None; ensemble.features],
            thresholds: predicate::thresholds(ensemble),
            absence_of: HashMap::new(),
            member_of: HashMap::new(),
            equal_sets: predicate::equal_sets(&ensemble.sets),
        };
        builder.numbers()?;
        builder.absences()?;
        builder.categories()?;
        let lines = ensemble.splits.iter().map(|split| builder.line(split));
        let lines = lines.collect::<Option<Vec<u32>>>()?;
        Some((builder.table, lines))
    }
}

impl<T: KernelFloat> PredicateBuilder<'_, T> {
    /// Reserves `count` lines. Returns the first.
    fn lines(&mut self, count: usize) -> Option<u32> {
        let first = u32::try_from(self.table.lines).ok()?;
        self.table.lines += count;
        // A line's offset in bytes, for words of eight bytes, must fit 32 bits.
        (self.table.lines < 1 << 28).then_some(first)
    }

    fn numbers(&mut self) -> Option<()> {
        let mut rules: Vec<Vec<MissingRule>> = vec![Vec::new(); self.ensemble.features];
        // This order puts the two most frequent rules first; they have a loop of their own.
        for (left, zero) in [(true, false), (false, false), (true, true), (false, true)] {
            for split in &self.ensemble.splits {
                let rule = MissingRule { left, zero };
                let rules = rules.get_mut(split.feature as usize)?;
                if matches!(split.test, SplitTest::Threshold(_))
                    && (split.missing_left, split.zero_missing) == (left, zero)
                    && rules.last() != Some(&rule)
                {
                    rules.push(rule);
                }
            }
        }
        for ((feature, thresholds), rules) in (0u32..).zip(std::mem::take(&mut self.thresholds)).zip(rules) {
            if !thresholds.is_empty() {
                *self.number_of.get_mut(feature as usize)? = u32::try_from(self.table.numbers.len()).ok();
                let first = self.lines(thresholds.len() * rules.len())?;
                self.table.numbers.push(ThresholdPredicates {
                    feature,
                    search: ThresholdSearch::new(&thresholds, &mut self.table.thresholds),
                    thresholds: u32::try_from(thresholds.len()).ok()?,
                    rules,
                    first,
                });
                self.table.buckets = self.table.buckets.max(thresholds.len() + 2);
            }
            self.thresholds.push(thresholds);
        }
        Some(())
    }

    fn absences(&mut self) -> Option<()> {
        for split in &self.ensemble.splits {
            let key = (split.feature, split.zero_missing);
            if split.test == SplitTest::Missing && !self.absence_of.contains_key(&key) {
                let line = self.lines(1)?;
                self.absence_of.insert(key, line);
                self.table.absences.push(MissingPredicate {
                    feature: split.feature,
                    zero: split.zero_missing,
                    line,
                });
                self.table.buckets = self.table.buckets.max(1);
            }
        }
        Some(())
    }

    fn categories(&mut self) -> Option<()> {
        let mut table: Vec<(u32, u32, bool)> = Vec::new();
        for split in &self.ensemble.splits {
            if let SplitTest::Member(set) = split.test {
                // Code 0 is missing only if the number is exactly 0, not if it is truncated to 0.
                if split.zero_missing {
                    return None;
                }
                table.push((
                    split.feature,
                    *self.equal_sets.get(set as usize)?,
                    split.missing_left,
                ));
            }
        }
        table.sort_unstable();
        table.dedup();
        let most = self.ensemble.bytes();
        for sets in table.chunk_by(|a, b| a.0 == b.0) {
            let capacity = |set: u32| Some(self.ensemble.sets.get(set as usize)?.capacity());
            let codes = sets.iter().filter_map(|(_, set, _)| capacity(*set)).max()?;
            if codes > MOST_CODES {
                return None;
            }
            let first = self.lines(sets.len())?;
            let mut category = CategoryPredicates {
                feature: sets.first()?.0,
                codes: u32::try_from(codes).ok()?,
                sets: Vec::with_capacity(sets.len()),
                first,
            };
            // Reject a table as large as the model: other kernels need less. A small file may list few codes
            // and mean all others.
            if (category.codes as usize + 2).saturating_mul(sets.len()) > most.max(FEW) {
                return None;
            }
            for (line, key) in (first..).zip(sets) {
                let members = self.members(key, category.codes)?;
                if size_of_val(self.table.members.as_slice()) > most {
                    return None;
                }
                category.sets.push(members);
                self.member_of.insert(*key, line);
            }
            self.table.buckets = self.table.buckets.max(category.codes as usize + 2);
            self.table.categories.push(category);
        }
        Some(())
    }

    /// Appends the buckets that go left at a set. Returns their range.
    fn members(&mut self, key: &(u32, u32, bool), codes: u32) -> Option<(u32, u32)> {
        let nothing = ChildRef::leaf(0)?;
        let split = Split {
            test: SplitTest::Member(key.1),
            feature: key.0,
            left: nothing,
            right: nothing,
            missing_left: key.2,
            zero_missing: false,
        };
        let from = u32::try_from(self.table.members.len()).ok()?;
        let numbers = (0..codes).map(|code| T::cast(f64::from(code)));
        // The last two buckets: not a code, and missing.
        let all = numbers.chain([T::cast(-1f32), T::cast(f32::NAN)]);
        let left = (0u32..)
            .zip(all)
            .filter(|(_, x)| scalar::goes_left(self.ensemble, &split, *x));
        self.table.members.extend(left.map(|(bucket, _)| bucket));
        Some((from, u32::try_from(self.table.members.len()).ok()?))
    }

    fn line(&self, split: &Split<T>) -> Option<u32> {
        match split.test {
            SplitTest::Missing => self.absence_of.get(&(split.feature, split.zero_missing)).copied(),
            SplitTest::Member(set) => {
                let first = *self.equal_sets.get(set as usize)?;
                self.member_of
                    .get(&(split.feature, first, split.missing_left))
                    .copied()
            }
            SplitTest::Threshold(threshold) => {
                let number = (*self.number_of.get(split.feature as usize)?)?;
                let number = self.table.numbers.get(number as usize)?;
                let thresholds = self.thresholds.get(split.feature as usize)?;
                let position = thresholds.partition_point(|other| *other < threshold);
                let rule = MissingRule {
                    left: split.missing_left,
                    zero: split.zero_missing,
                };
                let rule = number.rules.iter().position(|other| *other == rule)?;
                let line = position * number.rules.len() + rule;
                Some(number.first + u32::try_from(line).ok()?)
            }
        }
    }
}
