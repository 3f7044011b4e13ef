//! A model's trees over ranks, and the way of a row through them that all such kernels share.

use super::super::ensemble::Ensemble;
use super::super::number::Real;
use super::ask::Readings;
use super::machine::Tops;
use super::ranker::Ranker;
use super::slots::Slots;
use super::stand::{LANES, Stand, Stands, Top};
use super::tail::{self, Exits, Rows};

/// Rows whose sums are built side by side.
const TOGETHER: usize = 4;

/// Bytes of slots that are filled before the trees are walked: they must stay in the first cache.
const FILLED: usize = 1 << 14;

/// Levels in the tops: one more of complete trees would double what is read for less than it saves
/// (`benches/README.md`).
const LEVELS: usize = 6;

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

impl<T: Real> Ranked<T> {
    /// Lays a model out; `None` if it cannot be walked by rank.
    pub(super) fn new(ensemble: &Ensemble<T>) -> Option<Self> {
        let readings = Readings::of(ensemble)?;
        let slots = Slots::new(ensemble, &readings, LEVELS)?;
        let ranker = Ranker::new(ensemble, &readings, &slots.of_reading)?;
        let stands = Stands::new(ensemble, &slots)?;
        let preorder = |stand: &Stand| matches!(stand.top, Top::Preorder { .. });
        Some(Self {
            stride: ranker.len().next_multiple_of(64).max(256),
            ranker,
            reach: if stands.stands.iter().any(preorder) {
                slots.asked
            } else {
                slots.reach
            },
            stands,
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
    pub(super) unsafe fn add_leaves<M: Tops>(
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
        if rows.len() == features {
            // SAFETY: the row's slots are filled before they are asked.
            return unsafe {
                self.ranker.fill::<M>(rows, slots);
                self.walk_alone::<M>(slots.as_ptr(), sums);
            };
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
    unsafe fn walk<M: Tops>(&self, slots: &[u8], sums: &mut [T], groups: usize) {
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

    #[inline(always)]
    unsafe fn exits<M: Tops>(&self, stand: &Stand, slots: *const u8) -> Exits {
        // SAFETY: lines and steps are the stand's; the caller vouches for the slots.
        unsafe {
            match stand.top {
                Top::Levels { first } => M::top(self.stands.lines[first..].as_ptr(), stand.levels, slots),
                Top::Same { first } => M::same(&self.stands.lines[first..first + stand.levels], slots),
                Top::Preorder { first, steps } => {
                    M::preorder(&self.stands.steps[first..first + steps], slots)
                }
            }
        }
    }

    /// Some rows through one stand after the other.
    #[inline(always)]
    unsafe fn walk_together<M: Tops>(&self, slots: &[u8], sums: &mut [T], groups: usize) {
        let mut first = 0;
        for stand in &self.stands.stands {
            let together = slots.chunks_exact(TOGETHER * self.stride);
            for (slots, sums) in together.zip(sums.chunks_exact_mut(TOGETHER * groups)) {
                let slots: [*const u8; TOGETHER] =
                    std::array::from_fn(|row| slots[row * self.stride..].as_ptr());
                let mut exits = [[0; LANES]; TOGETHER];
                for (exits, slots) in exits.iter_mut().zip(slots) {
                    // SAFETY: a row's slots are at least 256.
                    *exits = unsafe { self.exits::<M>(stand, slots) };
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

    /// One row through all stands.
    #[inline(always)]
    unsafe fn walk_alone<M: Tops>(&self, slots: *const u8, sums: &mut [T]) {
        let mut first = 0;
        let groups = sums.len();
        for stand in &self.stands.stands {
            // SAFETY: the row's slots are filled, and at least 256.
            unsafe {
                let exits = [self.exits::<M>(stand, slots)];
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
