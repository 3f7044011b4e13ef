//! Exact contributions of each feature to a margin: path-dependent TreeSHAP.
//!
//! Source: Lundberg, Erion, Lee, "Consistent Individualized Feature Attribution for Tree Ensembles" (arXiv
//! 1802.03888), algorithm 2. The training libraries' `pred_contribs` computes the same. A feature outside the
//! coalition sends a row to both sides of its splits, in proportion to the training weight. A row costs
//! O(trees × leaves × depth²). All sums are `f64`.

use crate::ensemble::{ChildRef, ChildTarget, Ensemble, Tree};
use crate::kernel::scalar;
use crate::number::Real;

/// One feature on the path to a node.
#[derive(Clone, Copy, Debug, Default)]
struct PathStep {
    feature: Option<u32>,
    /// Share of the training weight that follows the path if the feature is outside the coalition.
    zero: f64,
    /// 1 if the row follows the path, otherwise 0.
    one: f64,
    /// Total weight of the coalitions of each size.
    weight: f64,
}

/// A node to visit, with the step that leads to it.
#[derive(Clone, Copy, Debug)]
struct PathVisit {
    child: ChildRef,
    /// The number of steps on its path before `step` is added.
    depth: usize,
    step: PathStep,
}

/// Working memory: the paths from the root to the nodes being visited.
#[derive(Debug, Default)]
pub(crate) struct ShapPaths {
    /// One path per depth, each one step longer than the previous one.
    steps: Vec<Vec<PathStep>>,
    visits: Vec<PathVisit>,
}

/// Writes one row's contributions: per group `features` numbers and the bias.
pub(crate) fn contributions<T: Real>(
    ensemble: &Ensemble<T>,
    row: &[T],
    out: &mut [f64],
    paths: &mut ShapPaths,
) {
    out.fill(0.0);
    let width = ensemble.features + 1;
    for tree in &ensemble.trees {
        add_tree(ensemble, tree, row, out, paths);
    }
    for (group, out) in out.chunks_exact_mut(width).enumerate() {
        if let (Some(bias), Some(base)) = (out.last_mut(), ensemble.base.get(group)) {
            *bias += base.to_f64();
        }
        ensemble.finish_contributions(group, out);
    }
}

fn add_tree<T: Real>(ensemble: &Ensemble<T>, tree: &Tree, row: &[T], out: &mut [f64], paths: &mut ShapPaths) {
    let root = PathStep {
        feature: None,
        zero: 1.0,
        one: 1.0,
        weight: 0.0,
    };
    paths.visits.clear();
    paths.visits.push(PathVisit {
        child: tree.root,
        depth: 0,
        step: root,
    });
    while let Some(visit) = paths.visits.pop() {
        paths.enter(&visit);
        match visit.child.target() {
            ChildTarget::Leaf(leaf) => add_leaf(ensemble, tree, leaf, &paths.steps[visit.depth], out),
            ChildTarget::Split(position) => descend(ensemble, position, row, visit.depth, paths),
        }
    }
}

/// Queues both children of a split.
fn descend<T: Real>(ensemble: &Ensemble<T>, position: usize, row: &[T], depth: usize, paths: &mut ShapPaths) {
    let split = &ensemble.splits[position];
    let left = scalar::goes_left(ensemble, split, row[split.feature as usize]);
    let (mut zero, mut one) = (1.0, 1.0);
    let path = &mut paths.steps[depth];
    // A feature counts once on a path. A second split on it continues from the first.
    if let Some(again) = path.iter().position(|step| step.feature == Some(split.feature)) {
        (zero, one) = (path[again].zero, path[again].one);
        unwind(path, again);
    }
    let whole = ensemble.split_cover[position].to_f64();
    for (child, taken) in [(split.right, !left), (split.left, left)] {
        let share = if whole > 0.0 {
            cover(ensemble, child) / whole
        } else {
            0.0
        };
        let step = PathStep {
            feature: Some(split.feature),
            zero: zero * share,
            one: if taken { one } else { 0.0 },
            weight: 0.0,
        };
        // Skip a child that neither the row nor any training weight reaches.
        if step.zero > 0.0 || step.one > 0.0 {
            let depth = depth + 1;
            paths.visits.push(PathVisit { child, depth, step });
        }
    }
}

impl ShapPaths {
    /// Computes the path of a visit: the path one level up, extended by the visit's step.
    fn enter(&mut self, visit: &PathVisit) {
        if self.steps.len() <= visit.depth {
            self.steps.resize_with(visit.depth + 1, Vec::new);
        }
        let (above, below) = self.steps.split_at_mut(visit.depth);
        let Some(path) = below.first_mut() else { return };
        path.clear();
        if let Some(above) = above.last() {
            path.extend_from_slice(above);
        }
        extend(path, visit.step);
    }
}

/// Adds a feature to a path and updates the weights of the coalitions.
#[expect(clippy::cast_precision_loss, reason = "a path's length is small")]
fn extend(path: &mut Vec<PathStep>, mut step: PathStep) {
    let length = path.len();
    step.weight = if length == 0 { 1.0 } else { 0.0 };
    path.push(step);
    let total = (length + 1) as f64;
    for i in (0..length).rev() {
        let moved = step.one * path[i].weight * (i + 1) as f64 / total;
        path[i + 1].weight += moved;
        path[i].weight *= step.zero * (length - i) as f64 / total;
    }
}

/// Removes the feature at `at` from a path.
#[expect(clippy::cast_precision_loss, reason = "a path's length is small")]
fn unwind(path: &mut Vec<PathStep>, at: usize) {
    let PathStep { zero, one, .. } = path[at];
    let last = path.len() - 1;
    let total = path.len() as f64;
    let mut next = path[last].weight;
    for i in (0..last).rev() {
        if one == 0.0 {
            path[i].weight *= total / (zero * (last - i) as f64);
        } else {
            let kept = path[i].weight;
            path[i].weight = next * total / ((i + 1) as f64 * one);
            next = kept - path[i].weight * zero * (last - i) as f64 / total;
        }
    }
    for i in at..last {
        let weight = path[i].weight;
        path[i] = PathStep {
            weight,
            ..path[i + 1]
        };
    }
    path.truncate(last);
}

/// Returns the total coalition weight of a path without the feature at `at`.
#[expect(clippy::cast_precision_loss, reason = "a path's length is small")]
fn unwound(path: &[PathStep], at: usize) -> f64 {
    let PathStep { zero, one, .. } = path[at];
    let last = path.len() - 1;
    let total = path.len() as f64;
    let mut next = path[last].weight;
    let mut sum = 0.0;
    for i in (0..last).rev() {
        if one != 0.0 {
            let weight = next * total / ((i + 1) as f64 * one);
            sum += weight;
            next = path[i].weight - weight * zero * (last - i) as f64 / total;
        } else if zero != 0.0 {
            sum += path[i].weight * total / (zero * (last - i) as f64);
        }
    }
    sum
}

/// Adds a leaf's contributions to the features on its path, and its part of the tree's mean to the bias.
fn add_leaf<T: Real>(ensemble: &Ensemble<T>, tree: &Tree, leaf: usize, path: &[PathStep], out: &mut [f64]) {
    let width = ensemble.features + 1;
    for (at, step) in path.iter().enumerate() {
        let Some(feature) = step.feature else { continue };
        let share = unwound(path, at) * (step.one - step.zero);
        for (group, value) in ensemble.outputs(tree, leaf) {
            out[group * width + feature as usize] += share * value;
        }
    }
    let reached: f64 = path.iter().map(|step| step.zero).product();
    for (group, value) in ensemble.outputs(tree, leaf) {
        out[group * width + width - 1] += reached * value;
    }
}

/// Returns the training weight that reached a node.
fn cover<T: Real>(ensemble: &Ensemble<T>, child: ChildRef) -> f64 {
    match child.target() {
        ChildTarget::Split(position) => ensemble.split_cover[position].to_f64(),
        ChildTarget::Leaf(leaf) => ensemble.leaf_cover[leaf].to_f64(),
    }
}
