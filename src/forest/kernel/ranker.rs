//! A row's slots: what [`ask`](super::ask) asks about, filled from the row's numbers.

use super::super::ensemble::{Child, Codes, Comparison, Ensemble, Split, Test, ZERO};
use super::super::number::Real;
use super::ask::{Reading, Readings};
use super::ranked::Machine;
use super::scalar;
use super::search::{self, Search};

/// A feature that is read as a number.
#[derive(Clone, Copy, Debug)]
struct Number {
    feature: u32,
    /// Where its thresholds are.
    search: Search,
    /// Position of its first slot in [`Ranker::slots`], and of the one after its last.
    slots: (u32, u32),
}

/// A feature whose only slots are one with missing first and one with missing last, with thresholds for one slot: all
/// such features are ranked by the same instructions.
#[derive(Clone, Copy, Debug)]
struct Plain {
    feature: u32,
    /// Its pivots, one block; its thresholds follow.
    pivots: u32,
    missing_first: u16,
    missing_last: u16,
}

/// A slot that a number fills.
#[derive(Clone, Copy, Debug)]
struct NumberSlot {
    to: u16,
    /// What it holds for a missing number.
    missing: u8,
    /// Zero counts as missing.
    zero_missing: bool,
    /// Taken off the rank.
    first: i32,
}

/// A feature that is read as a category: its slots for every code, ready to be copied.
#[derive(Clone, Copy, Debug)]
struct Category {
    feature: u32,
    /// The first of its slots, which lie side by side.
    to: u16,
    slots: u16,
    /// Codes with a row of their own in [`Ranker::table`]; after them one row for all others and one for missing.
    codes: u32,
    rows: u32,
}

/// How a row's numbers become its slots.
#[derive(Debug)]
pub(super) struct Ranker<T> {
    plain: Vec<Plain>,
    numbers: Vec<Number>,
    slots: Vec<NumberSlot>,
    thresholds: Vec<T>,
    categories: Vec<Category>,
    table: Vec<u8>,
    codes: Codes,
    comparison: Comparison,
    features: usize,
    len: usize,
}

impl<T: Real> Ranker<T> {
    /// A ranker that writes the reading at `readings.all[p]` to slot `slot_of[p]`.
    pub(super) fn new(ensemble: &Ensemble<T>, readings: &Readings<T>, slot_of: &[u16]) -> Option<Self> {
        let mut ranker = Self {
            plain: Vec::new(),
            numbers: Vec::new(),
            slots: Vec::new(),
            thresholds: Vec::new(),
            categories: Vec::new(),
            table: Vec::new(),
            codes: ensemble.codes,
            comparison: ensemble.comparison,
            features: ensemble.features,
            // The first slot is the zero slot; the last is written by plain features with one slot only.
            len: slot_of.len() + 2,
        };
        let mut by_feature: Vec<(Reading, u16)> = readings
            .all
            .iter()
            .copied()
            .zip(slot_of.iter().copied())
            .collect();
        by_feature.sort_by_key(|(reading, slot)| (reading.feature(), *slot));
        for of_feature in by_feature.chunk_by(|a, b| a.0.feature() == b.0.feature()) {
            ranker.number(readings, of_feature)?;
            ranker.category(ensemble, of_feature)?;
        }
        Some(ranker)
    }

    /// Bytes of a row's slots.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.plain.as_slice())
            + size_of_val(self.numbers.as_slice())
            + size_of_val(self.slots.as_slice())
            + size_of_val(self.thresholds.as_slice())
            + size_of_val(self.categories.as_slice())
            + self.table.len()
    }

    fn number(&mut self, readings: &Readings<T>, of_feature: &[(Reading, u16)]) -> Option<()> {
        let begin = u32::try_from(self.slots.len()).ok()?;
        let slots = of_feature
            .iter()
            .filter_map(|(reading, to)| number_slot(*reading, *to));
        self.slots.extend(slots);
        let end = u32::try_from(self.slots.len()).ok()?;
        if begin == end {
            return Some(());
        }
        let feature = of_feature.first()?.0.feature();
        let thresholds = readings.thresholds.get(feature as usize)?;
        let spare = u16::try_from(self.len - 1).ok()?;
        if let Some((missing_first, missing_last)) =
            plain(thresholds.len(), self.slots.get(begin as usize..)?, spare)
        {
            self.slots.truncate(begin as usize);
            self.plain.push(Plain {
                feature,
                pivots: Search::uniform(thresholds, &mut self.thresholds),
                missing_first,
                missing_last,
            });
            return Some(());
        }
        self.numbers.push(Number {
            feature,
            search: Search::new(thresholds, &mut self.thresholds),
            slots: (begin, end),
        });
        Some(())
    }

    fn category(&mut self, ensemble: &Ensemble<T>, of_feature: &[(Reading, u16)]) -> Option<()> {
        let sets: Vec<(u32, bool, u16)> = of_feature
            .iter()
            .filter_map(|(reading, to)| match reading {
                Reading::Member {
                    set, missing_left, ..
                } => Some((*set, *missing_left, *to)),
                _ => None,
            })
            .collect();
        let (Some((_, _, first)), Some((_, _, last))) = (sets.first(), sets.last()) else {
            return Some(());
        };
        let feature = of_feature.first()?.0.feature();
        debug_assert_eq!(usize::from(last - first) + 1, sets.len(), "not side by side");
        let capacity = sets.iter().map(|(set, ..)| {
            ensemble
                .sets
                .get(*set as usize)
                .map_or(0, super::super::ensemble::Set::capacity)
        });
        let codes = u32::try_from(capacity.max()?).ok()?;
        // A table larger than the model itself is not worth its speed.
        if codes > 1 << 24 || (codes as usize + 2) * sets.len() + self.table.len() > ensemble.bytes() {
            return None;
        }
        self.categories.push(Category {
            feature,
            to: *first,
            slots: u16::try_from(sets.len()).ok()?,
            codes,
            rows: u32::try_from(self.table.len()).ok()?,
        });
        let nothing = Child::leaf(0)?;
        // The last two rows: no code at all, and missing.
        let beyond = [T::cast(-1f32), T::cast(f32::NAN)];
        let codes = (0..codes).map(|code| T::cast(f64::from(code)));
        for x in codes.chain(beyond) {
            for (set, missing_left, _) in &sets {
                let split = Split {
                    test: Test::Member(*set),
                    feature,
                    left: nothing,
                    right: nothing,
                    missing_left: *missing_left,
                    zero_missing: false,
                };
                let left = scalar::goes_left(ensemble, &split, x);
                self.table.push(if left { 0 } else { u8::MAX });
            }
        }
        Some(())
    }

    /// Fills a row's slots.
    ///
    /// # Safety
    /// This is such a machine.
    #[inline(always)]
    pub(super) unsafe fn fill<M: Machine>(&self, row: &[T], into: &mut [u8]) {
        assert!(into.len() >= self.len, "too few slots");
        into[0] = 0;
        // The builder and `new` made sure of every position; the assertions are one check instead of five a feature.
        assert!(row.len() >= self.features, "too few numbers");
        let thresholds = self.thresholds.as_ptr();
        for plain in &self.plain {
            // SAFETY: features are below `self.features`, slots below `self.len`; a block of pivots is followed by
            // one more block than it has pivots; the caller vouches for the machine.
            unsafe {
                let x = *row.get_unchecked(plain.feature as usize);
                let pivots = thresholds.add(plain.pivots as usize);
                let rank = search::two_blocks::<T, M>(pivots, self.comparison, x);
                // What is missing has passed no threshold.
                *into.get_unchecked_mut(usize::from(plain.missing_first)) = rank;
                let missing = if x.missing() { u8::MAX } else { 0 };
                *into.get_unchecked_mut(usize::from(plain.missing_last)) = rank | missing;
            }
        }
        for number in &self.numbers {
            let x = row[number.feature as usize];
            // SAFETY: the caller vouches for the machine.
            let rank = unsafe { number.search.rank::<T, M>(&self.thresholds, self.comparison, x) };
            for slot in &self.slots[number.slots.0 as usize..number.slots.1 as usize] {
                into[usize::from(slot.to)] = slot.hold(rank, x);
            }
        }
        for category in &self.categories {
            let x = row[category.feature as usize];
            let row = category.rows as usize + category.row(self.codes, x) * usize::from(category.slots);
            let slots = usize::from(category.slots);
            into[usize::from(category.to)..][..slots].copy_from_slice(&self.table[row..][..slots]);
        }
    }

    /// How numbers are compared.
    pub(super) fn comparison(&self) -> Comparison {
        self.comparison
    }
}

impl NumberSlot {
    #[inline(always)]
    fn hold<T: Real>(&self, rank: u32, x: T) -> u8 {
        let missing = x.missing() || (self.zero_missing && x.to_f64().abs() <= f64::from(ZERO));
        if missing {
            return self.missing;
        }
        u8::try_from((rank.cast_signed() - self.first).max(0)).unwrap_or(u8::MAX)
    }
}

impl Category {
    /// Which of its rows a number takes.
    #[inline(always)]
    fn row<T: Real>(&self, codes: Codes, x: T) -> usize {
        if x.missing() {
            return self.codes as usize + 1;
        }
        codes
            .of(x.to_f64())
            .map_or(self.codes, |code| code.min(self.codes)) as usize
    }
}

fn number_slot(reading: Reading, to: u16) -> Option<NumberSlot> {
    match reading {
        Reading::Rank {
            first,
            missing_left,
            zero_missing,
            ..
        } => Some(NumberSlot {
            to,
            missing: if missing_left { 0 } else { u8::MAX },
            zero_missing,
            first: i32::try_from(first).ok()?,
        }),
        // Ranks begin at 0: with 255 added every number but a missing one is greater than 0.
        Reading::Missing { zero_missing, .. } => Some(NumberSlot {
            to,
            missing: 0,
            zero_missing,
            first: -255,
        }),
        Reading::Member { .. } => None,
    }
}

/// The slots of a feature that needs no case distinction; `spare` takes what no split asks for.
fn plain(thresholds: usize, slots: &[NumberSlot], spare: u16) -> Option<(u16, u16)> {
    if thresholds > 255 || slots.iter().any(|slot| slot.zero_missing || slot.first != 0) {
        return None;
    }
    let with = |missing| {
        slots
            .iter()
            .find(|slot| slot.missing == missing)
            .map_or(spare, |slot| slot.to)
    };
    Some((with(0), with(u8::MAX)))
}
