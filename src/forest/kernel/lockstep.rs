//! Ranked trees on any machine: the tops are walked eight trees abreast, without branches.

use super::super::ensemble::Ensemble;
use super::super::number::Real;
use super::ranked::{Ranked, Work};
use super::search;
use super::stand::{ABREAST, LANES, Line};
use super::tail::Exits;

/// Adds the leaves that each row reaches to its sums.
pub(super) fn add_leaves<T: Real>(
    ranked: &Ranked<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Work,
) {
    let comparison = ranked.ranker.comparison();
    // SAFETY: `top` gives 2^levels exits at most.
    unsafe {
        ranked.add_leaves(
            ensemble,
            rows,
            sums,
            work,
            |block, x| search::count(comparison, block, x),
            |lines, levels, slots| top(lines, levels, slots),
        );
    }
}

/// The exits of a stand's top.
#[inline(always)]
fn top(lines: &[Line], levels: usize, slots: *const u8) -> Exits {
    let mut exits = [0u8; LANES];
    // SAFETY: a row has at least as many slots as a byte can name.
    let slots = unsafe { &*slots.cast::<[u8; 256]>() };
    for lane in (0..LANES).step_by(ABREAST) {
        let mut place = [1usize; ABREAST];
        for _ in 0..levels {
            for (at, place) in place.iter_mut().enumerate() {
                let line = &lines[*place - 1];
                let right = slots[usize::from(line.slots[lane + at])] > line.ranks[lane + at];
                *place = 2 * *place + usize::from(right);
            }
        }
        for (exit, place) in exits[lane..].iter_mut().zip(place) {
            #[expect(clippy::cast_possible_truncation, reason = "a top has at most eight levels")]
            let below = (place - (1 << levels)) as u8;
            *exit = below;
        }
    }
    exits
}
