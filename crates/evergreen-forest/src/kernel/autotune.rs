//! Chooses the fastest kernel for a model: every candidate predicts the same generated rows and is timed.
//!
//! All kernels give the same bits, so a wrong choice on a busy machine costs time and nothing else.

use std::time::{Duration, Instant};

use crate::ensemble::{Ensemble, SplitTest};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::BitSlicedKernel;
use crate::kernel::{BreakEven, Kernel, KernelName, KernelScratch};

/// Generated rows: one large block.
const ROWS: usize = 256;

/// Most numbers to generate. A larger model gets the first kernel that can evaluate it.
const NUMBERS: usize = 1 << 24;

/// Rows predicted one by one in a timing.
const SINGLE: usize = 32;

/// Repetitions of a timing; the shortest counts.
const TURNS: usize = 3;

/// Returns the fastest kernel for single rows, with the bit-sliced kernel for many rows if it is faster.
pub(super) fn choose<T: KernelFloat>(ensemble: &Ensemble<T>) -> Kernel<T> {
    if ensemble.features.max(ensemble.groups).saturating_mul(ROWS) > NUMBERS {
        let first = KernelName::ROW_KERNELS
            .into_iter()
            .rev()
            .find_map(|name| Kernel::of(name, ensemble));
        return first.unwrap_or_else(Kernel::reference);
    }
    let rows = rows(ensemble);
    let mut tuner = Autotuner {
        ensemble,
        rows: &rows,
        sums: vec![T::ZERO; ROWS * ensemble.groups],
        work: KernelScratch::default(),
    };
    let candidates = KernelName::ROW_KERNELS.into_iter();
    let candidates = candidates.filter_map(|name| Kernel::of(name, ensemble));
    let timed = candidates.map(|kernel| (tuner.single(&kernel), kernel));
    let best = timed.min_by_key(|(time, _)| *time);
    let (time, mut kernel) = best.unwrap_or_else(|| (Duration::MAX, Kernel::reference()));
    let Some(bit_sliced) = BitSlicedKernel::new(ensemble) else {
        return kernel;
    };
    // Rows evaluated side by side cost less than single ones.
    let each = (tuner.many(&kernel, ROWS / 4) / (ROWS as u32 / 4)).min(time / SINGLE as u32);
    kernel.bit_sliced = Some((bit_sliced, BreakEven::ALWAYS));
    let (small, large) = (tuner.many(&kernel, 64), tuner.many(&kernel, ROWS));
    let even = break_even(each, small, large);
    kernel.bit_sliced = kernel
        .bit_sliced
        .and_then(|(bit_sliced, _)| Some((bit_sliced, even?)));
    kernel
}

/// Returns the fewest rows for which a block of 64 and a block of [`ROWS`] pay off, given the times of one row and of
/// each block. Returns `None` if neither pays off when full.
fn break_even(row: Duration, small: Duration, large: Duration) -> Option<BreakEven> {
    let each = row.as_nanos().max(1);
    let rows = |block: Duration| usize::try_from(block.as_nanos().div_ceil(each)).unwrap_or(usize::MAX);
    let (small, large) = (rows(small), rows(large));
    // Prefer two small blocks to one large block where they are faster.
    let large = large.max(small.saturating_mul(2).min(ROWS));
    (small <= 64 || large <= ROWS).then_some(BreakEven { small, large })
}

/// Times kernels on generated rows.
struct Autotuner<'a, T> {
    ensemble: &'a Ensemble<T>,
    rows: &'a [T],
    sums: Vec<T>,
    work: KernelScratch,
}

impl<T: KernelFloat> Autotuner<'_, T> {
    /// Times `SINGLE` predictions of one row.
    fn single(&mut self, kernel: &Kernel<T>) -> Duration {
        self.time(|tuner| {
            let rows = tuner.rows.chunks_exact(tuner.ensemble.features);
            let sums = tuner.sums.chunks_exact_mut(tuner.ensemble.groups);
            for (row, sums) in rows.zip(sums).take(SINGLE) {
                kernel.add_leaves(tuner.ensemble, row, sums, &mut tuner.work);
            }
        })
    }

    /// Times one prediction of `count` rows.
    fn many(&mut self, kernel: &Kernel<T>, count: usize) -> Duration {
        self.time(|tuner| {
            let rows = &tuner.rows[..count * tuner.ensemble.features];
            let sums = &mut tuner.sums[..count * tuner.ensemble.groups];
            kernel.add_leaves(tuner.ensemble, rows, sums, &mut tuner.work);
        })
    }

    fn time(&mut self, run: impl Fn(&mut Self)) -> Duration {
        // The first run grows the working memory.
        run(self);
        let turns = (0..TURNS).map(|_| {
            let start = Instant::now();
            run(self);
            start.elapsed()
        });
        turns.min().unwrap_or(Duration::MAX)
    }
}

/// Generates rows that reach many leaves: numbers are thresholds of the model, one in twenty is missing.
fn rows<T: KernelFloat>(ensemble: &Ensemble<T>) -> Vec<T> {
    let mut numbers: Vec<Vec<T>> = vec![Vec::new(); ensemble.features];
    for split in &ensemble.splits {
        if let (SplitTest::Threshold(threshold), Some(numbers)) =
            (split.test, numbers.get_mut(split.feature as usize))
        {
            numbers.push(threshold);
        }
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |count: usize| {
        // Knuth's MMIX generator; only the upper bits are used.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % count
    };
    let mut rows = Vec::with_capacity(ROWS * ensemble.features);
    for _ in 0..ROWS {
        for numbers in &numbers {
            let x = if below(20) == 0 {
                T::cast(f32::NAN)
            } else if numbers.is_empty() {
                // A feature without thresholds may be a category.
                T::cast(below(64) as f64)
            } else {
                numbers[below(numbers.len())]
            };
            rows.push(x);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(row: u64, small: u64, large: u64) -> Option<(usize, usize)> {
        let [row, small, large] = [row, small, large].map(Duration::from_nanos);
        break_even(row, small, large).map(|even| (even.small, even.large))
    }

    #[test]
    fn blocks_pay_off_from_their_cost_in_rows() {
        assert_eq!(even(10, 301, 2000), Some((31, 200)));
    }

    #[test]
    fn two_small_blocks_are_preferred_to_a_large_one() {
        assert_eq!(even(10, 300, 400), Some((30, 60)));
    }

    #[test]
    fn one_block_may_pay_off_alone() {
        assert_eq!(even(10, 6410, 2000), Some((641, 256)));
        assert_eq!(even(10, 640, 9000), Some((64, 900)));
    }

    #[test]
    fn blocks_that_never_pay_off_are_not_used() {
        assert_eq!(even(10, 650, 2570), None);
    }

    #[test]
    fn a_row_too_fast_for_the_clock_is_a_nanosecond() {
        assert_eq!(even(0, 20, 100), Some((20, 100)));
    }
}
