//! Searches the bin of a number among sorted thresholds, sixteen comparisons at a time.

use crate::ensemble::ThresholdRule;
use crate::kernel::KernelFloat;
use crate::kernel::isa::Isa;

/// Thresholds compared at once.
pub(super) const BLOCK: usize = 16;

/// Thresholds compared at once where there are few.
pub(super) const HALF: usize = BLOCK / 2;

/// Beyond this many pivots, a binary search replaces counting.
const MANY: usize = 8 * BLOCK;

/// The position of one feature's thresholds: blocks padded with NaN, which no number passes. The last
/// threshold of every block but the last is a pivot; pivots are in blocks of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThresholdSearch {
    blocks: u32,
    pivots: u32,
    pivot_blocks: u32,
    pivot_count: u32,
}

impl ThresholdSearch {
    /// Appends thresholds to `into`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer thresholds than splits, which are u32"
    )]
    pub(crate) fn new<T: KernelFloat>(thresholds: &[T], into: &mut Vec<T>) -> Self {
        let pivots_at = into.len();
        // Other searches, whose blocks are shorter, may come before: the length need not be a multiple of `BLOCK`.
        let pad = |into: &mut Vec<T>| {
            let own = into.len() - pivots_at;
            into.resize(pivots_at + own.next_multiple_of(BLOCK), T::cast(f32::NAN));
        };
        let pivots: Vec<T> = thresholds
            .chunks_exact(BLOCK)
            .map(|block| block[BLOCK - 1])
            .collect();
        let count = thresholds.len().div_ceil(BLOCK).saturating_sub(1);
        let pivots = &pivots[..count];
        into.extend_from_slice(pivots);
        pad(into);
        let blocks = into.len();
        into.extend_from_slice(thresholds);
        // A search always reads a block.
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

    /// Returns the count of thresholds that `x` has passed.
    ///
    /// # Safety
    /// The CPU supports `M`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a block is sixteen")]
    pub(crate) unsafe fn bin<T: KernelFloat, M: Isa>(
        &self,
        all: &[T],
        comparison: ThresholdRule,
        x: T,
    ) -> u32 {
        let passed = if self.pivot_count as usize > MANY {
            self.halve(all, comparison, x)
        } else {
            let mut passed = 0;
            for at in 0..self.pivot_blocks as usize {
                // SAFETY: the caller guarantees the ISA.
                passed +=
                    unsafe { M::count_passed(comparison, block(all, self.pivots as usize + at * BLOCK), x) };
            }
            passed
        };
        let at = self.blocks as usize + passed as usize * BLOCK;
        // SAFETY: the caller guarantees the ISA.
        passed * BLOCK as u32 + unsafe { M::count_passed(comparison, block(all, at), x) }
    }

    /// Returns the position of the first threshold. They are ascending.
    pub(super) fn first(&self) -> usize {
        self.blocks as usize
    }

    /// Computes the bins of many numbers, with special loops for few thresholds.
    ///
    /// # Safety
    /// The CPU supports `M`, and `all` is the array that holds the thresholds.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a block is sixteen")]
    pub(super) unsafe fn bins<T: KernelFloat, M: Isa>(
        &self,
        all: &[T],
        comparison: ThresholdRule,
        numbers: &[T],
        bins: &mut [u32],
    ) {
        let pairs = numbers.iter().zip(bins);
        // SAFETY: one more block than there are pivots follows the pivots; the caller guarantees the ISA.
        unsafe {
            let blocks = all.as_ptr().add(self.blocks as usize).cast::<[T; BLOCK]>();
            match self.pivot_blocks {
                0 => {
                    for (x, bin) in pairs {
                        *bin = M::count_passed(comparison, &*blocks, *x);
                    }
                }
                1 => {
                    let pivots = &*all.as_ptr().add(self.pivots as usize).cast::<[T; BLOCK]>();
                    for (x, bin) in pairs {
                        let passed = M::count_passed(comparison, pivots, *x);
                        let block = &*blocks.add(passed as usize);
                        *bin = passed * BLOCK as u32 + M::count_passed(comparison, block, *x);
                    }
                }
                _ => {
                    for (x, bin) in pairs {
                        *bin = self.bin::<T, M>(all, comparison, *x);
                    }
                }
            }
        }
    }

    /// Returns the count of passed pivots by binary search.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer thresholds than splits, which are u32"
    )]
    fn halve<T: KernelFloat>(&self, all: &[T], comparison: ThresholdRule, x: T) -> u32 {
        let pivots = &all[self.pivots as usize..][..self.pivot_count as usize];
        pivots.partition_point(|pivot| match comparison {
            ThresholdRule::Less => *pivot <= x,
            ThresholdRule::LessEqual => *pivot < x,
        }) as u32
    }
}

/// Appends at most `N · (N + 1)` thresholds for [`two_blocks`]: one block of pivots (the last threshold of
/// every block but the last), then the blocks, all padded with NaN.
#[cfg(target_arch = "x86_64")]
pub(super) fn lay_out<T: KernelFloat, const N: usize>(thresholds: &[T], into: &mut Vec<T>) -> Option<u32> {
    let at = into.len();
    let mut add = |block: &mut dyn Iterator<Item = T>| {
        into.extend(block.chain(std::iter::repeat(T::cast(f32::NAN))).take(N));
    };
    let pivots = thresholds.len().div_ceil(N).saturating_sub(1);
    debug_assert!(pivots <= N, "one block of pivots");
    add(&mut thresholds.chunks_exact(N).take(pivots).map(|block| block[N - 1]));
    for block in thresholds.chunks(N) {
        add(&mut block.iter().copied());
    }
    // A search always reads a block.
    if thresholds.is_empty() {
        add(&mut std::iter::empty());
    }
    u32::try_from(at).ok()
}

/// Returns the count of thresholds that `x` has passed, of those written by [`lay_out`].
///
/// # Safety
/// The CPU supports `M`. `pivots` points at at most 255 thresholds written by [`lay_out`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 255 thresholds")]
pub(super) unsafe fn two_blocks<T: KernelFloat, M: Isa, const N: usize>(
    pivots: *const T,
    comparison: ThresholdRule,
    x: T,
) -> u8 {
    // SAFETY: one more block than there are pivots follows them.
    unsafe {
        let blocks = pivots.cast::<[T; N]>();
        let passed = M::count_passed(comparison, &*blocks, x) as usize;
        let block = &*blocks.add(1 + passed);
        (passed * N) as u8 + M::count_passed(comparison, block, x) as u8
    }
}

#[inline(always)]
fn block<T>(all: &[T], at: usize) -> &[T; BLOCK] {
    match all[at..].first_chunk() {
        Some(block) => block,
        None => unreachable!("blocks are padded to their full length"),
    }
}

/// Counts the thresholds of a block that `x` has passed, in plain Rust.
#[inline(always)]
pub(super) fn count<T: KernelFloat>(comparison: ThresholdRule, block: &[T], x: T) -> u32 {
    match comparison {
        ThresholdRule::Less => block.iter().map(|threshold| u32::from(*threshold <= x)).sum(),
        ThresholdRule::LessEqual => block.iter().map(|threshold| u32::from(*threshold < x)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::isa::portable::Portable;

    #[test]
    fn a_bin_counts_the_passed_thresholds_wherever_they_are_stored() {
        for count in [0u16, 1, 15, 16, 17, 40, 255, 256, 300, 600, 2100] {
            let thresholds: Vec<f32> = (0..count).map(f32::from).collect();
            // After the blocks of other searches.
            for before in [0, HALF, BLOCK, 3 * HALF] {
                let mut all = vec![f32::NAN; before];
                let search = ThresholdSearch::new(&thresholds, &mut all);
                for x in (0..count)
                    .map(f32::from)
                    .chain([-1.0, f32::from(count), f32::INFINITY])
                {
                    for x in [x, x - 0.5] {
                        // SAFETY: every CPU supports plain Rust.
                        let bin = unsafe { search.bin::<f32, Portable>(&all, ThresholdRule::Less, x) };
                        let passed = thresholds.partition_point(|threshold| *threshold <= x);
                        assert_eq!(bin as usize, passed, "{x} of {count} thresholds after {before}");
                    }
                }
            }
        }
    }
}
