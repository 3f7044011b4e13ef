//! Random forests and rows that are likely to expose a difference between kernels, for the tests and for fuzzing. Whoever makes
//! the choices decides all of it: a random generator, or the bytes of a fuzzer.

use crate::builder::{EnsembleBuilder, EnsembleSettings, Node};
use crate::ensemble::{CodeRule, Ensemble, InputRule, MarginRule, SplitTest, ThresholdRule};
use crate::kernel::{Kernel, KernelFloat, KernelScratch, scalar};

/// Returns a number below its argument.
pub(crate) trait Choices: FnMut(usize) -> usize {}

impl<F: FnMut(usize) -> usize> Choices for F {}

/// The parameters of a random forest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForestShape {
    pub(crate) trees: usize,
    pub(crate) leaves: usize,
    /// The longest path.
    pub(crate) depth: usize,
    pub(crate) features: usize,
    pub(crate) groups: usize,
    /// Distinct thresholds per feature.
    pub(crate) thresholds: usize,
    /// The share of categorical splits, in eighths.
    pub(crate) categorical: usize,
    /// Every third tree has four leaves or fewer.
    pub(crate) uneven: bool,
    /// All splits of a level are equal, and trees are complete.
    pub(crate) symmetric: bool,
    /// Splits may count zero as missing, or test only for missing.
    pub(crate) special: bool,
    /// Every split is below the one before.
    pub(crate) chain: bool,
    /// Leaves have a number for each group.
    pub(crate) vectors: bool,
    pub(crate) comparison: ThresholdRule,
    pub(crate) codes: CodeRule,
}

/// A node of a random tree: a leaf, or a split with its children.
type RandomNode = Option<(usize, usize)>;

/// A node's test, and feature, `missing_left` and `zero_missing`.
type NodeSpec<T> = (SplitTest<T>, usize, bool, bool);

/// Draws a tree of up to `shape.leaves` leaves by splitting leaves at random.
fn draw(choose: &mut impl Choices, shape: &ForestShape) -> Vec<RandomNode> {
    let mut nodes: Vec<RandomNode> = vec![None];
    let mut open = vec![(0, 0)];
    let mut leaves = 1;
    while leaves < shape.leaves && !open.is_empty() {
        let (node, depth) = open.swap_remove(match shape {
            ForestShape { symmetric: true, .. } => 0,
            ForestShape { chain: true, .. } => open.len() - 1,
            _ => choose(open.len()),
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
    const SPECIAL: [f32; 12] = [
        f32::INFINITY,
        0.0,
        -0.0,
        f32::NEG_INFINITY,
        1e-35,
        1e-45,
        1.000_000_1,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        3.0e9,
        0.999_999_94,
    ];
    match SPECIAL.get(k) {
        Some(special) => T::cast(*special),
        None => T::cast((k as f64 - 60.0) * 0.37),
    }
}

/// Draws the test of a split.
fn test<T: KernelFloat>(
    choose: &mut impl Choices,
    shape: &ForestShape,
    builder: &mut EnsembleBuilder<T>,
) -> NodeSpec<T> {
    let test = if choose(8) < shape.categorical {
        let members = (0..1 + choose(6)).map(|_| u32::try_from(choose(70)).unwrap());
        builder.set(members.collect()).unwrap()
    } else if shape.special && choose(9) == 0 {
        SplitTest::Missing
    } else {
        let any = if shape.special && choose(4) == 0 {
            any_number(choose)
        } else {
            f32::NAN
        };
        SplitTest::Threshold(match any.is_finite() {
            true => T::cast(any),
            false => threshold(choose(shape.thresholds)),
        })
    };
    let zero_missing = shape.special && !matches!(test, SplitTest::Member(_)) && choose(2) == 0;
    (test, choose(shape.features), choose(2) == 0, zero_missing)
}

/// Draws a number of any bits.
fn any_number(choose: &mut impl Choices) -> f32 {
    f32::from_bits(u32::try_from(choose(1 << 32)).unwrap())
}

/// Draws a number of a leaf. Sums stay finite.
fn leaf<T: KernelFloat>(choose: &mut impl Choices) -> T {
    match choose(64) {
        at @ 0..5 => T::cast([0f32, -0.0, 1e-45, -1e-40, 1e6][at]),
        at => T::cast((choose(1 << 16) * 64 + at) as f64 / 1.2e6 - 1.7),
    }
}

/// Draws a forest.
pub(crate) fn forest<T: KernelFloat>(choose: &mut impl Choices, shape: &ForestShape) -> Ensemble<T> {
    let mut builder = EnsembleBuilder::new(shape.comparison, shape.codes, InputRule::AsIs);
    let width = if shape.vectors { shape.groups } else { 1 };
    for tree in 0..shape.trees {
        builder.leaf_width(width).unwrap();
        let few = 1 + tree % 4;
        let of_tree = ForestShape {
            leaves: if shape.uneven && tree % 3 == 0 {
                few
            } else {
                shape.leaves
            },
            ..*shape
        };
        let nodes = draw(choose, &of_tree);
        let levels = levels(&nodes);
        let mut tests: Vec<NodeSpec<T>> = Vec::with_capacity(nodes.len());
        for node in 0..nodes.len() {
            let is_same = |other: &usize| nodes[*other].is_some() && levels[*other] == levels[node];
            let same = if shape.symmetric {
                (0..node).find(is_same)
            } else {
                None
            };
            tests.push(match (nodes[node], same) {
                (None, _) => (SplitTest::Missing, 0, false, false),
                (Some(_), Some(other)) => tests[other],
                (Some(_), None) => test(choose, shape, &mut builder),
            });
        }
        let mut values = vec![T::ZERO; nodes.len() * width];
        for (values, node) in values.chunks_mut(width).zip(&nodes) {
            for value in values.iter_mut().filter(|_| node.is_none()) {
                *value = leaf(choose);
            }
        }
        builder
            .tree(nodes.len(), |node| {
                let (test, feature, missing_left, zero_missing) = &tests[node];
                Ok(match nodes[node] {
                    None => Node::Leaf {
                        id: 0,
                        value: &values[node * width..][..width],
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
        let group = if shape.vectors { 0 } else { tree % shape.groups };
        builder.group(tree, u32::try_from(group).unwrap());
    }
    let rest = EnsembleSettings {
        features: shape.features,
        groups: shape.groups,
        base: vec![T::cast(0.5); shape.groups],
        finish: MarginRule::None,
    };
    builder.finish(rest).unwrap().ensemble
}

/// Draws rows for a forest.
pub(crate) fn rows<T: KernelFloat>(
    choose: &mut impl Choices,
    shape: &ForestShape,
    forest: &Ensemble<T>,
    rows: usize,
) -> Vec<T> {
    (0..rows * shape.features)
        .map(|_| number(choose, shape, forest))
        .collect()
}

/// Draws a number that is likely to expose a difference between kernels.
fn number<T: KernelFloat>(choose: &mut impl Choices, shape: &ForestShape, forest: &Ensemble<T>) -> T {
    match choose(13) {
        0 => T::cast(f32::NAN),
        1 => T::cast(-f32::NAN),
        2 => T::cast(-0f32),
        3 => T::cast(f32::INFINITY),
        4 => T::cast(f32::NEG_INFINITY),
        5 => T::cast(near(choose, shape, forest).to_f32().next_up()),
        6 => T::cast(near(choose, shape, forest).to_f32().next_down()),
        7 => near(choose, shape, forest),
        8 => T::cast(choose(80) as f64),
        9 => T::cast(choose(80) as f64 - 0.5),
        10 => T::cast([1e-35f32, -1e-36, 16_777_216.0, 3e9, -1.0, f32::MIN_POSITIVE][choose(6)]),
        11 => T::cast(any_number(choose)),
        _ => T::cast(choose(1 << 20) as f64 / 1e4 - 50.0),
    }
}

/// Draws a threshold of the forest.
fn near<T: KernelFloat>(choose: &mut impl Choices, shape: &ForestShape, forest: &Ensemble<T>) -> T {
    let split = match forest.splits.len() {
        0 => None,
        splits => forest.splits.get(choose(splits)),
    };
    match split.map(|split| split.test) {
        Some(SplitTest::Threshold(threshold)) => threshold,
        _ => threshold(choose(shape.thresholds)),
    }
}

/// Compares a kernel with the reference for some rows. Returns the first number whose bits differ.
pub(crate) fn difference<T: KernelFloat>(
    kernel: &Kernel<T>,
    ensemble: &Ensemble<T>,
    values: &[T],
    expected: &[T],
    work: &mut KernelScratch,
) -> Option<usize> {
    let mut sums = vec![T::cast(0.25); expected.len()];
    kernel.add_leaves(ensemble, values, &mut sums, work);
    let bits = |sum: &T| sum.to_f64().to_bits();
    sums.iter()
        .zip(expected)
        .position(|(sum, expected)| bits(sum) != bits(expected))
}

/// Returns the sums of the reference, for [`difference`].
pub(crate) fn reference<T: KernelFloat>(ensemble: &Ensemble<T>, values: &[T], rows: usize) -> Vec<T> {
    let mut expected = vec![T::cast(0.25); rows * ensemble.groups];
    scalar::add_leaves(ensemble, values, &mut expected);
    expected
}
