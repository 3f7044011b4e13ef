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
        let first = KernelName::WALKS
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
    let candidates = KernelName::WALKS.into_iter();
    let candidates = candidates.filter_map(|name| Kernel::of(name, ensemble));
    let timed = candidates.map(|kernel| (tuner.single(&kernel), kernel));
    let best = timed.min_by_key(|(time, _)| *time);
    let (time, mut kernel) = best.unwrap_or_else(|| (Duration::MAX, Kernel::reference()));
    let Some(bit_sliced) = BitSlicedKernel::new(ensemble) else {
        return kernel;
    };
    // Rows evaluated side by side cost less than single ones.
    let each = (tuner.many(&kernel, ROWS / 4).as_nanos() / (ROWS as u128 / 4))
        .min(time.as_nanos() / SINGLE as u128)
        .max(1);
    let from = |block: Duration| usize::try_from(block.as_nanos().div_ceil(each)).unwrap_or(usize::MAX);
    kernel.bit_sliced = Some((bit_sliced, BreakEven::ALWAYS));
    let small = from(tuner.many(&kernel, 64));
    let large = from(tuner.many(&kernel, ROWS));
    // Prefer two small blocks to one large block where they are faster.
    let large = large.max(small.saturating_mul(2).min(ROWS));
    let worth = small <= 64 || large <= ROWS;
    kernel.bit_sliced = kernel
        .bit_sliced
        .filter(|_| worth)
        .map(|(bit_sliced, _)| (bit_sliced, BreakEven { small, large }));
    kernel
}

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
