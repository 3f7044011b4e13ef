//! The bin of a number among sorted thresholds, sixteen comparisons at a time.

use crate::ensemble::ThresholdRule;
use crate::kernel::KernelFloat;
use crate::kernel::isa::Isa;

/// Thresholds that are compared at once.
pub(super) const BLOCK: usize = 16;

/// Thresholds that are compared at once where there are few.
pub(super) const HALF: usize = BLOCK / 2;

/// Pivots beyond which they are halved instead of counted.
const MANY: usize = 8 * BLOCK;

/// Where one feature's thresholds lie: blocks padded with NaN, which no number passes, and the last threshold of
/// every block but the last one as pivots, in blocks of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThresholdSearch {
    blocks: u32,
    pivots: u32,
    pivot_blocks: u32,
    pivot_count: u32,
}

impl ThresholdSearch {
    /// Lays thresholds out at the end of `into`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer thresholds than splits, which are u32"
    )]
    pub(super) fn new<T: KernelFloat>(thresholds: &[T], into: &mut Vec<T>) -> Self {
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
    ///
    /// # Safety
    /// This is such a machine.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a block is sixteen")]
    pub(super) unsafe fn bin<T: KernelFloat, M: Isa>(
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
                // SAFETY: the caller vouches for the machine.
                passed +=
                    unsafe { M::count_passed(comparison, block(all, self.pivots as usize + at * BLOCK), x) };
            }
            passed
        };
        let at = self.blocks as usize + passed as usize * BLOCK;
        // SAFETY: the caller vouches for the machine.
        passed * BLOCK as u32 + unsafe { M::count_passed(comparison, block(all, at), x) }
    }

    /// Where its thresholds begin, in ascending order.
    pub(super) fn first(&self) -> usize {
        self.blocks as usize
    }

    /// The bins of many numbers; the loop for the usual numbers of thresholds does nothing twice.
    ///
    /// # Safety
    /// This is such a machine, and `all` is what the thresholds were laid out in.
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
        // SAFETY: a block of pivots is followed by as many blocks as pivots, and one more; the caller vouches for the
        // machine.
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

    /// The number of pivots passed, where there are many.
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

/// Lays at most `N · (N + 1)` thresholds out for [`two_blocks`]: one block of pivots, the last threshold of every block
/// but the last; then the blocks. All are padded with NaN.
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
    // A search always reads one.
    if thresholds.is_empty() {
        add(&mut std::iter::empty());
    }
    u32::try_from(at).ok()
}

/// How many thresholds `x` has passed, of those laid out by [`lay_out`].
///
/// # Safety
/// This is such a machine, and `pivots` were laid out so, with at most 255 thresholds.
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

/// How many of a block's thresholds `x` has passed, on any machine.
#[inline(always)]
pub(super) fn count<T: KernelFloat>(comparison: ThresholdRule, block: &[T], x: T) -> u32 {
    match comparison {
        ThresholdRule::Less => block.iter().map(|threshold| u32::from(*threshold <= x)).sum(),
        ThresholdRule::LessEqual => block.iter().map(|threshold| u32::from(*threshold < x)).sum(),
    }
}
