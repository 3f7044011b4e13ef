//! How margins depend on the inputs: the numbers at which a split changes sides, and the bounds of a margin while inputs vary.

use crate::ensemble::{
    ChildRef, ChildTarget, Ensemble, InputRule, Split, SplitTest, ThresholdRule, Tree, ZERO,
};
use crate::kernel::scalar;
use crate::number::Real;

/// An interval that a margin stays in, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarginBounds {
    /// Not above the least margin.
    pub low: f64,
    /// Not below the greatest margin.
    pub high: f64,
}

/// Returns, for each feature, the numbers at which some split begins to send numbers to the other side, ascending. Between two
/// neighbours, the first included, every number reaches the same leaves. Numbers that stand for a category are not listed.
pub(crate) fn steps<T: Real>(ensemble: &Ensemble<T>) -> Vec<Vec<f64>> {
    let mut steps = vec![Vec::new(); ensemble.features];
    for split in &ensemble.splits {
        let Some(steps) = steps.get_mut(split.feature as usize) else {
            continue;
        };
        if let SplitTest::Threshold(threshold) = split.test {
            steps.push(first_right(ensemble, threshold));
        }
        if split.zero_missing {
            steps.extend([f64::from(-ZERO), T::cast(ZERO).next_up().to_f64()]);
        }
    }
    if let InputRule::Sentinel(sentinel) = ensemble.input {
        let around = [sentinel.to_f64(), sentinel.next_up().to_f64()];
        steps.iter_mut().for_each(|steps| steps.extend(around));
    }
    for steps in &mut steps {
        steps.retain(|step| step.is_finite());
        steps.sort_unstable_by(f64::total_cmp);
        steps.dedup();
    }
    steps
}

/// The least number that a threshold sends to the right.
fn first_right<T: Real>(ensemble: &Ensemble<T>, threshold: T) -> f64 {
    let is_right = |x: f64| match ensemble.comparison {
        ThresholdRule::Less => x >= threshold.to_f64(),
        ThresholdRule::LessEqual => x > threshold.to_f64(),
    };
    match ensemble.input {
        // Numbers are rounded to `f32` before they are compared.
        InputRule::Rounded => {
            let near = threshold.to_f32();
            let next = [near.next_down(), near, near.next_up()].map(f64::from);
            next.into_iter().find(|&x| is_right(x)).unwrap_or(f64::NAN)
        }
        // All tiny numbers count as 0.
        InputRule::TinyIsZero if threshold.to_f64().abs() <= f64::from(ZERO) => match is_right(0.0) {
            true => f64::from(-ZERO),
            false => T::cast(ZERO).next_up().to_f64(),
        },
        _ if is_right(threshold.to_f64()) => threshold.to_f64(),
        _ => threshold.next_up().to_f64(),
    }
}

/// Returns bounds of a group's margin over all rows between `lower` and `upper`, both prepared. A feature with two different
/// numbers takes every number between them, and is not missing; one with the same number twice keeps it.
pub(crate) fn margin_bounds<T: Real>(
    ensemble: &Ensemble<T>,
    lower: &[T],
    upper: &[T],
    group: usize,
) -> MarginBounds {
    let output = if ensemble.leaf_width > 1 { group } else { 0 };
    let adds = |tree: &&Tree| ensemble.leaf_width > 1 || tree.group as usize == group;
    let base = ensemble.base.get(group).map_or(0.0, |base| base.to_f64());
    let (mut low, mut high, mut size) = (base, base, base.abs());
    let mut stack = Vec::new();
    let mut count = 0_u32;
    for tree in ensemble.trees.iter().filter(adds) {
        let (least, greatest) = leaf_bounds(ensemble, tree, (lower, upper), output, &mut stack);
        (low, high) = (low + least, high + greatest);
        size += least.abs().max(greatest.abs());
        count += 1;
    }
    // Kernels round after each tree; the sum here does not.
    let rounding = f64::from(T::EPSILON) * f64::from(count + 2) * size;
    let mut ends = [low - rounding, high + rounding];
    for end in &mut ends {
        let mut parts = [*end];
        ensemble.finish_contributions(group, &mut parts);
        *end = parts[0];
    }
    MarginBounds {
        low: ends[0].min(ends[1]),
        high: ends[0].max(ends[1]),
    }
}

/// The least and the greatest leaf of a tree that rows between `lower` and `upper` reach.
fn leaf_bounds<T: Real>(
    ensemble: &Ensemble<T>,
    tree: &Tree,
    (lower, upper): (&[T], &[T]),
    output: usize,
    stack: &mut Vec<ChildRef>,
) -> (f64, f64) {
    let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
    stack.push(tree.root);
    while let Some(at) = stack.pop() {
        match at.target() {
            ChildTarget::Leaf(leaf) => {
                let value = ensemble.values[leaf * ensemble.leaf_width + output].to_f64();
                (least, greatest) = (least.min(value), greatest.max(value));
            }
            ChildTarget::Split(position) => {
                let split = &ensemble.splits[position];
                let feature = split.feature as usize;
                let (left, right) = sides(ensemble, split, lower[feature], upper[feature]);
                if left {
                    stack.push(split.left);
                }
                if right {
                    stack.push(split.right);
                }
            }
        }
    }
    (least, greatest)
}

/// Whether numbers of an interval go left, and whether some go right.
fn sides<T: Real>(ensemble: &Ensemble<T>, split: &Split<T>, low: T, high: T) -> (bool, bool) {
    if low == high || (low.missing() && high.missing()) {
        let left = scalar::goes_left(ensemble, split, low);
        return (left, !left);
    }
    let SplitTest::Threshold(threshold) = split.test else {
        return (true, true);
    };
    let has_missing = low.missing()
        || high.missing()
        || (split.zero_missing && low.to_f64() <= f64::from(ZERO) && high.to_f64() >= f64::from(-ZERO))
        || matches!(ensemble.input, InputRule::Sentinel(sentinel) if low <= sentinel && sentinel <= high);
    let is_left = |x: T| match ensemble.comparison {
        ThresholdRule::Less => x < threshold,
        ThresholdRule::LessEqual => x <= threshold,
    };
    (
        is_left(low) || (has_missing && split.missing_left),
        !is_left(high) || (has_missing && !split.missing_left),
    )
}
