//! The validated in-memory form of a model. Parsers produce it, kernels read it.
//!
//! All trees share a few flat arrays. A [`ChildRef`] is the position of a split or a leaf in them. The
//! [builder](crate::builder) guarantees that positions are in range, that every tree is a tree (no cycles, no
//! shared nodes) and that every split's feature exists. Kernels rely on this and check nothing.
//!
//! Differences between libraries are data: see [`ThresholdRule`], [`InputRule`], [`MarginRule`] and the
//! fields of [`Split`]. A split always answers "does the row go left"; parsers swap the children where their
//! library answers the opposite.

use crate::number::Real;

/// One side of a split: another split, or a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildRef(u32);

/// What a [`ChildRef`] refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildTarget {
    /// Position in [`Ensemble::splits`].
    Split(usize),
    /// Position in [`Ensemble::leaves`].
    Leaf(usize),
}

impl ChildRef {
    const LEAF: u32 = 1 << 31;

    /// Refers to the split at a position. Returns `None` if the position is too large.
    pub(crate) fn split(position: usize) -> Option<Self> {
        u32::try_from(position)
            .ok()
            .filter(|at| at & Self::LEAF == 0)
            .map(Self)
    }

    /// Refers to the leaf at a position. Returns `None` if the position is too large.
    pub(crate) fn leaf(position: usize) -> Option<Self> {
        Self::split(position).map(|child| Self(child.0 | Self::LEAF))
    }

    /// Returns the position.
    #[inline]
    pub(crate) fn target(self) -> ChildTarget {
        let position = (self.0 & !Self::LEAF) as usize;
        if self.0 & Self::LEAF == 0 {
            ChildTarget::Split(position)
        } else {
            ChildTarget::Leaf(position)
        }
    }
}

/// How a number is compared with a threshold; `true` goes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThresholdRule {
    /// `x < threshold`
    Less,
    /// `x <= threshold`
    LessEqual,
}

/// The test of a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SplitTest<T> {
    /// Compare with this threshold, never NaN.
    Threshold(T),
    /// Left if the category is in the set at this position of [`Ensemble::sets`].
    Member(u32),
    /// Left if the value is missing, otherwise right.
    Missing,
}

/// An inner node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split<T> {
    /// The test.
    pub(crate) test: SplitTest<T>,
    /// The feature it tests, below [`Ensemble::features`].
    pub(crate) feature: u32,
    /// Where `true` goes.
    pub(crate) left: ChildRef,
    /// Where `false` goes.
    pub(crate) right: ChildRef,
    /// A missing value goes left.
    pub(crate) missing_left: bool,
    /// A value in `±`[`ZERO`] counts as missing here.
    pub(crate) zero_missing: bool,
}

/// Values up to this magnitude are zero for libraries with that rule (the `f32` nearest to 1e-35).
pub(crate) const ZERO: f32 = 1e-35;

/// A leaf; its numbers are in [`Ensemble::values`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafNode {
    /// The number that the library's `pred_leaf` returns.
    pub(crate) id: u32,
}

/// A linear function in a leaf: `constant + Σ coefficient · x`. If any x is missing, the leaf's plain value
/// is used.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinearLeaf {
    /// Added first.
    pub(crate) constant: f64,
    /// Feature and coefficient, in the order in which they are added.
    pub(crate) terms: Vec<(u32, f64)>,
}

/// One tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    /// The root.
    pub(crate) root: ChildRef,
    /// The output group its leaves are added to (0 when leaves are vectors).
    pub(crate) group: u32,
    /// First position in [`Ensemble::splits`]; its splits are contiguous, parents before children.
    pub(crate) first_split: u32,
    /// First position in [`Ensemble::leaves`]; its leaves are contiguous.
    pub(crate) first_leaf: u32,
}

/// A set of categories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CategorySet {
    /// Bit `c % 32` of word `c / 32`.
    Bits(Box<[u32]>),
    /// Sorted codes, for a few large ones: a bitset would be much larger than the file.
    Sorted(Box<[u32]>),
}

impl CategorySet {
    /// Creates the smaller of the two forms.
    pub(crate) fn new(mut members: Vec<u32>) -> Self {
        members.sort_unstable();
        members.dedup();
        let words = members.last().map_or(0, |last| *last as usize / 32 + 1);
        if words > 2 * members.len() + 8 {
            return Self::Sorted(members.into());
        }
        let mut bits = vec![0u32; words];
        for member in members {
            if let Some(word) = bits.get_mut(member as usize / 32) {
                *word |= 1 << (member % 32);
            }
        }
        Self::Bits(bits.into())
    }

    /// Returns whether a code is a member.
    #[inline]
    pub(crate) fn contains(&self, code: u32) -> bool {
        match self {
            Self::Bits(words) => words
                .get(code as usize / 32)
                .is_some_and(|word| word >> (code % 32) & 1 == 1),
            Self::Sorted(members) => members.binary_search(&code).is_ok(),
        }
    }

    /// Returns one more than the greatest code that fits a bitset of this set.
    pub(crate) fn capacity(&self) -> u64 {
        match self {
            Self::Bits(words) => words.len() as u64 * 32,
            Self::Sorted(members) => members.last().map_or(0, |last| (u64::from(*last) / 32 + 1) * 32),
        }
    }

    /// Returns the bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Bits(numbers) | Self::Sorted(numbers) => size_of_val::<[u32]>(numbers),
        }
    }
}

/// Which numbers are category codes. Fractions are truncated. Other numbers are members of no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeRule {
    /// `0 <= x < 16777216`.
    NonNegative,
    /// The same range. Other numbers, and codes beyond the last 32-bit word of a split's set, go where
    /// missing values go.
    NonNegativeElseMissing,
    /// `-1 < x < 2147483648`: truncated first, so −0.5 is category 0.
    Truncated,
}

impl CodeRule {
    /// Returns the code of a number.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked first; cutting off the fraction is the rule"
    )]
    pub(crate) fn of(self, x: f64) -> Option<u32> {
        let is_code = match self {
            Self::NonNegative | Self::NonNegativeElseMissing => (0.0..16_777_216.0).contains(&x),
            Self::Truncated => x > -1.0 && x < 2_147_483_648.0,
        };
        is_code.then_some(x as u32)
    }
}

/// How a number is changed before any split sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum InputRule<T> {
    /// Unchanged.
    AsIs,
    /// Rounded to `f32`.
    Rounded,
    /// Magnitudes up to [`ZERO`] become 0.
    TinyIsZero,
    /// This number means missing, as NaN does.
    Sentinel(T),
}

/// How a group's sum of leaves becomes its margin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MarginRule<T> {
    /// The sum, which begins with the base, is the margin.
    None,
    /// `scale · sum + bias`, one bias per group.
    ScaleBias(T, Vec<T>),
}

/// All trees of a model.
#[derive(Debug)]
pub(crate) struct Ensemble<T> {
    /// Inputs per row.
    pub(crate) features: usize,
    /// Margins per row.
    pub(crate) groups: usize,
    /// In the order in which their leaves are added.
    pub(crate) trees: Vec<Tree>,
    /// Inner nodes of all trees.
    pub(crate) splits: Vec<Split<T>>,
    /// Leaves of all trees.
    pub(crate) leaves: Vec<LeafNode>,
    /// `leaf_width` numbers per leaf.
    pub(crate) values: Vec<T>,
    /// 1, or `groups` when a leaf has a number for each.
    pub(crate) leaf_width: usize,
    /// Linear functions by leaf; empty if there are none.
    pub(crate) linear: Vec<LinearLeaf>,
    /// Categories.
    pub(crate) sets: Vec<CategorySet>,
    /// How numbers are compared.
    pub(crate) comparison: ThresholdRule,
    /// Which numbers are categories.
    pub(crate) codes: CodeRule,
    /// How inputs are changed first.
    pub(crate) input: InputRule<T>,
    /// The initial value of each group's sum.
    pub(crate) base: Vec<T>,
    /// How sums become margins.
    pub(crate) finish: MarginRule<T>,
    /// Training weight that reached each split; empty if the file does not record it.
    pub(crate) split_cover: Vec<T>,
    /// Training weight that reached each leaf; empty if the file does not record it.
    pub(crate) leaf_cover: Vec<T>,
}

impl<T: Real> Ensemble<T> {
    /// Returns the bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        let linear: usize = self
            .linear
            .iter()
            .map(|linear| size_of::<LinearLeaf>() + size_of_val(linear.terms.as_slice()))
            .sum();
        size_of_val(self.trees.as_slice())
            + size_of_val(self.splits.as_slice())
            + size_of_val(self.leaves.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.split_cover.as_slice())
            + size_of_val(self.leaf_cover.as_slice())
            + self
                .sets
                .iter()
                .map(|set| size_of::<CategorySet>() + set.bytes())
                .sum::<usize>()
            + linear
    }

    /// Applies the input rule to a row of `features` numbers.
    pub(crate) fn prepare<X: crate::Number>(&self, row: &[X], into: &mut [T]) {
        match self.input {
            InputRule::AsIs => fill(row, into, |x| T::cast(x)),
            InputRule::Rounded => fill(row, into, |x| T::cast(x.to_f32())),
            InputRule::TinyIsZero => fill(row, into, |x| {
                let tiny = x.to_f64().abs() <= f64::from(ZERO);
                if tiny { T::ZERO } else { T::cast(x) }
            }),
            InputRule::Sentinel(sentinel) => fill(row, into, |x| {
                let x = T::cast(x);
                if x == sentinel { T::cast(f32::NAN) } else { x }
            }),
        }
    }

    /// Turns a row's sums of leaves into its margins, in place.
    pub(crate) fn finish(&self, sums: &mut [T]) {
        match &self.finish {
            MarginRule::None => {}
            MarginRule::ScaleBias(scale, bias) => {
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum = *scale * *sum + *bias;
                }
            }
        }
    }
}

impl<T: Real> Ensemble<T> {
    /// Yields the groups that a leaf adds to, with the numbers added.
    #[cfg(test)]
    pub(crate) fn outputs(&self, tree: &Tree, leaf: usize) -> impl Iterator<Item = (usize, f64)> {
        let values = &self.values[leaf * self.leaf_width..][..self.leaf_width];
        let first = if self.leaf_width == 1 {
            tree.group as usize
        } else {
            0
        };
        values
            .iter()
            .enumerate()
            .map(move |(at, value)| (first + at, value.to_f64()))
    }

    /// Turns one group's contributions to the sum into contributions to the margin. The last number is the
    /// bias.
    pub(crate) fn finish_contributions(&self, group: usize, out: &mut [f64]) {
        match &self.finish {
            MarginRule::None => {}
            MarginRule::ScaleBias(scale, bias) => {
                out.iter_mut().for_each(|part| *part *= scale.to_f64());
                if let (Some(last), Some(bias)) = (out.last_mut(), bias.get(group)) {
                    *last += bias.to_f64();
                }
            }
        }
    }
}

fn fill<X: Copy, T>(row: &[X], into: &mut [T], cast: impl Fn(X) -> T) {
    for (to, from) in into.iter_mut().zip(row) {
        *to = cast(*from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_contain_their_members_in_either_form() {
        let bits = CategorySet::new(vec![3, 0, 33, 3]);
        let sorted = CategorySet::new(vec![4_000_000, 5]);
        assert!(matches!(bits, CategorySet::Bits(_)) && matches!(sorted, CategorySet::Sorted(_)));
        assert!([0, 3, 33].into_iter().all(|code| bits.contains(code)));
        assert!(!bits.contains(1) && !bits.contains(64));
        assert!(sorted.contains(5) && sorted.contains(4_000_000) && !sorted.contains(6));
        assert_eq!((bits.capacity(), sorted.capacity()), (64, 4_000_032));
    }

    #[test]
    fn codes_are_truncated_numbers_in_range() {
        for (rule, x, code) in [
            (CodeRule::NonNegative, 2.9, Some(2)),
            (CodeRule::NonNegative, -0.0, Some(0)),
            (CodeRule::NonNegative, -0.5, None),
            (CodeRule::NonNegative, 16_777_216.0, None),
            (CodeRule::NonNegativeElseMissing, 16_777_215.0, Some(16_777_215)),
            (CodeRule::Truncated, -0.5, Some(0)),
            (CodeRule::Truncated, -1.0, None),
            (CodeRule::Truncated, 2_147_483_648.0, None),
            (CodeRule::Truncated, f64::NAN, None),
        ] {
            assert_eq!(rule.of(x), code, "{rule:?}, {x}");
        }
    }
}
