//! Decision paths: the leaf that a row reaches in each tree, what it adds, and the conditions on the way.

use std::collections::BTreeSet;

use crate::contributions::{CoverShares, leaf_value};
use crate::ensemble::{CategorySet, ChildRef, ChildTarget, Ensemble, Split, SplitTest, ThresholdRule, Tree};
use crate::kernel::scalar;
use crate::number::Real;

/// The path of a row through one tree.
#[derive(Clone, Debug, PartialEq)]
pub struct TreePath {
    /// Position of the tree in the model.
    pub tree: usize,
    /// The number that the library's `pred_leaf` returns.
    pub leaf: u32,
    /// What the leaf adds to the margin, less what the tree adds on average over the training rows. Over all trees this is
    /// the margin less the bias of the contributions.
    pub contribution: f64,
    /// The conditions on the path: one per feature, in the order in which the tree first asks.
    pub conditions: Vec<Condition>,
}

/// What a path asks of one feature: all of it holds for the row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// Position of the feature in a row.
    pub feature: usize,
    /// The highest lower bound.
    pub lower: Option<Bound>,
    /// The lowest upper bound.
    pub upper: Option<Bound>,
    /// The value must be one of these categories.
    pub included: Option<BTreeSet<u32>>,
    /// The value must be none of these categories.
    pub excluded: BTreeSet<u32>,
    /// The value must be missing, or present; `None` if no split asks for that alone.
    pub missing: Option<bool>,
}

/// An end of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The number.
    pub value: f64,
    /// Whether the number itself belongs to the interval.
    pub inclusive: bool,
}

impl Condition {
    /// Combines two conditions on the same feature that hold at the same time.
    pub fn and(&mut self, other: &Self) {
        self.lower = tighter(self.lower, other.lower, |new, old| new > old);
        self.upper = tighter(self.upper, other.upper, |new, old| new < old);
        if let Some(included) = &other.included {
            self.include(included.iter().copied().collect());
        }
        self.excluded.extend(&other.excluded);
        self.missing = self.missing.or(other.missing);
    }

    /// Asks for one number.
    fn only(&mut self, value: f64) {
        let bound = Some(Bound {
            value,
            inclusive: true,
        });
        (self.lower, self.upper) = (bound, bound);
    }

    fn include(&mut self, members: BTreeSet<u32>) {
        self.included = Some(match self.included.take() {
            Some(included) => included.intersection(&members).copied().collect(),
            None => members,
        });
    }
}

/// Returns the bound that leaves less; of two equal ones, the one that excludes the number.
fn tighter(a: Option<Bound>, b: Option<Bound>, closer: impl Fn(f64, f64) -> bool) -> Option<Bound> {
    match (a, b) {
        (Some(a), Some(b)) if closer(b.value, a.value) => Some(b),
        (Some(a), Some(b)) if closer(a.value, b.value) => Some(a),
        (Some(a), Some(b)) => Some(Bound {
            inclusive: a.inclusive && b.inclusive,
            ..a
        }),
        (a, b) => a.or(b),
    }
}

/// Returns the paths of a prepared row through the trees that add to an output group. The file must record the training
/// weight of every node.
pub(crate) fn paths<T: Real>(ensemble: &Ensemble<T>, row: &[T], group: usize) -> Vec<TreePath> {
    let shares = CoverShares::new(ensemble);
    let output = if ensemble.leaf_width > 1 { group } else { 0 };
    let adds = |tree: &Tree| ensemble.leaf_width > 1 || tree.group as usize == group;
    let trees = ensemble.trees.iter().enumerate().filter(|(_, tree)| adds(tree));
    trees
        .map(|(number, tree)| {
            let (leaf, conditions) = follow(ensemble, tree.root, row);
            let mut parts = [
                leaf_value(ensemble, leaf, output) - shares.mean(ensemble, number, output),
                0.0,
            ];
            ensemble.finish_contributions(group, &mut parts);
            TreePath {
                tree: number,
                leaf: ensemble.leaves[leaf].id,
                contribution: parts[0],
                conditions,
            }
        })
        .collect()
}

/// Returns the leaf of a row and the conditions on its path.
fn follow<T: Real>(ensemble: &Ensemble<T>, root: ChildRef, row: &[T]) -> (usize, Vec<Condition>) {
    let (mut at, mut conditions) = (root, Vec::<Condition>::new());
    loop {
        match at.target() {
            ChildTarget::Leaf(leaf) => return (leaf, conditions),
            ChildTarget::Split(position) => {
                let split = &ensemble.splits[position];
                let x = row[split.feature as usize];
                let left = scalar::goes_left(ensemble, split, x);
                let asked = condition(ensemble, split, x, left);
                match conditions.iter_mut().find(|known| known.feature == asked.feature) {
                    Some(known) => known.and(&asked),
                    None => conditions.push(asked),
                }
                at = if left { split.left } else { split.right };
            }
        }
    }
}

/// Returns what a split asks of the value that took this side.
fn condition<T: Real>(ensemble: &Ensemble<T>, split: &Split<T>, x: T, left: bool) -> Condition {
    let mut found = Condition {
        feature: split.feature as usize,
        ..Condition::default()
    };
    match split.test {
        // A number that the split takes for missing: of the numbers, this one alone is certain.
        _ if !x.missing() && scalar::is_missing(split, x) => found.only(x.to_f64()),
        SplitTest::Missing => found.missing = Some(left),
        _ if x.missing() => found.missing = Some(true),
        SplitTest::Threshold(threshold) => {
            let equal_goes_left = ensemble.comparison == ThresholdRule::LessEqual;
            let bound = Bound {
                value: threshold.to_f64(),
                inclusive: left == equal_goes_left,
            };
            if left {
                found.upper = Some(bound);
            } else {
                found.lower = Some(bound);
            }
        }
        SplitTest::Member(set) => {
            let set = &ensemble.sets[set as usize];
            let code = ensemble.codes.of(x.to_f64());
            // A code outside the set's words goes where missing values go, by some rules: this code alone is certain.
            match code.filter(|code| !set.contains(*code)) {
                Some(code) if left => found.included = Some([code].into()),
                _ if left => found.included = Some(codes(set)),
                _ => found.excluded = codes(set),
            }
        }
    }
    found
}

fn codes(set: &CategorySet) -> BTreeSet<u32> {
    match set {
        CategorySet::Sorted(members) => members.iter().copied().collect(),
        CategorySet::Bits(words) => {
            let bits = (0..)
                .zip(words.iter())
                .flat_map(|(word, bits)| (0..32).map(move |bit| (32 * word + bit, bits >> bit & 1)));
            bits.filter(|(_, bit)| *bit == 1).map(|(code, _)| code).collect()
        }
    }
}
