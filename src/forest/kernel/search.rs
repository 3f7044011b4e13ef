//! The rank of a number among sorted thresholds, sixteen comparisons at a time.

use super::super::ensemble::Comparison;
use super::super::number::Real;

/// Thresholds that are compared at once.
pub(super) const BLOCK: usize = 16;

/// Pivots beyond which they are halved instead of counted.
const MANY: usize = 8 * BLOCK;

/// Where one feature's thresholds lie: blocks padded with NaN, which no number passes, and the last threshold of
/// every block but the last one as pivots, in blocks of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    blocks: u32,
    pivots: u32,
    pivot_blocks: u32,
    pivot_count: u32,
}

impl Search {
    /// Lays thresholds out at the end of `into`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer thresholds than splits, which are u32"
    )]
    pub(super) fn new<T: Real>(thresholds: &[T], into: &mut Vec<T>) -> Self {
        let pad = |into: &mut Vec<T>| into.resize(into.len().next_multiple_of(BLOCK), T::cast(f32::NAN));
        let pivots: Vec<T> = thresholds
            .chunks_exact(BLOCK)
            .map(|block| block[BLOCK - 1])
            .collect();
        let count = thresholds.len().div_ceil(BLOCK).saturating_sub(1);
        let pivots = &pivots[..count];
        let pivots_at = into.len();
        into.extend_from_slice(pivots);
        pad(into);
        let blocks = into.len();
        into.extend_from_slice(thresholds);
        // At least one block: a search always reads one.
        if thresholds.is_empty() {
            into.push(T::cast(f32::NAN));
        }
        pad(into);
        Self {
            blocks: blocks as u32,
            pivots: pivots_at as u32,
            pivot_blocks: ((blocks - pivots_at) / BLOCK) as u32,
            pivot_count: count as u32,
        }
    }

    /// How many thresholds `x` has passed.
    #[inline(always)]
    pub(super) fn rank<T: Real>(&self, all: &[T], x: T, count: impl Fn(&[T; BLOCK], T) -> u32 + Copy) -> u32 {
        let block = if self.pivot_count as usize > MANY {
            self.halve(all, x, count)
        } else {
            let mut passed = 0;
            for at in 0..self.pivot_blocks as usize {
                passed += count(block(all, self.pivots as usize + at * BLOCK), x);
            }
            passed
        };
        let at = self.blocks as usize + block as usize * BLOCK;
        block * BLOCK as u32 + count(self::block(all, at), x)
    }

    /// The number of pivots passed, where there are many.
    #[cold]
    fn halve<T: Real>(&self, all: &[T], x: T, count: impl Fn(&[T; BLOCK], T) -> u32) -> u32 {
        let (mut low, mut high) = (0, self.pivot_blocks as usize - 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            let here = block(all, self.pivots as usize + middle * BLOCK);
            if count(here, x) as usize == BLOCK {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low as u32 * BLOCK as u32 + count(block(all, self.pivots as usize + low * BLOCK), x)
    }
}

#[inline(always)]
fn block<T>(all: &[T], at: usize) -> &[T; BLOCK] {
    match all[at..].first_chunk() {
        Some(block) => block,
        None => unreachable!("blocks are padded to their full length"),
    }
}

/// How many of a block's thresholds `x` has passed, on any machine.
#[inline(always)]
pub(super) fn count<T: Real>(comparison: Comparison, block: &[T; BLOCK], x: T) -> u32 {
    match comparison {
        Comparison::Less => block.iter().map(|threshold| u32::from(*threshold <= x)).sum(),
        Comparison::LessEqual => block.iter().map(|threshold| u32::from(*threshold < x)).sum(),
    }
}
