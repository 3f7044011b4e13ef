//! What a fuzzer calls (feature `fuzzing`): whoever chooses the numbers decides shapes, tests, thresholds and rows. The forests are
//! built without a file, so that more of the time goes into the kernels; parsers have targets of their own.

use crate::ensemble::{CodeRule, ThresholdRule};
use crate::kernel::random_forest::{ForestShape, difference, forest, reference, rows};
use crate::kernel::{Kernel, KernelFloat, KernelName, KernelScratch};
pub use crate::random_source::RandomSource;

/// Most leaves of all trees. Small forests are quick, and differ as much.
const MOST_LEAVES: usize = 130;

/// Leaves of the trees of a forest whose few features have more thresholds than a byte counts: as many as every kernel
/// takes.
const MANY_LEAVES: usize = 250;

/// Most paths: trees times rows.
const MOST_PATHS: usize = 300;

/// Compares every kernel with the reference, for a forest and rows that `choose` decides: it returns numbers below its argument,
/// which is at most 2³².
///
/// # Panics
/// A bit differs.
pub fn kernels_agree(mut choose: impl FnMut(usize) -> usize) {
    let shape = shape(&mut choose);
    if choose(2) == 0 {
        agree::<f32>(&shape, &mut choose);
    } else {
        agree::<f64>(&shape, &mut choose);
    }
}

fn one_of<T: Copy>(choose: &mut impl FnMut(usize) -> usize, choices: &[T]) -> T {
    choices[choose(choices.len())]
}

/// Chooses a shape. Large ones are rare, as they are slow.
fn shape(choose: &mut impl FnMut(usize) -> usize) -> ForestShape {
    let groups = one_of(choose, &[1, 1, 1, 1, 1, 2, 3, 4]);
    let leaves = match choose(32) {
        31 => one_of(choose, &[63, 64, 65, 128]),
        30 => one_of(choose, &[16, 31, 32, 33]),
        29 => one_of(choose, &[10, 10, 10, 10, 10, 10, 10, MANY_LEAVES]),
        choice => 1 + choice % 10,
    };
    let trees = match choose(32) {
        31 => one_of(choose, &[31, 32, 33, 65]),
        30 => one_of(choose, &[7, 8, 9, 16]),
        choice => 1 + choice % 4,
    };
    let flags = choose(256);
    let shape = ForestShape {
        trees: trees.min(MOST_LEAVES / leaves).max(1),
        leaves,
        depth: one_of(choose, &[1, 2, 3, 6, 8, 9, 40, 200]),
        features: match choose(32) {
            31 => one_of(choose, &[63, 64, 65, 130]),
            choice => 1 + choice % 9,
        },
        groups,
        thresholds: one_of(choose, &[1, 2, 4, 8, 12, 17, 73, 257]),
        categorical: one_of(choose, &[0, 0, 0, 0, 0, 1, 4, 8]),
        uneven: flags & 1 > 0,
        symmetric: flags & 6 == 6,
        special: flags & 8 > 0,
        vectors: flags & 16 > 0 && groups > 1,
        chain: flags & 192 == 192,
        comparison: if flags & 32 > 0 {
            ThresholdRule::Less
        } else {
            ThresholdRule::LessEqual
        },
        codes: one_of(
            choose,
            &[
                CodeRule::NonNegative,
                CodeRule::NonNegativeElseMissing,
                CodeRule::Truncated,
            ],
        ),
    };
    match leaves {
        MANY_LEAVES => ForestShape {
            trees: 3,
            depth: 40,
            features: 1 + shape.features % 2,
            thresholds: 1000,
            uneven: false,
            symmetric: false,
            chain: false,
            ..shape
        },
        _ => shape,
    }
}

fn agree<T: KernelFloat>(shape: &ForestShape, choose: &mut impl FnMut(usize) -> usize) {
    // One row, a few, and blocks of the kernels with their ends.
    let count = match choose(64) {
        63 => one_of(choose, &[256, 257]),
        62 => one_of(choose, &[63, 64, 65, 130]),
        choice => 1 + choice % 9,
    };
    let ensemble = forest::<T>(choose, shape);
    let count = count.min(MOST_PATHS / shape.trees);
    let values = rows::<T>(choose, shape, &ensemble, count);
    let expected = reference(&ensemble, &values, count);
    for name in KernelName::ALL
        .into_iter()
        .filter(|name| *name != KernelName::Scalar)
    {
        // A kernel need not take every forest.
        if let Some(kernel) = Kernel::of(name, &ensemble) {
            let found = difference(
                &kernel,
                &ensemble,
                &values,
                &expected,
                &mut KernelScratch::default(),
            );
            assert_eq!(found, None, "{name}, {shape:?}, {count} rows");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::ensemble::{Ensemble, SplitTest};

    #[test]
    fn kernels_agree_whatever_is_chosen() {
        for seed in 0..2000u64 {
            let mut random = RandomSource(seed);
            kernels_agree(|end| random.below(end));
        }
    }

    /// The greatest number of thresholds of a feature.
    fn most_thresholds(ensemble: &Ensemble<f32>) -> usize {
        let mut of_features = HashMap::<_, HashSet<_>>::new();
        for split in &ensemble.splits {
            if let SplitTest::Threshold(threshold) = split.test {
                of_features
                    .entry(split.feature)
                    .or_default()
                    .insert(threshold.to_bits());
            }
        }
        of_features.values().map(HashSet::len).max().unwrap_or(0)
    }

    #[test]
    fn every_kernel_gets_features_with_more_thresholds_than_a_byte_counts() {
        let forests = (0..2000u64).map(|seed| {
            let mut random = RandomSource(seed);
            let mut choose = |end| random.below(end);
            let shape = shape(&mut choose);
            forest::<f32>(&mut choose, &shape)
        });
        let many: Vec<_> = forests.filter(|forest| most_thresholds(forest) > 255).collect();
        for name in KernelName::ALL.into_iter().filter(|name| name.available()) {
            let takes = |forest| Kernel::of(name, forest).is_some();
            assert!(many.iter().any(takes), "{name}, {} forests", many.len());
        }
    }
}
