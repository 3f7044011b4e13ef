//! Compares the kernels with the `f64` reference on random forests and rows.

use super::lanes::LaneSet;
use super::reference;
use super::tree_shap::{self, ShapPaths};
use super::{ExplainScratch, Explainer, KernelChoice};
use crate::builder::{EnsembleBuilder, EnsembleSettings, Node};
use crate::ensemble::{CodeRule, Ensemble, InputRule, MarginRule, SplitTest, ThresholdRule};
use crate::kernel::{KernelFloat, scalar};
use crate::random_source::RandomSource;

/// The parameters of a random forest.
#[derive(Clone, Copy, Debug)]
struct ForestShape {
    trees: usize,
    /// Splits on the longest path.
    depth: usize,
    /// Most leaves.
    leaves: usize,
    features: usize,
    groups: usize,
    /// A leaf has a number for each group.
    vectors: bool,
    /// All splits of a level are equal, and trees are complete.
    symmetric: bool,
    /// Categories, tests for missing values, and zeros that are missing.
    special: bool,
    /// Every fourth leaf has no training weight.
    empty_leaves: bool,
    /// Added to every leaf.
    offset: f64,
    /// The greatest leaf beside the offset.
    scale: f64,
    comparison: ThresholdRule,
}

const PLAIN: ForestShape = ForestShape {
    trees: 8,
    depth: 6,
    leaves: 64,
    features: 12,
    groups: 1,
    vectors: false,
    symmetric: false,
    special: false,
    empty_leaves: false,
    offset: 0.0,
    scale: 0.1,
    comparison: ThresholdRule::Less,
};

/// A node of a random tree.
#[derive(Clone)]
struct RandomNode<T> {
    children: Option<(usize, usize)>,
    depth: usize,
    feature: usize,
    test: SplitTest<T>,
    missing_left: bool,
    zero_missing: bool,
    value: Vec<T>,
    cover: f64,
}

fn node<T: KernelFloat>(
    random: &mut RandomSource,
    shape: &ForestShape,
    builder: &mut EnsembleBuilder<T>,
    depth: usize,
) -> RandomNode<T> {
    let test = match random.below(6) {
        0 if shape.special => builder
            .set(
                (0..1 + random.below(6))
                    .map(|_| u32::try_from(random.below(40)).unwrap())
                    .collect(),
            )
            .unwrap(),
        1 if shape.special => SplitTest::Missing,
        _ => SplitTest::Threshold(threshold(random)),
    };
    let numbers = if shape.vectors { shape.groups } else { 1 };
    RandomNode {
        children: None,
        depth,
        feature: random.below(shape.features),
        zero_missing: shape.special && random.below(3) == 0,
        test,
        missing_left: random.below(2) == 0,
        value: (0..numbers)
            .map(|_| T::cast(shape.offset + shape.scale * (random.unit() * 2.0 - 1.0)))
            .collect(),
        cover: match random.below(4) {
            0 if shape.empty_leaves => 0.0,
            _ => random.unit() * 100.0 + 1e-3,
        },
    }
}

fn threshold<T: KernelFloat>(random: &mut RandomSource) -> T {
    match random.below(20) {
        0 => T::cast(f32::INFINITY),
        1 => T::cast(f32::NEG_INFINITY),
        2 => T::cast(0f32),
        _ => T::cast(random.below(60) as f64 * 0.5 - 10.0),
    }
}

fn tree<T: KernelFloat>(
    random: &mut RandomSource,
    shape: &ForestShape,
    builder: &mut EnsembleBuilder<T>,
) -> Vec<RandomNode<T>> {
    let mut nodes = vec![node(random, shape, builder, 0)];
    let mut open = vec![0];
    let mut leaves = 1;
    while leaves < shape.leaves && !open.is_empty() {
        let parent = open.swap_remove(if shape.symmetric {
            0
        } else {
            random.below(open.len())
        });
        let depth = nodes[parent].depth + 1;
        if depth > shape.depth {
            continue;
        }
        let first = nodes.len();
        nodes.extend(
            (0..2)
                .map(|_| node(random, shape, builder, depth))
                .collect::<Vec<_>>(),
        );
        nodes[parent].children = Some((first, first + 1));
        open.extend([first, first + 1]);
        leaves += 1;
    }
    for at in (0..nodes.len()).rev() {
        if let Some((left, right)) = nodes[at].children {
            nodes[at].cover = nodes[left].cover + nodes[right].cover;
        }
        if shape.symmetric
            && let Some(same) = (0..at).find(|other| nodes[*other].depth == nodes[at].depth)
        {
            let same = nodes[same].clone();
            nodes[at] = RandomNode {
                feature: same.feature,
                test: same.test,
                missing_left: same.missing_left,
                zero_missing: same.zero_missing,
                ..nodes[at].clone()
            };
        }
    }
    nodes
}

fn forest<T: KernelFloat>(random: &mut RandomSource, shape: &ForestShape) -> Ensemble<T> {
    let mut builder = EnsembleBuilder::new(shape.comparison, CodeRule::NonNegative, InputRule::AsIs);
    builder
        .leaf_width(if shape.vectors { shape.groups } else { 1 })
        .unwrap();
    for position in 0..shape.trees {
        // A few small trees among the others.
        let leaves = if position % 7 == 6 {
            1 + position % 4
        } else {
            shape.leaves
        };
        let nodes = tree(random, &ForestShape { leaves, ..*shape }, &mut builder);
        builder
            .tree(nodes.len(), |at| {
                let node = &nodes[at];
                Ok(match node.children {
                    None => Node::Leaf {
                        id: 0,
                        value: &node.value,
                        cover: T::cast(node.cover),
                    },
                    Some((left, right)) => Node::Split {
                        feature: u32::try_from(node.feature).unwrap(),
                        test: node.test,
                        missing_left: node.missing_left,
                        zero_missing: node.zero_missing,
                        left,
                        right,
                        cover: T::cast(node.cover),
                        gain: T::ZERO,
                    },
                })
            })
            .unwrap();
        if !shape.vectors {
            builder.group(position, u32::try_from(position % shape.groups).unwrap());
        }
    }
    let finish = if shape.trees.is_multiple_of(2) {
        MarginRule::None
    } else {
        MarginRule::ScaleBias(T::cast(0.25), vec![T::cast(1.5); shape.groups])
    };
    let rest = EnsembleSettings {
        features: shape.features,
        groups: shape.groups,
        base: vec![T::cast(0.5); shape.groups],
        finish,
    };
    builder.finish(rest).unwrap().ensemble
}

/// Draws numbers with extremes among them.
fn number<T: KernelFloat>(random: &mut RandomSource) -> T {
    match random.below(12) {
        0 => T::cast(f32::NAN),
        1 => T::cast(f32::INFINITY),
        2 => T::cast(f32::NEG_INFINITY),
        3 => T::cast(-0f32),
        4 => T::cast([1e-35f32, -1e-36, 3e9, -1.0, f32::MIN_POSITIVE][random.below(5)]),
        5 => threshold(random),
        6 => T::cast(random.below(40) as f64),
        _ => T::cast(random.unit() * 30.0 - 10.0),
    }
}

/// The margin of a row, in `f64`.
fn margins<T: KernelFloat>(ensemble: &Ensemble<T>, row: &[T]) -> Vec<f64> {
    let mut margins: Vec<f64> = ensemble.base.iter().map(|base| base.to_f64()).collect();
    for tree in &ensemble.trees {
        let leaf = scalar::leaf_of(ensemble, tree.root, row);
        for (group, value) in ensemble.outputs(tree, leaf) {
            margins[group] += value;
        }
    }
    for (group, margin) in margins.iter_mut().enumerate() {
        let mut parts = [*margin];
        ensemble.finish_contributions(group, &mut parts);
        *margin = parts[0];
    }
    margins
}

/// Checks the contributions of a row against the reference and the margin.
fn check<T: KernelFloat>(ensemble: &Ensemble<T>, row: &[T], found: &[f64], what: &str) {
    let width = ensemble.features + 1;
    let (expected, reached) = reference::contributions(ensemble, row);
    let margins = margins(ensemble, row);
    for (group, (found, expected)) in found.chunks(width).zip(expected.chunks(width)).enumerate() {
        let sum: f64 = expected[..width - 1].iter().map(|part| part.abs()).sum();
        for (feature, (a, b)) in found.iter().zip(expected).enumerate() {
            let error = (a - b).abs() / sum.max(1.0);
            assert!(
                error <= 1e-6,
                "{what}: group {group}, feature {feature}: {a}, expected {b}"
            );
        }
        let total: f64 = found.iter().sum();
        let apart = (total - margins[group]).abs();
        assert!(
            apart <= 1e-6 * reached.max(1.0),
            "{what}: sum {total}, margin {}",
            margins[group]
        );
    }
}

fn lanes_only() -> KernelChoice {
    KernelChoice {
        tables: false,
        levels: false,
        isa: LaneSet::best(),
    }
}

/// The choices of kernels that differ for a shape.
fn choices(shape: &ForestShape) -> Vec<KernelChoice> {
    let lanes = lanes_only();
    let mut choices = vec![
        KernelChoice {
            tables: true,
            levels: true,
            ..lanes
        },
        lanes,
        KernelChoice {
            isa: LaneSet::Portable,
            ..lanes
        },
    ];
    if shape.symmetric {
        choices.push(KernelChoice {
            levels: true,
            ..lanes
        });
    }
    choices
}

fn agree_in<T: KernelFloat>(shape: &ForestShape) {
    let mut random = RandomSource(shape.trees as u64 * 31 + shape.leaves as u64);
    let ensemble = forest::<T>(&mut random, shape);
    let mut scratch = ExplainScratch::default();
    let width = shape.groups * (shape.features + 1);
    for choice in choices(shape) {
        let explainer = Explainer::of(&ensemble, choice);
        for rows in [1, 10] {
            let values: Vec<T> = (0..rows * shape.features).map(|_| number(&mut random)).collect();
            let mut found = vec![f64::NAN; rows * width];
            explainer.contributions(&ensemble, &values, &mut found, &mut scratch);
            let rows = values.chunks_exact(shape.features);
            for (row, found) in rows.zip(found.chunks_exact(width)) {
                check(&ensemble, row, found, &format!("{choice:?}, {shape:?}"));
            }
        }
    }
}

fn interact_in<T: KernelFloat>(shape: &ForestShape) {
    let mut random = RandomSource(shape.trees as u64 * 37 + shape.leaves as u64);
    let ensemble = forest::<T>(&mut random, shape);
    let side = shape.features + 1;
    let width = shape.groups * side * side;
    // A vector of rows and one row; rows that are too few for a vector.
    for (rows, isa) in [(9, LaneSet::best()), (3, LaneSet::best()), (9, LaneSet::Portable)] {
        let values: Vec<T> = (0..rows * shape.features).map(|_| number(&mut random)).collect();
        let choice = KernelChoice { isa, ..lanes_only() };
        let explainer = Explainer::of(&ensemble, choice);
        let mut found = vec![f64::NAN; rows * width];
        explainer.interactions(&ensemble, &values, &mut found, &mut ExplainScratch::default());
        for (row, found) in values.chunks_exact(shape.features).zip(found.chunks_exact(width)) {
            let expected = reference::interactions(&ensemble, row);
            let sum: f64 = expected.iter().map(|part| part.abs()).sum();
            for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
                let error = (a - b).abs() / sum.max(1.0);
                assert!(
                    error <= 1e-6,
                    "{isa:?}, {shape:?}: number {at}: {a}, expected {b}"
                );
            }
        }
    }
}

#[test]
fn interactions_agree() {
    for (depth, leaves, features) in [(1, 2, 3), (3, 8, 5), (6, 64, 10), (6, 64, 3), (14, 40, 12)] {
        for (groups, vectors) in [(1, false), (2, true), (3, false)] {
            let shape = ForestShape {
                depth,
                leaves,
                features,
                groups,
                vectors,
                special: true,
                empty_leaves: true,
                ..PLAIN
            };
            interact_in::<f32>(&shape);
            interact_in::<f64>(&shape);
        }
    }
}

fn agree(shape: ForestShape) {
    agree_in::<f32>(&shape);
    agree_in::<f64>(&ForestShape {
        comparison: ThresholdRule::LessEqual,
        ..shape
    });
}

#[test]
fn agree_on_every_depth() {
    for depth in 0..=9 {
        let leaves = 1 << depth;
        agree(ForestShape {
            depth,
            leaves,
            ..PLAIN
        });
    }
}

#[test]
fn agree_on_leaf_wise_trees() {
    for (leaves, depth) in [(31, 31), (64, 20), (40, 39), (100, 60)] {
        agree(ForestShape {
            leaves,
            depth,
            trees: 9,
            features: 40,
            ..PLAIN
        });
    }
}

#[test]
fn agree_on_repeated_features() {
    for features in [1, 2, 3] {
        agree(ForestShape {
            features,
            depth: 10,
            leaves: 80,
            ..PLAIN
        });
    }
}

#[test]
fn agree_on_special_splits_and_empty_leaves() {
    for special in [false, true] {
        for symmetric in [false, true] {
            agree(ForestShape {
                special,
                symmetric,
                empty_leaves: true,
                features: 6,
                ..PLAIN
            });
        }
    }
}

#[test]
fn agree_on_groups_and_vector_leaves() {
    for vectors in [false, true] {
        for trees in [8, 15] {
            agree(ForestShape {
                groups: 3,
                vectors,
                trees,
                ..PLAIN
            });
        }
    }
}

#[test]
fn agree_on_symmetric_trees() {
    for depth in 1..=8 {
        agree(ForestShape {
            depth,
            leaves: 1 << depth,
            symmetric: true,
            trees: 9,
            ..PLAIN
        });
    }
}

#[test]
fn agree_on_many_features_and_trees() {
    agree(ForestShape {
        features: 300,
        trees: 120,
        leaves: 16,
        ..PLAIN
    });
}

#[test]
fn large_common_values_do_not_cost_digits() {
    agree_in::<f64>(&ForestShape {
        offset: 1e6,
        scale: 1.0,
        ..PLAIN
    });
}

#[test]
fn huge_leaves_do_not_overflow() {
    for symmetric in [false, true] {
        let shape = ForestShape { symmetric, ..PLAIN };
        agree_in::<f64>(&ForestShape {
            scale: 1e300,
            ..shape
        });
        agree_in::<f32>(&ForestShape { scale: 1e37, ..shape });
    }
    interact_in::<f64>(&ForestShape {
        scale: 1e300,
        leaves: 16,
        ..PLAIN
    });
}

#[test]
fn the_references_agree() {
    let mut random = RandomSource(7);
    let ensemble = forest::<f64>(&mut random, &PLAIN);
    for _ in 0..20 {
        let row: Vec<f64> = (0..PLAIN.features).map(|_| number(&mut random)).collect();
        let (expected, _) = reference::contributions(&ensemble, &row);
        let mut found = vec![0.0; expected.len()];
        tree_shap::contributions(&ensemble, &row, &mut found, &mut ShapPaths::default());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
}
