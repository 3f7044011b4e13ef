//! A model's trees over ranks, and the way of a row through them that all such kernels share.

use super::super::ensemble::{Comparison, Ensemble};
use super::super::number::Real;
use super::ask::Readings;
use super::ranker::Ranker;
use super::search::BLOCK;
use super::slots::Slots;
use super::stand::{LANES, Line, Stands};
use super::tail::{self, Exits, Rows};

/// Rows whose sums are built side by side.
const TOGETHER: usize = 4;

/// Bytes of slots that are filled before the trees are walked: they must stay in the first cache.
const FILLED: usize = 1 << 14;

/// A model laid out for walking by rank.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    pub(super) ranker: Ranker<T>,
    pub(super) stands: Stands<T>,
    /// Slots that tops ask.
    pub(super) reach: usize,
    /// Bytes from one row's slots to the next row's.
    stride: usize,
}

/// The steps that are done differently from machine to machine.
pub(super) trait Machine {
    /// How many of a block's thresholds a number has passed.
    ///
    /// # Safety
    /// This is such a machine.
    unsafe fn passed<T: Real>(comparison: Comparison, block: &[T; BLOCK], x: T) -> u32;

    /// Up to so many thresholds of four bytes are compared with all numbers; more are searched for each.
    const SCANNED: usize;

    /// Which of 32 numbers have passed a threshold; bit `i` is for the number at `Self::place::<T>(i)`.
    ///
    /// # Safety
    /// This is such a machine; there are 32 numbers.
    unsafe fn passing<T: Real>(comparison: Comparison, numbers: *const T, threshold: T) -> u32;

    /// Which of 32 numbers are missing, in the same order.
    ///
    /// # Safety
    /// This is such a machine; there are 32 numbers.
    unsafe fn missing<T: Real>(numbers: *const T) -> u32;

    /// Where the number of a bit is.
    fn place<T: Real>(bit: usize) -> usize;

    /// The exits of a top: below `2^levels` for every lane.
    ///
    /// # Safety
    /// This is such a machine; `lines` are those of all `levels`, at most six; there are 256 slots.
    unsafe fn top(lines: *const Line, levels: usize, slots: *const u8) -> Exits;
}

impl<T: Real> Ranked<T> {
    /// Lays a model out with up to `levels` levels in the tops; `None` if it cannot be walked by rank.
    pub(super) fn new(ensemble: &Ensemble<T>, levels: usize) -> Option<Self> {
        let readings = Readings::of(ensemble)?;
        let slots = Slots::new(ensemble, &readings, levels)?;
        let ranker = Ranker::new(ensemble, &readings, &slots.of_reading)?;
        Some(Self {
            stride: ranker.len().next_multiple_of(64).max(256),
            ranker,
            stands: Stands::new(ensemble, &slots)?,
            reach: slots.reach,
        })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.ranker.bytes() + self.stands.bytes()
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// # Safety
    /// This is such a machine.
    #[inline(always)]
    pub(super) unsafe fn add_leaves<M: Machine>(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        slots: &mut Vec<u8>,
    ) {
        let (features, groups) = (ensemble.features, ensemble.groups);
        let at_once = (FILLED / self.stride).max(TOGETHER);
        let needed = self.stride * at_once.min(rows.len() / features);
        if slots.len() < needed {
            slots.resize(needed, 0);
        }
        let rows = rows.chunks(at_once * features);
        for (rows, sums) in rows.zip(sums.chunks_mut(at_once * groups)) {
            let into = slots.chunks_exact_mut(self.stride);
            for (row, into) in rows.chunks_exact(features).zip(into) {
                // SAFETY: the caller vouches for the machine.
                unsafe { self.ranker.fill::<M>(row, into) };
            }
            let count = rows.len() / features;
            // SAFETY: so many rows' slots have just been filled.
            unsafe { self.walk::<M>(&slots[..count * self.stride], sums, groups) };
        }
    }

    #[inline(always)]
    unsafe fn walk<M: Machine>(&self, slots: &[u8], sums: &mut [T], groups: usize) {
        let together = slots.chunks_exact(TOGETHER * self.stride);
        let rest = together.remainder().chunks_exact(self.stride);
        let (of_rows, of_rest) = sums.split_at_mut(together.len() * TOGETHER * groups);
        // SAFETY: as promised by the caller.
        unsafe {
            if !of_rows.is_empty() {
                self.walk_together::<M>(slots, of_rows, groups);
            }
            for (slots, sums) in rest.zip(of_rest.chunks_exact_mut(groups)) {
                self.walk_alone::<M>(slots.as_ptr(), sums);
            }
        }
    }

    /// Some rows through one stand after the other.
    #[inline(always)]
    unsafe fn walk_together<M: Machine>(&self, slots: &[u8], sums: &mut [T], groups: usize) {
        let mut first = 0;
        for stand in &self.stands.stands {
            let lines = self.stands.lines[stand.top..].as_ptr();
            let together = slots.chunks_exact(TOGETHER * self.stride);
            for (slots, sums) in together.zip(sums.chunks_exact_mut(TOGETHER * groups)) {
                let slots: [*const u8; TOGETHER] =
                    std::array::from_fn(|row| slots[row * self.stride..].as_ptr());
                let mut exits = [[0; LANES]; TOGETHER];
                for (exits, slots) in exits.iter_mut().zip(slots) {
                    // SAFETY: the lines are the stand's; a row's slots are at least 256.
                    *exits = unsafe { M::top(lines, stand.levels, slots) };
                }
                let mut rows = Rows {
                    slots,
                    exits: &exits,
                    sums,
                    groups,
                };
                // SAFETY: the stand is one of these, and the rows' slots are filled.
                unsafe { tail::add(&self.stands, stand, first, &mut rows) };
            }
            first += stand.trees;
        }
    }

    /// One row through all stands; the leaves of each are added while the next is walked.
    #[inline(always)]
    unsafe fn walk_alone<M: Machine>(&self, slots: *const u8, sums: &mut [T]) {
        let mut first = 0;
        let groups = sums.len();
        for stand in &self.stands.stands {
            let lines = self.stands.lines[stand.top..].as_ptr();
            // SAFETY: the lines are the stand's; the row's slots are filled, and at least 256.
            unsafe {
                let exits = [M::top(lines, stand.levels, slots)];
                let mut rows = Rows {
                    slots: [slots],
                    exits: &exits,
                    sums,
                    groups,
                };
                tail::add(&self.stands, stand, first, &mut rows);
            }
            first += stand.trees;
        }
    }
}
