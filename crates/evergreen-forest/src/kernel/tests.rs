//! Compares every kernel with the scalar reference, bit by bit, on random forests and rows.

use crate::builder::{EnsembleBuilder, EnsembleSettings, Node};
use crate::ensemble::{CodeRule, Ensemble, InputRule, MarginRule, SplitTest, ThresholdRule};
use crate::kernel::KernelFloat;
use crate::kernel::{Kernel, KernelName, KernelScratch, scalar};

/// A random generator (splitmix64) with a fixed seed, so that failures can be reproduced.
struct RandomSource(u64);

impl RandomSource {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

/// The parameters of a random forest.
#[derive(Clone, Copy, Debug)]
struct ForestShape {
    trees: usize,
    leaves: usize,
    /// The longest path.
    depth: usize,
    features: usize,
    groups: usize,
    /// Distinct thresholds per feature.
    thresholds: usize,
    /// The share of categorical splits, in eighths.
    categorical: usize,
    /// Every third tree has four leaves or fewer.
    uneven: bool,
    /// All splits of a level are equal, and trees are complete.
    symmetric: bool,
    /// Splits may count zero as missing, or test only for missing.
    special: bool,
    comparison: ThresholdRule,
    codes: CodeRule,
}

const PLAIN: ForestShape = ForestShape {
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
    comparison: ThresholdRule::Less,
    codes: CodeRule::NonNegative,
};

/// A node of a random tree: a leaf, or a split with its children.
type RandomNode = Option<(usize, usize)>;

/// Draws a tree of up to `shape.leaves` leaves by splitting leaves at random.
fn draw(random: &mut RandomSource, shape: &ForestShape) -> Vec<RandomNode> {
    let mut nodes: Vec<RandomNode> = vec![None];
    let mut open = vec![(0, 0)];
    let mut leaves = 1;
    while leaves < shape.leaves && !open.is_empty() {
        let (node, depth) = open.swap_remove(if shape.symmetric {
            0
        } else {
            random.below(open.len())
        });
        if depth == shape.depth {
            continue;
        }
        let first = nodes.len();
        nodes.extend([None, None]);
        nodes[node] = Some((first, first + 1));
        open.extend([(first, depth + 1), (first + 1, depth + 1)]);
        leaves += 1;
    }
    nodes
}

/// A node's test, feature, `missing_left` and `zero_missing`, and its value as a leaf.
type NodeSpec<T> = (SplitTest<T>, usize, bool, bool, [T; 1]);

/// Returns the depth of each node. Children come after their parents.
fn levels(nodes: &[RandomNode]) -> Vec<usize> {
    let mut levels = vec![0; nodes.len()];
    for (node, children) in nodes.iter().enumerate() {
        if let Some((left, right)) = children {
            levels[*left] = levels[node] + 1;
            levels[*right] = levels[node] + 1;
        }
    }
    levels
}

/// Returns the k-th threshold of every feature. A few are special.
fn threshold<T: KernelFloat>(k: usize) -> T {
    match k {
        0 => T::cast(f32::INFINITY),
        1 => T::cast(0f32),
        2 => T::cast(-0f32),
        3 => T::cast(f32::NEG_INFINITY),
        _ => T::cast((k as f64 - 60.0) * 0.37),
    }
}

fn forest<T: KernelFloat>(random: &mut RandomSource, shape: &ForestShape) -> Ensemble<T> {
    let mut builder = EnsembleBuilder::new(shape.comparison, shape.codes, InputRule::AsIs);
    for tree in 0..shape.trees {
        let few = 1 + tree % 4;
        let of_tree = ForestShape {
            leaves: if shape.uneven && tree % 3 == 0 {
                few
            } else {
                shape.leaves
            },
            ..*shape
        };
        let nodes = draw(random, &of_tree);
        let levels = levels(&nodes);
        let mut tests: Vec<NodeSpec<T>> = Vec::new();
        for node in 0..nodes.len() {
            let test = if random.below(8) < shape.categorical {
                let members = (0..1 + random.below(6)).map(|_| u32::try_from(random.below(70)).unwrap());
                builder.set(members.collect()).unwrap()
            } else if shape.special && random.below(9) == 0 {
                SplitTest::Missing
            } else {
                SplitTest::Threshold(threshold(random.below(shape.thresholds)))
            };
            let zero_missing = shape.special && !matches!(test, SplitTest::Member(_)) && random.below(2) == 0;
            let value = T::cast(random.below(1 << 20) as f64 / 3e5 - 1.7);
            let feature = random.below(shape.features);
            let same = (0..node).find(|other| shape.symmetric && levels[*other] == levels[node]);
            tests.push(match same.map(|other| tests[other]) {
                Some((test, feature, missing_left, zero_missing, _)) => {
                    (test, feature, missing_left, zero_missing, [value])
                }
                None => (test, feature, random.below(2) == 0, zero_missing, [value]),
            });
        }
        builder
            .tree(nodes.len(), |node| {
                let (test, feature, missing_left, zero_missing, value) = &tests[node];
                Ok(match nodes[node] {
                    None => Node::Leaf {
                        id: 0,
                        value,
                        cover: T::ZERO,
                    },
                    Some((left, right)) => Node::Split {
                        feature: u32::try_from(*feature).unwrap(),
                        test: *test,
                        missing_left: *missing_left,
                        zero_missing: *zero_missing,
                        left,
                        right,
                        cover: T::ZERO,
                        gain: T::ZERO,
                    },
                })
            })
            .unwrap();
        builder.group(tree, u32::try_from(tree % shape.groups).unwrap());
    }
    let rest = EnsembleSettings {
        features: shape.features,
        groups: shape.groups,
        base: vec![T::cast(0.5); shape.groups],
        finish: MarginRule::None,
    };
    builder.finish(rest).unwrap().ensemble
}

/// Draws a number that is likely to expose a difference between kernels.
fn number<T: KernelFloat>(random: &mut RandomSource, shape: &ForestShape) -> T {
    let near = threshold::<f32>(random.below(shape.thresholds));
    match random.below(12) {
        0 => T::cast(f32::NAN),
        1 => T::cast(-f32::NAN),
        2 => T::cast(-0f32),
        3 => T::cast(f32::INFINITY),
        4 => T::cast(f32::NEG_INFINITY),
        5 => T::cast(near.next_up()),
        6 => T::cast(near.next_down()),
        7 => threshold(random.below(shape.thresholds)),
        8 => T::cast(random.below(80) as f64),
        9 => T::cast(random.below(80) as f64 - 0.5),
        10 => T::cast([1e-35f32, -1e-36, 16_777_216.0, 3e9, -1.0, f32::MIN_POSITIVE][random.below(6)]),
        _ => T::cast(random.below(1 << 20) as f64 / 1e4 - 50.0),
    }
}

fn agree_in<T: KernelFloat>(shape: &ForestShape, must: bool) {
    let mut random = RandomSource(shape.trees as u64 * 31 + shape.leaves as u64);
    let ensemble = forest::<T>(&mut random, shape);
    for name in KernelName::ALL.into_iter().filter(|name| name.available()) {
        let Some(kernel) = Kernel::of(name, &ensemble) else {
            let large = name == KernelName::BitSliced && shape.leaves > 256;
            assert!(!must || large, "{name} does not take {shape:?}");
            continue;
        };
        let mut work = KernelScratch::default();
        for rows in [1, 2, 5, 64, 67, 160, 257] {
            let values: Vec<T> = (0..rows * shape.features)
                .map(|_| number(&mut random, shape))
                .collect();
            let mut expected = vec![T::cast(0.25); rows * shape.groups];
            let mut sums = expected.clone();
            scalar::add_leaves(&ensemble, &values, &mut expected);
            kernel.add_leaves(&ensemble, &values, &mut sums, &mut work);
            for (at, (sum, expected)) in sums.iter().zip(&expected).enumerate() {
                let (sum, expected) = (sum.to_f64().to_bits(), expected.to_f64().to_bits());
                assert_eq!(sum, expected, "{name}, {shape:?}, number {at} of {rows} rows");
            }
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
