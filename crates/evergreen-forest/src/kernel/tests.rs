//! Compares every kernel with the scalar reference, bit by bit, on random forests and rows.

use crate::ensemble::{CodeRule, ThresholdRule};
use crate::kernel::random_forest::{ForestShape, difference, forest, reference, rows};
use crate::kernel::{Kernel, KernelFloat, KernelName, KernelScratch};
use crate::random_source::RandomSource;

pub(super) const PLAIN: ForestShape = ForestShape {
    trees: 40,
    leaves: 64,
    depth: 6,
    features: 30,
    groups: 1,
    thresholds: 100,
    categorical: 0,
    uneven: false,
    symmetric: false,
    special: false,
    chain: false,
    vectors: false,
    comparison: ThresholdRule::Less,
    codes: CodeRule::NonNegative,
};

fn agree_in<T: KernelFloat>(shape: &ForestShape, must: bool) {
    let mut random = RandomSource(shape.trees as u64 * 31 + shape.leaves as u64);
    let mut choose = |end| random.below(end);
    let ensemble = forest::<T>(&mut choose, shape);
    for name in KernelName::ALL.into_iter().filter(|name| name.available()) {
        let Some(kernel) = Kernel::of(name, &ensemble) else {
            let large = name == KernelName::BitSliced && shape.leaves > 256;
            assert!(!must || large, "{name} does not take {shape:?}");
            continue;
        };
        let mut work = KernelScratch::default();
        for count in [1, 2, 5, 64, 67, 160, 257] {
            let values = rows::<T>(&mut choose, shape, &ensemble, count);
            let expected = reference(&ensemble, &values, count);
            let found = difference(&kernel, &ensemble, &values, &expected, &mut work);
            assert_eq!(found, None, "{name}, {shape:?}, {count} rows");
        }
    }
}

fn agree(shape: ForestShape) {
    for comparison in [ThresholdRule::Less, ThresholdRule::LessEqual] {
        let shape = ForestShape { comparison, ..shape };
        agree_in::<f32>(&shape, true);
        agree_in::<f64>(&shape, true);
    }
}

#[test]
fn agree_on_shapes_at_the_edges() {
    for trees in [1, 7, 8, 31, 32, 33, 65] {
        agree(ForestShape { trees, ..PLAIN });
    }
    for leaves in [1, 2, 3, 63, 64, 65, 255] {
        agree(ForestShape {
            leaves,
            depth: 40,
            ..PLAIN
        });
    }
    for depth in 0..=11 {
        agree(ForestShape {
            depth,
            leaves: 1 << depth,
            trees: 9,
            ..PLAIN
        });
    }
}

#[test]
fn agree_on_unbalanced_trees_beside_others() {
    // Above the columns of the upper levels, up to what a byte can address, and beyond.
    for (leaves, features) in [(64, 30), (64, 110), (200, 120), (256, 30), (257, 30), (100, 140)] {
        agree(ForestShape {
            trees: 37,
            leaves,
            features,
            thresholds: 20,
            depth: 60,
            uneven: true,
            ..PLAIN
        });
    }
    agree(ForestShape {
        chain: true,
        special: true,
        leaves: 41,
        depth: 60,
        ..PLAIN
    });
    let shape = ForestShape {
        categorical: 4,
        features: 12,
        leaves: 64,
        depth: 60,
        uneven: true,
        ..PLAIN
    };
    agree_in::<f32>(&shape, false);
    agree_in::<f64>(&shape, false);
}

#[test]
fn agree_on_symmetric_trees() {
    for depth in 1..=8 {
        agree(ForestShape {
            symmetric: true,
            depth,
            leaves: 1 << depth,
            ..PLAIN
        });
    }
}

#[test]
fn agree_on_many_thresholds_and_features() {
    for thresholds in [1, 7, 8, 9, 15, 16, 17, 71, 72, 73, 254, 255, 256, 257, 600, 5000] {
        agree(ForestShape {
            thresholds,
            features: 2,
            leaves: 255,
            depth: 20,
            trees: 70,
            ..PLAIN
        });
    }
    for features in [1, 7, 8, 15, 16, 63, 64, 65, 127, 128, 129, 2000] {
        agree(ForestShape { features, ..PLAIN });
    }
}

#[test]
fn agree_on_groups_and_special_splits() {
    for groups in [2, 3, 10] {
        agree(ForestShape {
            groups,
            special: true,
            leaves: 31,
            depth: 9,
            ..PLAIN
        });
    }
    agree(ForestShape {
        special: true,
        ..PLAIN
    });
    let vectors = ForestShape {
        groups: 3,
        vectors: true,
        ..PLAIN
    };
    agree_in::<f32>(&vectors, false);
    agree_in::<f64>(&vectors, false);
}

#[test]
fn agree_on_categories() {
    for codes in [
        CodeRule::NonNegative,
        CodeRule::NonNegativeElseMissing,
        CodeRule::Truncated,
    ] {
        for categorical in [1, 4, 8] {
            for trees in [3, 40] {
                let shape = ForestShape {
                    categorical,
                    codes,
                    trees,
                    features: 5,
                    depth: 8,
                    ..PLAIN
                };
                // Kernels may reject a model that is smaller than its category table.
                agree_in::<f32>(&shape, false);
                agree_in::<f64>(&shape, false);
            }
        }
    }
}
