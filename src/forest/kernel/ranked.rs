//! A model's trees over ranks, and the way of a row through them that all such kernels share.

use super::super::ensemble::Ensemble;
use super::super::number::Real;
use super::ask::Readings;
use super::ranker::Ranker;
use super::search::BLOCK;
use super::slots::Slots;
use super::stand::{Line, Stands};
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

/// Working memory: the slots of some rows.
#[derive(Debug, Default)]
pub(crate) struct Work {
    slots: Vec<u8>,
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
    /// `count` tells how many of a block's thresholds a number has passed; `top` walks a stand's top.
    ///
    /// # Safety
    /// `top` gives exits below `2^levels` for the lanes that have trees; it may rely on 256 readable slots.
    #[inline(always)]
    pub(super) unsafe fn add_leaves(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        work: &mut Work,
        count: impl Fn(&[T; BLOCK], T) -> u32 + Copy,
        top: impl Fn(&[Line], usize, *const u8) -> Exits + Copy,
    ) {
        let (features, groups) = (ensemble.features, ensemble.groups);
        let at_once = (FILLED / self.stride).max(TOGETHER);
        let needed = self.stride * at_once.min(rows.len() / features);
        if work.slots.len() < needed {
            work.slots.resize(needed, 0);
        }
        let rows = rows.chunks(at_once * features);
        for (rows, sums) in rows.zip(sums.chunks_mut(at_once * groups)) {
            let into = work.slots.chunks_exact_mut(self.stride);
            for (row, into) in rows.chunks_exact(features).zip(into) {
                self.ranker.fill(row, into, count);
            }
            let count = rows.len() / features;
            // SAFETY: so many rows' slots have just been filled.
            unsafe { self.walk(&work.slots[..count * self.stride], sums, groups, top) };
        }
    }

    #[inline(always)]
    unsafe fn walk(
        &self,
        slots: &[u8],
        sums: &mut [T],
        groups: usize,
        top: impl Fn(&[Line], usize, *const u8) -> Exits + Copy,
    ) {
        let mut first = 0;
        for stand in &self.stands.stands {
            let lines = &self.stands.lines[stand.top..];
            let mut together = slots.chunks_exact(TOGETHER * self.stride);
            let mut of_rows = sums.chunks_exact_mut(TOGETHER * groups);
            for (slots, sums) in together.by_ref().zip(of_rows.by_ref()) {
                let slots: [*const u8; TOGETHER] =
                    std::array::from_fn(|row| slots[row * self.stride..].as_ptr());
                let exits = slots.map(|slots| top(lines, stand.levels, slots));
                let mut rows = Rows {
                    slots,
                    exits: &exits,
                    sums,
                    groups,
                };
                // SAFETY: the stand is one of these, and the rows' slots are filled.
                unsafe { tail::add(&self.stands, stand, first, &mut rows) };
            }
            let rest = together.remainder().chunks_exact(self.stride);
            for (slots, sums) in rest.zip(of_rows.into_remainder().chunks_exact_mut(groups)) {
                let slots = [slots.as_ptr()];
                let exits = slots.map(|slots| top(lines, stand.levels, slots));
                let mut rows = Rows {
                    slots,
                    exits: &exits,
                    sums,
                    groups,
                };
                // SAFETY: the stand is one of these, and the row's slots are filled.
                unsafe { tail::add(&self.stands, stand, first, &mut rows) };
            }
            first += stand.trees;
        }
    }
}
