//! A row's slots: what [`ask`](super::ask) asks about, filled from the row's numbers.

use super::super::ensemble::{Comparison, Ensemble, ZERO};
use super::super::number::Real;
use super::ask::{Reading, Readings};
use super::categories::Categories;
use super::machine::Machine;
use super::search::{self, BLOCK, HALF, Search};

/// Thresholds that two searches of half a block can tell apart.
const SMALL: usize = HALF * (HALF + 1);

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

/// How a row's numbers become its slots.
#[derive(Debug)]
pub(super) struct Ranker<T> {
    /// Those with few thresholds.
    small: Vec<Plain>,
    plain: Vec<Plain>,
    numbers: Vec<Number>,
    slots: Vec<NumberSlot>,
    thresholds: Vec<T>,
    categories: Categories,
    comparison: Comparison,
    features: usize,
    len: usize,
}

impl<T: Real> Ranker<T> {
    /// A ranker that writes the reading at `readings.all[p]` to slot `slot_of[p]`.
    pub(super) fn new(ensemble: &Ensemble<T>, readings: &Readings<T>, slot_of: &[u16]) -> Option<Self> {
        let mut ranker = Self {
            small: Vec::new(),
            plain: Vec::new(),
            numbers: Vec::new(),
            slots: Vec::new(),
            thresholds: Vec::new(),
            categories: Categories::new(ensemble),
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
        size_of_val(self.small.as_slice())
            + size_of_val(self.plain.as_slice())
            + size_of_val(self.numbers.as_slice())
            + size_of_val(self.slots.as_slice())
            + size_of_val(self.thresholds.as_slice())
            + self.categories.bytes()
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
            let small = thresholds.len() <= SMALL;
            let pivots = if small {
                search::lay_out::<T, HALF>(thresholds, &mut self.thresholds)?
            } else {
                search::lay_out::<T, BLOCK>(thresholds, &mut self.thresholds)?
            };
            let plain = Plain {
                feature,
                pivots,
                missing_first,
                missing_last,
            };
            if small { &mut self.small } else { &mut self.plain }.push(plain);
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
        let mut asked = of_feature.iter().filter_map(|(reading, to)| match reading {
            Reading::Member {
                set, missing_left, ..
            } => Some(((*set, *missing_left), *to)),
            _ => None,
        });
        let Some((first, to)) = asked.next() else {
            return Some(());
        };
        let mut all = vec![first];
        for (one, at) in asked {
            debug_assert_eq!(usize::from(at - to), all.len(), "not side by side");
            all.push(one);
        }
        let feature = of_feature.first()?.0.feature();
        self.categories.add(ensemble, feature, usize::from(to), &all)
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
        // SAFETY: as promised by the caller and made sure of above.
        unsafe {
            self.fill_plain::<M, HALF>(&self.small, row, into);
            self.fill_plain::<M, BLOCK>(&self.plain, row, into);
        }
        for number in &self.numbers {
            let x = row[number.feature as usize];
            // SAFETY: the caller vouches for the machine.
            let rank = unsafe { number.search.rank::<T, M>(&self.thresholds, self.comparison, x) };
            for slot in &self.slots[number.slots.0 as usize..number.slots.1 as usize] {
                into[usize::from(slot.to)] = slot.hold(rank, x);
            }
        }
        for (to, held) in self.categories.of_row(row) {
            into[to..][..held.len()].copy_from_slice(held);
        }
    }

    #[inline(always)]
    unsafe fn fill_plain<M: Machine, const N: usize>(&self, features: &[Plain], row: &[T], into: &mut [u8]) {
        let thresholds = self.thresholds.as_ptr();
        for plain in features {
            // SAFETY: features are below `self.features`, slots below `self.len`; the thresholds were laid out for this;
            // the caller vouches for the machine.
            unsafe {
                let x = *row.get_unchecked(plain.feature as usize);
                let pivots = thresholds.add(plain.pivots as usize);
                let rank = search::two_blocks::<T, M, N>(pivots, self.comparison, x);
                // What is missing has passed no threshold.
                *into.get_unchecked_mut(usize::from(plain.missing_first)) = rank;
                let missing = if x.missing() { u8::MAX } else { 0 };
                *into.get_unchecked_mut(usize::from(plain.missing_last)) = rank | missing;
            }
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
