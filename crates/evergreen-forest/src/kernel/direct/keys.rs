//! A row as keys, and splits as questions to them.
//!
//! ```text
//! slots   0 .. features               every number, what is missing least: it goes left
//!         features .. 2 · features    every number, what is missing most: it goes right
//!         from there on               zero as missing, missing or not, and categories, as they are asked for
//! ```

use std::collections::{BTreeMap, HashMap};

use super::super::super::ensemble::{Comparison, Ensemble, Split, Test, ZERO};
use super::super::super::number::Real;
use super::super::ask::alike;
use super::super::categories::{Asked, Categories};
use super::super::key::Key;

/// What a split asks: right if its threshold is below the key in the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<K> {
    pub(super) slot: u16,
    pub(super) threshold: K,
}

/// A slot that is not simply a feature's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Odd {
    /// A number, with zero taken for missing.
    Zero { feature: u32, missing_left: bool },
    /// Least if the number is missing, most otherwise.
    Missing { feature: u32, zero_missing: bool },
}

/// How a row becomes keys.
#[derive(Debug)]
pub(super) struct Keys {
    features: usize,
    odd: Vec<Odd>,
    categories: Categories,
    width: usize,
}

impl Keys {
    /// The keys that a model's splits ask for, and their questions; `None` if there are too many.
    pub(super) fn of<T: Real>(ensemble: &Ensemble<T>) -> Option<(Self, Vec<Question<T::Key>>)> {
        let mut keys = Self {
            features: ensemble.features,
            odd: Vec::new(),
            categories: Categories::new(ensemble),
            width: 2 * ensemble.features,
        };
        let odd = keys.odd(ensemble);
        let sets = alike(&ensemble.sets);
        let members = keys.members(ensemble, &sets)?;
        let question = |split: &Split<T>| {
            let plain = split.feature as usize + if split.missing_left { 0 } else { keys.features };
            let (slot, threshold) = match (split.test, odd_of(split)) {
                (Test::Member(set), _) => {
                    let asked = (*sets.get(set as usize)?, split.missing_left);
                    (*members.get(&(split.feature, asked))?, T::Key::LEAST)
                }
                (Test::Missing, odd_one) => (*odd.get(&odd_one?)?, T::Key::LEAST),
                (Test::Threshold(threshold), odd_one) => {
                    let slot = odd_one.map_or(Some(plain), |one| odd.get(&one).copied())?;
                    let threshold = match ensemble.comparison {
                        Comparison::Less => threshold.key().before(),
                        Comparison::LessEqual => threshold.key(),
                    };
                    (slot, threshold)
                }
            };
            let slot = u16::try_from(slot).ok()?;
            Some(Question { slot, threshold })
        };
        let questions: Option<Vec<_>> = ensemble.splits.iter().map(question).collect();
        questions.map(|questions| (keys, questions))
    }

    fn odd<T: Real>(&mut self, ensemble: &Ensemble<T>) -> HashMap<Odd, usize> {
        let mut slots = HashMap::new();
        for odd in ensemble.splits.iter().filter_map(odd_of) {
            slots.entry(odd).or_insert_with(|| {
                self.odd.push(odd);
                self.width += 1;
                self.width - 1
            });
        }
        slots
    }

    /// The slots of splits on categories, those of one feature side by side.
    fn members<T: Real>(
        &mut self,
        ensemble: &Ensemble<T>,
        sets: &[u32],
    ) -> Option<HashMap<(u32, Asked), usize>> {
        let mut of_feature: BTreeMap<u32, Vec<Asked>> = BTreeMap::new();
        for split in &ensemble.splits {
            if let Test::Member(set) = split.test {
                // A code of 0 would be missing only where the number is exactly 0, not where it is cut off to 0.
                if split.zero_missing {
                    return None;
                }
                let asked = (*sets.get(set as usize)?, split.missing_left);
                of_feature.entry(split.feature).or_default().push(asked);
            }
        }
        let mut slots = HashMap::new();
        for (feature, mut asked) in of_feature {
            asked.sort_unstable();
            asked.dedup();
            // A slot has sixteen bits.
            if self.width + asked.len() > 1 << 16 {
                return None;
            }
            self.categories.add(ensemble, feature, self.width, &asked)?;
            for one in asked {
                slots.insert((feature, one), self.width);
                self.width += 1;
            }
        }
        Some(slots)
    }

    /// Keys of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.odd.as_slice()) + self.categories.bytes()
    }

    /// Writes a row's keys.
    #[inline(always)]
    pub(super) fn fill<T: Real>(&self, row: &[T], keys: &mut [T::Key]) {
        let (left, rest) = keys.split_at_mut(self.features);
        let (right, odd) = rest.split_at_mut(self.features);
        for ((x, left), right) in row.iter().zip(left).zip(right) {
            let (key, missing) = (x.key(), x.missing());
            *left = if missing { T::Key::LEAST } else { key };
            *right = if missing { T::Key::MOST } else { key };
        }
        for (one, key) in self.odd.iter().zip(odd) {
            *key = one.key(row);
        }
        for (to, held) in self.categories.of_row(row) {
            for (key, held) in keys[to..].iter_mut().zip(held) {
                *key = if *held == 0 { T::Key::LEAST } else { T::Key::MOST };
            }
        }
    }
}

fn odd_of<T: Real>(split: &Split<T>) -> Option<Odd> {
    let Split {
        feature,
        missing_left,
        zero_missing,
        ..
    } = *split;
    match split.test {
        Test::Missing => Some(Odd::Missing {
            feature,
            zero_missing,
        }),
        Test::Threshold(_) if zero_missing => Some(Odd::Zero {
            feature,
            missing_left,
        }),
        _ => None,
    }
}

impl Odd {
    fn key<T: Real>(self, row: &[T]) -> T::Key {
        let (Self::Zero { feature, .. } | Self::Missing { feature, .. }) = self;
        let x = row[feature as usize];
        let zero = x.to_f64().abs() <= f64::from(ZERO);
        let (missing, left) = match self {
            Self::Zero { missing_left, .. } => (x.missing() || zero, missing_left),
            Self::Missing { zero_missing, .. } => (x.missing() || (zero_missing && zero), true),
        };
        match (self, missing, left) {
            (Self::Zero { .. }, false, _) => x.key(),
            (_, true, true) => T::Key::LEAST,
            _ => T::Key::MOST,
        }
    }
}
