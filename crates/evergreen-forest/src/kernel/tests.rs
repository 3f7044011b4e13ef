//! Compares every kernel with the scalar reference, bit by bit, on random forests and rows.

use crate::builder::{EnsembleBuilder, EnsembleSettings, Node};
use crate::ensemble::{CodeRule, Ensemble, InputRule, MarginRule, SplitTest, ThresholdRule};
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

/// A forest of stumps whose features have so many thresholds: 0, 1, 2 and so on.
fn stumps<T: KernelFloat>(thresholds: &[u16]) -> Ensemble<T> {
    let mut builder = EnsembleBuilder::new(ThresholdRule::Less, CodeRule::NonNegative, InputRule::AsIs);
    let splits = (0u32..)
        .zip(thresholds)
        .flat_map(|(feature, count)| (0..*count).map(move |at| (feature, at)));
    for (tree, (feature, threshold)) in splits.enumerate() {
        let values = [T::ZERO, T::cast(f64::from(threshold) + 1.0)];
        let leaf = |at: usize| Node::Leaf {
            id: 0,
            value: &values[at..=at],
            cover: T::ZERO,
        };
        let split = || Node::Split {
            feature,
            test: SplitTest::Threshold(T::cast(f64::from(threshold))),
            missing_left: true,
            zero_missing: false,
            left: 1,
            right: 2,
            cover: T::ZERO,
            gain: T::ZERO,
        };
        let node = |node| Ok(if node == 0 { split() } else { leaf(node - 1) });
        builder.tree(3, node).unwrap();
        builder.group(tree, 0);
    }
    let settings = EnsembleSettings {
        features: thresholds.len(),
        groups: 1,
        base: vec![T::ZERO],
        finish: MarginRule::None,
    };
    builder.finish(settings).unwrap().ensemble
}

fn agree_on_stumps<T: KernelFloat>(few: u16, many: u16) {
    let ensemble = stumps::<T>(&[few, many]);
    let rows: Vec<T> = (0..=many)
        .step_by(9)
        .chain([many])
        .flat_map(|at| {
            [
                T::cast(f64::from(at % (few + 1)) - 0.5),
                T::cast(f64::from(at) - 0.5),
            ]
        })
        .collect();
    let expected = reference(&ensemble, &rows, rows.len() / 2);
    for name in KernelName::ALL.into_iter().filter(|name| name.available()) {
        let kernel = Kernel::of(name, &ensemble).unwrap();
        let found = difference(
            &kernel,
            &ensemble,
            &rows,
            &expected,
            &mut KernelScratch::default(),
        );
        assert_eq!(found, None, "{name}, {few} and {many} thresholds");
    }
}

#[test]
fn agree_on_features_with_many_thresholds_after_one_with_few() {
    for few in [1, 8, 9, 17, 72, 73] {
        for many in [255, 256, 273, 300, 530] {
            agree_on_stumps::<f32>(few, many);
            agree_on_stumps::<f64>(few, many);
        }
    }
}
