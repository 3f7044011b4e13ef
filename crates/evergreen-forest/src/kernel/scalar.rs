//! The scalar kernel: the reference for all others, simple enough to verify by reading.
//!
//! It follows positions without checks: the builder guarantees that they are in range and that every path
//! ends in a leaf.

use crate::ensemble::{
    CategorySet, ChildRef, ChildTarget, CodeRule, Ensemble, LinearLeaf, Split, SplitTest, ThresholdRule,
    Tree, ZERO,
};
use crate::number::Real;

/// Adds the leaves that each row reaches to its sums, tree by tree.
pub(crate) fn add_leaves<T: Real>(ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T]) {
    let width = ensemble.features.max(1);
    for (row, sums) in rows
        .chunks_exact(width)
        .zip(sums.chunks_exact_mut(ensemble.groups))
    {
        for tree in &ensemble.trees {
            add_leaf(ensemble, tree, row, sums);
        }
    }
}

fn add_leaf<T: Real>(ensemble: &Ensemble<T>, tree: &Tree, row: &[T], sums: &mut [T]) {
    let leaf = leaf_of(ensemble, tree.root, row);
    let value = &ensemble.values[leaf * ensemble.leaf_width..][..ensemble.leaf_width];
    if let [value] = value {
        sums[tree.group as usize] += match ensemble.linear.get(leaf) {
            Some(linear) if !linear.terms.is_empty() => evaluate(linear, row, *value),
            _ => *value,
        };
    } else {
        for (sum, value) in sums.iter_mut().zip(value) {
            *sum += *value;
        }
    }
}

/// Returns the position of the leaf that a row reaches from `root`.
pub(crate) fn leaf_of<T: Real>(ensemble: &Ensemble<T>, root: ChildRef, row: &[T]) -> usize {
    let mut at = root;
    loop {
        match at.target() {
            ChildTarget::Leaf(leaf) => return leaf,
            ChildTarget::Split(position) => {
                let split = &ensemble.splits[position];
                let left = goes_left(ensemble, split, row[split.feature as usize]);
                at = if left { split.left } else { split.right };
            }
        }
    }
}

/// Returns whether a split takes a number for missing.
pub(crate) fn is_missing<T: Real>(split: &Split<T>, x: T) -> bool {
    x.missing() || (split.zero_missing && x.to_f64().abs() <= f64::from(ZERO))
}

/// Returns whether a number goes left at a split.
pub(crate) fn goes_left<T: Real>(ensemble: &Ensemble<T>, split: &Split<T>, x: T) -> bool {
    let missing = is_missing(split, x);
    match split.test {
        SplitTest::Missing => missing,
        _ if missing => split.missing_left,
        SplitTest::Threshold(threshold) => match ensemble.comparison {
            ThresholdRule::Less => x < threshold,
            ThresholdRule::LessEqual => x <= threshold,
        },
        SplitTest::Member(set) => is_member(ensemble, split, &ensemble.sets[set as usize], x),
    }
}

fn is_member<T: Real>(ensemble: &Ensemble<T>, split: &Split<T>, set: &CategorySet, x: T) -> bool {
    let code = ensemble.codes.of(x.to_f64());
    match ensemble.codes {
        CodeRule::NonNegative | CodeRule::Truncated => code.is_some_and(|code| set.contains(code)),
        CodeRule::NonNegativeElseMissing => code
            .filter(|code| u64::from(*code) < set.capacity())
            .map_or(split.missing_left, |code| set.contains(code)),
    }
}

/// Evaluates a linear leaf. Returns `plain` if one of its inputs is missing.
fn evaluate<T: Real>(linear: &LinearLeaf, row: &[T], plain: T) -> T {
    let mut sum = linear.constant;
    for (feature, coefficient) in &linear.terms {
        let x = row[*feature as usize];
        if x.missing() {
            return plain;
        }
        sum += coefficient * x.to_f64();
    }
    T::cast(sum)
}
