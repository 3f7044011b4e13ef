//! Rows as ordered keys, and splits as predicates on them.
//!
//! ```text
//! columns   0 .. features              every number; a missing one has the least key and goes left
//!           features .. 2 · features   every number; a missing one has the greatest key and goes right
//!           from there on              zero as missing, tests for missing, and categories, as the model needs them
//! ```

use std::collections::{BTreeMap, HashMap};

use crate::ensemble::{Ensemble, Split, SplitTest, ThresholdRule, ZERO};
use crate::kernel::KernelFloat;
use crate::kernel::category_table::{CategoryTable, SetPredicate};
use crate::kernel::ordered_key::OrderedKey;
use crate::kernel::predicate::equal_sets;

/// A split's predicate: right if the threshold is below the key in the column.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPredicate<K> {
    pub(super) column: u16,
    pub(super) threshold: K,
}

/// A column that is not simply a feature's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SpecialKey {
    /// A number where zero counts as missing.
    Zero { feature: u32, missing_left: bool },
    /// The least key if the number is missing, otherwise the greatest.
    Missing { feature: u32, zero_missing: bool },
}

/// Turns rows into keys.
#[derive(Debug)]
pub(super) struct RowKeys {
    features: usize,
    special: Vec<SpecialKey>,
    categories: CategoryTable,
    width: usize,
}

impl RowKeys {
    /// Collects the columns and predicates of a model. Returns `None` if there are too many.
    pub(super) fn of<T: KernelFloat>(
        ensemble: &Ensemble<T>,
    ) -> Option<(Self, Vec<KeyPredicate<T::OrderedKey>>)> {
        let mut keys = Self {
            features: ensemble.features,
            special: Vec::new(),
            categories: CategoryTable::new(ensemble),
            width: 2 * ensemble.features,
        };
        let special = keys.special(ensemble);
        let sets = equal_sets(&ensemble.sets);
        let members = keys.members(ensemble, &sets)?;
        let predicate = |split: &Split<T>| {
            let plain = split.feature as usize + if split.missing_left { 0 } else { keys.features };
            let (column, threshold) = match (split.test, special_of(split)) {
                (SplitTest::Member(set), _) => {
                    let predicates = (*sets.get(set as usize)?, split.missing_left);
                    (*members.get(&(split.feature, predicates))?, T::OrderedKey::LEAST)
                }
                (SplitTest::Missing, special_key) => (*special.get(&special_key?)?, T::OrderedKey::LEAST),
                (SplitTest::Threshold(threshold), special_key) => {
                    let column = special_key.map_or(Some(plain), |one| special.get(&one).copied())?;
                    let threshold = match ensemble.comparison {
                        ThresholdRule::Less => threshold.key().before(),
                        ThresholdRule::LessEqual => threshold.key(),
                    };
                    (column, threshold)
                }
            };
            let column = u16::try_from(column).ok()?;
            Some(KeyPredicate { column, threshold })
        };
        let predicates: Option<Vec<_>> = ensemble.splits.iter().map(predicate).collect();
        predicates.map(|predicates| (keys, predicates))
    }

    fn special<T: KernelFloat>(&mut self, ensemble: &Ensemble<T>) -> HashMap<SpecialKey, usize> {
        let mut columns = HashMap::new();
        for special in ensemble.splits.iter().filter_map(special_of) {
            columns.entry(special).or_insert_with(|| {
                self.special.push(special);
                self.width += 1;
                self.width - 1
            });
        }
        columns
    }

    /// Assigns columns to splits on categories. Those of one feature are adjacent.
    fn members<T: KernelFloat>(
        &mut self,
        ensemble: &Ensemble<T>,
        sets: &[u32],
    ) -> Option<HashMap<(u32, SetPredicate), usize>> {
        let mut of_feature: BTreeMap<u32, Vec<SetPredicate>> = BTreeMap::new();
        for split in &ensemble.splits {
            if let SplitTest::Member(set) = split.test {
                // Code 0 is missing only if the number is exactly 0, not if it is truncated to 0.
                if split.zero_missing {
                    return None;
                }
                let predicates = (*sets.get(set as usize)?, split.missing_left);
                of_feature.entry(split.feature).or_default().push(predicates);
            }
        }
        let mut columns = HashMap::new();
        for (feature, mut predicates) in of_feature {
            predicates.sort_unstable();
            predicates.dedup();
            // A column number has sixteen bits.
            if self.width + predicates.len() > 1 << 16 {
                return None;
            }
            self.categories.add(ensemble, feature, self.width, &predicates)?;
            for one in predicates {
                columns.insert((feature, one), self.width);
                self.width += 1;
            }
        }
        Some(columns)
    }

    /// Returns the keys per row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.special.as_slice()) + self.categories.bytes()
    }

    /// Writes a row's keys.
    #[inline(always)]
    pub(super) fn fill<T: KernelFloat>(&self, row: &[T], keys: &mut [T::OrderedKey]) {
        let (left, rest) = keys.split_at_mut(self.features);
        let (right, special) = rest.split_at_mut(self.features);
        for ((x, left), right) in row.iter().zip(left).zip(right) {
            let (key, missing) = (x.key(), x.missing());
            *left = if missing { T::OrderedKey::LEAST } else { key };
            *right = if missing { T::OrderedKey::MOST } else { key };
        }
        for (one, key) in self.special.iter().zip(special) {
            *key = one.key(row);
        }
        for (to, sides) in self.categories.of_row(row) {
            for (key, sides) in keys[to..].iter_mut().zip(sides) {
                *key = if *sides == 0 {
                    T::OrderedKey::LEAST
                } else {
                    T::OrderedKey::MOST
                };
            }
        }
    }
}

fn special_of<T: KernelFloat>(split: &Split<T>) -> Option<SpecialKey> {
    let Split {
        feature,
        missing_left,
        zero_missing,
        ..
    } = *split;
    match split.test {
        SplitTest::Missing => Some(SpecialKey::Missing {
            feature,
            zero_missing,
        }),
        SplitTest::Threshold(_) if zero_missing => Some(SpecialKey::Zero {
            feature,
            missing_left,
        }),
        _ => None,
    }
}

impl SpecialKey {
    fn key<T: KernelFloat>(self, row: &[T]) -> T::OrderedKey {
        let (Self::Zero { feature, .. } | Self::Missing { feature, .. }) = self;
        let x = row[feature as usize];
        let zero = x.to_f64().abs() <= f64::from(ZERO);
        let (missing, left) = match self {
            Self::Zero { missing_left, .. } => (x.missing() || zero, missing_left),
            Self::Missing { zero_missing, .. } => (x.missing() || (zero_missing && zero), true),
        };
        match (self, missing, left) {
            (Self::Zero { .. }, false, _) => x.key(),
            (_, true, true) => T::OrderedKey::LEAST,
            _ => T::OrderedKey::MOST,
        }
    }
}
