//! The lane kernel: walks a tree split by split for eight rows at a time, or for one. It takes every tree.
//!
//! For a leaf of value `v` with `k` distinct features on its path, let `z` be the product of a feature's cover shares on
//! the path, and `o` 1 if the row goes along at all its splits, otherwise 0. The Shapley value of feature `j` is the sum
//! over leaves of `v (o_j - z_j) ∫₀¹ ∏_{i ≠ j} (o_i t + z_i (1 - t)) dt` (Linear TreeShap, arXiv 2209.08192, in integral
//! form). The integrand has the degree `k - 1`, so `⌈k / 2⌉` Gauss nodes are exact; [`node_count`](super::quadrature::node_count)
//! takes fewer for long paths. At a node `t`, with `u = 1 - t`, let
//! `A` be the product of the factors above a split times the quadrature weight, and `B` the sum over the leaves below
//! it, each times the factors between. Let `r` be the cover share of the side that the row does not take, `z` the
//! share of earlier splits on the same feature (1 if there are none), and `g = t + z u`:
//!
//! ```text
//! v = u z / g    p = z / g²                          an earlier split on the feature lost the row: v = 1, p = 0
//! down           A(not taken) = A r v                A(taken) = A - A r v
//! up             d = r (B(taken) - B(not taken))     B = B(taken) - v d
//! credit         φ[feature] += A p d
//! ```
//! Nothing is divided at run time, and `A` and `B` are convex combinations, so `f32` is stable at any depth. Leaves are
//! taken less their tree's mean, which changes no contribution and keeps large common values out of the differences.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over parallel arrays of a fixed length"
)]

use crate::contributions::lanes::{BinLine, LaneIsa, Lanes, Line, PASS_NODES};
use crate::contributions::tree_program::{PassRule, TreePass, WalkOp, WalkStep};

/// A split on the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WalkFrame {
    /// `A`, for each quadrature node.
    a: [Line; PASS_NODES],
    /// `B` of the first child.
    first: [Line; PASS_NODES],
    /// Rows that go to the first child.
    goes_first: Line,
    /// Rows that no earlier split on the feature has lost.
    kept: Line,
    /// Rows that are neither lost before nor by the edge that is being walked.
    here: Line,
    step: usize,
}

/// The working memory of a walk for one vector of rows.
pub(super) struct WalkRows<'a> {
    /// One line per column.
    pub(super) bins: &'a [BinLine],
    /// At least one more than the greatest depth.
    pub(super) frames: &'a mut [WalkFrame],
}

/// Takes what a walk finds. The depth of a split is the number of splits above it.
pub(super) trait CreditSink<S: LaneIsa, const Q: usize> {
    /// The walk follows the edge from a split to its first child; `here` are the rows that are kept by it and by earlier
    /// splits on the feature. Nothing is called for splits of two leaves.
    #[inline(always)]
    fn enter(&mut self, _isa: S, _rule: &PassRule, _step: &WalkStep, _depth: usize, _here: S::Lanes) {}
    /// The walk follows the edge to the second child.
    #[inline(always)]
    fn turn(&mut self, _isa: S, _rule: &PassRule, _step: &WalkStep, _depth: usize, _here: S::Lanes) {}
    /// The walk has left a split that it entered.
    #[inline(always)]
    fn leave(&mut self, _step: &WalkStep) {}
    /// A split's credit is the sum of the products `a p d` of the quadrature nodes.
    ///
    /// # Safety
    /// The column of the split is one of those that the sink was made for.
    unsafe fn credit(&mut self, isa: S, step: &WalkStep, depth: usize, ap: &[S::Lanes; Q], d: &[S::Lanes; Q]);
}

/// Sums the contributions by column.
pub(super) struct ColumnSums<'a>(pub(super) &'a mut [Line]);

impl<S: LaneIsa, const Q: usize> CreditSink<S, Q> for ColumnSums<'_> {
    #[inline(always)]
    unsafe fn credit(&mut self, isa: S, step: &WalkStep, _: usize, ap: &[S::Lanes; Q], d: &[S::Lanes; Q]) {
        debug_assert!((step.column as usize) < self.0.len());
        // SAFETY: guaranteed by the caller.
        let sum = unsafe { self.0.get_unchecked_mut(step.column as usize) };
        let mut total = isa.load(sum);
        for at in 0..Q {
            total = ap[at].mul_add(d[at], total);
        }
        total.store(sum);
    }
}

/// A split at eight rows.
struct SplitLanes<L> {
    goes_first: L,
    kept: L,
    /// The share of the side not taken: positive where the row goes first, negative elsewhere.
    lost: L,
}

/// Returns an element without a check, which takes a tenth of the time of a walk.
///
/// # Safety
/// There is one.
#[inline(always)]
unsafe fn at<T>(all: &[T], position: usize) -> &T {
    debug_assert!(position < all.len());
    // SAFETY: guaranteed by the caller.
    unsafe { all.get_unchecked(position) }
}

/// Returns the next element.
///
/// # Safety
/// There is one.
#[inline(always)]
unsafe fn next<'a, T>(all: &mut std::slice::Iter<'a, T>) -> &'a T {
    debug_assert!(!all.as_slice().is_empty());
    // SAFETY: guaranteed by the caller.
    unsafe { all.next().unwrap_unchecked() }
}

/// Returns the split at a depth of the path and the one below it.
///
/// # Safety
/// There are both.
#[inline(always)]
unsafe fn two_frames(frames: &mut [WalkFrame], depth: usize) -> [&mut WalkFrame; 2] {
    debug_assert!(depth + 1 < frames.len());
    // SAFETY: guaranteed by the caller.
    unsafe { frames.get_disjoint_unchecked_mut([depth, depth + 1]) }
}

/// Walks a tree for one pass of `Q` quadrature nodes.
///
/// # Safety
/// `tree` is a pass of [`TreePrograms`](super::tree_program::TreePrograms), which never name what is not there. `rows` and
/// `sink` have all columns of its steps, and `rows` has at least one more frame than the tree is deep.
#[inline(always)]
pub(super) unsafe fn walk<S: LaneIsa, const Q: usize>(
    isa: S,
    tree: &TreePass<'_>,
    rows: &mut WalkRows<'_>,
    sink: &mut impl CreditSink<S, Q>,
) {
    let WalkRows { bins, frames } = rows;
    let rule = tree.rule;
    let mut returned = [isa.splat(0.0); Q];
    let mut steps = tree.steps.iter();
    let mut leaves = tree.leaves.iter();
    let mut entered = 0;
    let mut depth = 0;
    let weight = isa.nodes::<Q>(&rule.weight);
    for at in 0..Q {
        weight[at].store(&mut frames[0].a[at]);
    }
    for op in tree.ops {
        match op {
            WalkOp::Enter => {
                // SAFETY: guaranteed by the caller.
                let step = unsafe { next(&mut steps) };
                // SAFETY: guaranteed by the caller.
                let split = unsafe { decide(isa, step, bins, frames) };
                // SAFETY: guaranteed by the caller.
                let v = unsafe { v::<S, Q>(isa, tree, step, split.kept) };
                // SAFETY: guaranteed by the caller.
                let [frame, below] = unsafe { two_frames(frames, depth) };
                let here = split.kept.and(split.goes_first);
                split.goes_first.store(&mut frame.goes_first);
                split.kept.store(&mut frame.kept);
                here.store(&mut frame.here);
                frame.step = entered;
                // |lost|, without its sign.
                let lost = isa.splat(-0.0).and_not(split.lost);
                for at in 0..Q {
                    let a = isa.load(&frame.a[at]);
                    let not_taken = a * (lost * v[at]);
                    split
                        .goes_first
                        .choose(a - not_taken, not_taken)
                        .store(&mut below.a[at]);
                }
                sink.enter(isa, rule, step, depth, here);
                entered += 1;
                depth += 1;
            }
            WalkOp::Terminal => {
                // SAFETY: guaranteed by the caller.
                let step = unsafe { next(&mut steps) };
                // SAFETY: guaranteed by the caller.
                let (first, second) = unsafe { (next(&mut leaves), next(&mut leaves)) };
                // SAFETY: guaranteed by the caller.
                let split = unsafe { decide(isa, step, bins, frames) };
                let d = split.lost * isa.splat(*first - *second);
                let taken = split.goes_first.choose(isa.splat(*first), isa.splat(*second));
                // SAFETY: guaranteed by the caller.
                let v = unsafe { v::<S, Q>(isa, tree, step, split.kept) };
                for at in 0..Q {
                    returned[at] = v[at].subtract_product(d, taken);
                }
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let a = &at(frames, depth).a;
                    let ap = a_p::<S, Q>(isa, tree, step, a, split.kept);
                    sink.credit(isa, step, depth, &ap, &[d; Q]);
                }
                entered += 1;
            }
            WalkOp::Turn => {
                // SAFETY: guaranteed by the caller.
                let [frame, below] = unsafe { two_frames(frames, depth - 1) };
                let here = isa.load(&frame.goes_first).and_not(isa.load(&frame.kept));
                here.store(&mut frame.here);
                for at in 0..Q {
                    returned[at].store(&mut frame.first[at]);
                    let second = isa.load(&frame.a[at]) - isa.load(&below.a[at]);
                    second.store(&mut below.a[at]);
                }
                // SAFETY: the number of a step that was taken.
                let step = unsafe { at(tree.steps, frame.step) };
                sink.turn(isa, rule, step, depth - 1, here);
            }
            WalkOp::LeaveLeaf => {
                // SAFETY: guaranteed by the caller.
                let second = unsafe { next(&mut leaves) };
                depth -= 1;
                let second = [isa.splat(*second); Q];
                // SAFETY: guaranteed by the caller.
                returned = unsafe {
                    let frame = at(frames, depth);
                    leave(isa, tree, depth, frame, (&returned, &second), sink)
                };
            }
            WalkOp::Leave => {
                depth -= 1;
                // SAFETY: guaranteed by the caller.
                let frame = unsafe { at(frames, depth) };
                let mut first = returned;
                for at in 0..Q {
                    first[at] = isa.load(&frame.first[at]);
                }
                // SAFETY: guaranteed by the caller.
                returned = unsafe { leave(isa, tree, depth, frame, (&first, &returned), sink) };
            }
        }
    }
}

/// Evaluates the test of a split.
///
/// # Safety
/// As [`walk`].
#[inline(always)]
unsafe fn decide<S: LaneIsa>(
    isa: S,
    step: &WalkStep,
    bins: &[BinLine],
    frames: &[WalkFrame],
) -> SplitLanes<S::Lanes> {
    // SAFETY: guaranteed by the caller.
    let bins = unsafe { at(bins, step.column as usize) };
    let goes_first = isa.greater(bins, step.bound, step.flip);
    let kept = match step.repeat {
        0 => isa.splat(f32::from_bits(u32::MAX)),
        // SAFETY: a split above has a frame.
        _ => isa.load(unsafe { &at(frames, step.ancestor as usize).here }),
    };
    SplitLanes {
        goes_first,
        kept,
        lost: lost(isa, step, goes_first),
    }
}

/// Returns the share of the side that is not taken: `1 - share` where the row goes first, `-share` elsewhere.
#[inline(always)]
fn lost<S: LaneIsa>(isa: S, step: &WalkStep, goes_first: S::Lanes) -> S::Lanes {
    goes_first.and(isa.splat(1.0)) - isa.splat(step.share)
}

/// Returns `v` at each quadrature node.
///
/// # Safety
/// As [`walk`].
#[inline(always)]
unsafe fn v<S: LaneIsa, const Q: usize>(
    isa: S,
    tree: &TreePass<'_>,
    step: &WalkStep,
    kept: S::Lanes,
) -> [S::Lanes; Q] {
    if step.repeat == 0 {
        return isa.nodes(&tree.rule.u);
    }
    // SAFETY: guaranteed by the caller.
    let factors = unsafe { at(tree.repeats, step.repeat as usize - 1) };
    let mut v = isa.nodes::<Q>(&factors.v);
    for at in 0..Q {
        v[at] = kept.choose(v[at], isa.splat(1.0));
    }
    v
}

/// Returns `A p` at each quadrature node.
///
/// # Safety
/// As [`walk`].
#[inline(always)]
unsafe fn a_p<S: LaneIsa, const Q: usize>(
    isa: S,
    tree: &TreePass<'_>,
    step: &WalkStep,
    a: &[Line; PASS_NODES],
    kept: S::Lanes,
) -> [S::Lanes; Q] {
    let mut ap = [kept; Q];
    for at in 0..Q {
        ap[at] = isa.load(&a[at]);
    }
    if step.repeat != 0 {
        // SAFETY: guaranteed by the caller.
        let factors = unsafe { at(tree.repeats, step.repeat as usize - 1) };
        let p = isa.nodes::<Q>(&factors.p);
        for at in 0..Q {
            ap[at] = ap[at] * kept.and(p[at]);
        }
    }
    ap
}

/// Credits a split, given `B` of its children, and returns its `B`.
///
/// # Safety
/// As [`walk`].
#[inline(always)]
unsafe fn leave<S: LaneIsa, const Q: usize>(
    isa: S,
    tree: &TreePass<'_>,
    depth: usize,
    frame: &WalkFrame,
    (first, second): (&[S::Lanes; Q], &[S::Lanes; Q]),
    sink: &mut impl CreditSink<S, Q>,
) -> [S::Lanes; Q] {
    // SAFETY: the number of a step that was taken.
    let step = unsafe { at(tree.steps, frame.step) };
    let goes_first = isa.load(&frame.goes_first);
    let kept = isa.load(&frame.kept);
    let lost = lost(isa, step, goes_first);
    // SAFETY: guaranteed by the caller.
    let v = unsafe { v::<S, Q>(isa, tree, step, kept) };
    let (mut d, mut b) = (*first, *first);
    for at in 0..Q {
        d[at] = lost * (first[at] - second[at]);
        b[at] = v[at].subtract_product(d[at], goes_first.choose(first[at], second[at]));
    }
    // SAFETY: guaranteed by the caller.
    let ap = unsafe { a_p::<S, Q>(isa, tree, step, &frame.a, kept) };
    sink.leave(step);
    // SAFETY: guaranteed by the caller.
    unsafe { sink.credit(isa, step, depth, &ap, &d) };
    b
}
