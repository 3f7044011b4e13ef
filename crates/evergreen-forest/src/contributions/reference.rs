//! Contributions and interactions from their definition, in `f64`: leaf by leaf, with products over the features of each
//! path and a quadrature of at least twelve nodes. Independent of the kernels; slow.

use std::sync::LazyLock;

use crate::contributions::quadrature::{QuadratureNode, gauss_legendre};
use crate::ensemble::{ChildRef, ChildTarget, Ensemble, MarginRule, Tree};
use crate::kernel::{KernelFloat, scalar};

/// The features of a path: for each `o` and `z`, whether the row goes along, and the share of the training weight that
/// does.
type PathFeatures = Vec<(usize, f64, f64)>;

/// A leaf with its path.
struct LeafPath {
    leaf: usize,
    features: PathFeatures,
}

/// Returns a row's contributions, as [`super::Explainer::contributions`] does, and its sum of the magnitudes of the
/// leaves that it reaches.
pub(super) fn contributions<T: KernelFloat>(ensemble: &Ensemble<T>, row: &[T]) -> (Vec<f64>, f64) {
    let width = ensemble.features + 1;
    let mut out = vec![0.0; ensemble.groups * width];
    let mut reached = 0.0;
    for tree in &ensemble.trees {
        for path in leaves(ensemble, tree, row) {
            let along: f64 = path.features.iter().map(|(_, o, _)| o).product();
            let mean: f64 = path.features.iter().map(|(.., z)| z).product();
            let integrals = integrals(&path.features);
            for (group, value) in ensemble.outputs(tree, path.leaf) {
                for ((feature, o, z), integral) in path.features.iter().zip(&integrals) {
                    out[group * width + feature] += value * (o - z) * integral;
                }
                out[group * width + width - 1] += value * mean;
                reached += value.abs() * along;
            }
        }
    }
    for (group, out) in out.chunks_exact_mut(width).enumerate() {
        out[width - 1] += ensemble.base[group].to_f64();
        ensemble.finish_contributions(group, out);
    }
    (out, reached)
}

/// Returns a row's interactions, as [`super::Explainer::interactions`] does.
pub(super) fn interactions<T: KernelFloat>(ensemble: &Ensemble<T>, row: &[T]) -> Vec<f64> {
    let side = ensemble.features + 1;
    let matrix = side * side;
    let (contributions, _) = contributions(ensemble, row);
    let scale = match &ensemble.finish {
        MarginRule::None => 1.0,
        MarginRule::ScaleBias(scale, _) => scale.to_f64(),
    };
    let mut out = vec![0.0; ensemble.groups * matrix];
    for tree in &ensemble.trees {
        for path in leaves(ensemble, tree, row) {
            for (at, (i, o, z)) in path.features.iter().enumerate() {
                let mut others = path.features.clone();
                others.remove(at);
                for ((j, other_o, other_z), integral) in others.iter().zip(integrals(&others)) {
                    let index = (o - z) * (other_o - other_z) * integral * scale;
                    for (group, value) in ensemble.outputs(tree, path.leaf) {
                        out[group * matrix + i * side + j] += value * index / 2.0;
                    }
                }
            }
        }
    }
    for (out, contributions) in out.chunks_exact_mut(matrix).zip(contributions.chunks_exact(side)) {
        for (i, contribution) in contributions.iter().enumerate() {
            let others: f64 = out[i * side..][..side].iter().sum();
            out[i * side + i] = contribution - others;
        }
    }
    out
}

/// Returns the leaves of a tree with their paths.
fn leaves<T: KernelFloat>(ensemble: &Ensemble<T>, tree: &Tree, row: &[T]) -> Vec<LeafPath> {
    let mut found = Vec::new();
    descend(ensemble, tree.root, row, PathFeatures::new(), &mut found);
    found
}

fn descend<T: KernelFloat>(
    ensemble: &Ensemble<T>,
    node: ChildRef,
    row: &[T],
    features: PathFeatures,
    found: &mut Vec<LeafPath>,
) {
    let position = match node.target() {
        ChildTarget::Leaf(leaf) => return found.push(LeafPath { leaf, features }),
        ChildTarget::Split(position) => position,
    };
    let split = &ensemble.splits[position];
    let feature = split.feature as usize;
    let goes_left = scalar::goes_left(ensemble, split, row[feature]);
    let covers = [split.left, split.right].map(|child| match child.target() {
        ChildTarget::Split(position) => ensemble.split_cover[position].to_f64(),
        ChildTarget::Leaf(leaf) => ensemble.leaf_cover[leaf].to_f64(),
    });
    let all: f64 = covers.iter().sum();
    for (child, cover, taken) in [
        (split.left, covers[0], goes_left),
        (split.right, covers[1], !goes_left),
    ] {
        let share = if all > 0.0 { cover / all } else { 0.5 };
        let mut features = features.clone();
        let taken = f64::from(u8::from(taken));
        match features.iter_mut().find(|(other, ..)| *other == feature) {
            Some((_, o, z)) => {
                *o *= taken;
                *z *= share;
            }
            None => features.push((feature, taken, share)),
        }
        descend(ensemble, child, row, features, found);
    }
}

/// Returns a rule that is exact for paths of so many features.
fn rule(features: usize) -> Vec<QuadratureNode> {
    static TWELVE: LazyLock<Vec<QuadratureNode>> = LazyLock::new(|| gauss_legendre(12));
    match features.div_ceil(2) {
        0..=12 => TWELVE.clone(),
        order => gauss_legendre(order),
    }
}

/// For each feature, integrates the product of the factors of all others.
fn integrals(features: &PathFeatures) -> Vec<f64> {
    let mut integrals = vec![0.0; features.len()];
    for QuadratureNode { t, weight } in rule(features.len()) {
        let factors: Vec<f64> = features.iter().map(|(_, o, z)| o * t + z * (1.0 - t)).collect();
        let mut before = weight;
        for (at, integral) in integrals.iter_mut().enumerate() {
            *integral += before * factors[at + 1..].iter().product::<f64>();
            before *= factors[at];
        }
    }
    integrals
}
