//! The lane kernel: walks a tree split by split for eight rows at a time. It takes every tree.
//!
//! For a leaf of value `v` with `k` distinct features on its path, let `z` be the product of a feature's cover shares on
//! the path, and `o` 1 if the row goes along at all its splits, otherwise 0. The Shapley value of feature `j` is the sum
//! over leaves of `v (o_j - z_j) ∫₀¹ ∏_{i ≠ j} (o_i t + z_i (1 - t)) dt` (Linear TreeShap, arXiv 2209.08192, in integral
//! form). The integrand has the degree `k - 1`, so `⌈k / 2⌉` Gauss nodes are exact. At a node `t`, with `u = 1 - t`, let
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

use crate::contributions::lanes::{BinLine, LaneIsa, Lanes, Line};
use crate::contributions::tree_program::{PASS_NODES, PassRule, TreePass, WalkOp, WalkStep};

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
    fn credit(&mut self, isa: S, step: &WalkStep, depth: usize, ap: &[S::Lanes; Q], d: &[S::Lanes; Q]);
}

/// Sums the contributions by column.
pub(super) struct ColumnSums<'a>(pub(super) &'a mut [Line]);

impl<S: LaneIsa, const Q: usize> CreditSink<S, Q> for ColumnSums<'_> {
    #[inline(always)]
    fn credit(&mut self, isa: S, step: &WalkStep, _: usize, ap: &[S::Lanes; Q], d: &[S::Lanes; Q]) {
        let sum = &mut self.0[step.column as usize];
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

/// Walks a tree for one pass of `Q` quadrature nodes.
#[inline(always)]
pub(super) fn walk<S: LaneIsa, const Q: usize>(
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
    for at in 0..Q {
        isa.splat(rule.weight[at]).store(&mut frames[0].a[at]);
    }
    for op in tree.ops {
        match op {
            WalkOp::Enter => {
                let Some(step) = steps.next() else { return };
                let split = decide(isa, step, bins, frames);
                let [frame, below, ..] = &mut frames[depth..] else {
                    return;
                };
                let here = split.kept.and(split.goes_first);
                split.goes_first.store(&mut frame.goes_first);
                split.kept.store(&mut frame.kept);
                here.store(&mut frame.here);
                frame.step = entered;
                // |lost|, without its sign.
                let lost = isa.splat(-0.0).and_not(split.lost);
                let v = v::<S, Q>(isa, tree, step, split.kept);
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
                let Some(step) = steps.next() else { return };
                let (Some(first), Some(second)) = (leaves.next(), leaves.next()) else {
                    return;
                };
                let split = decide(isa, step, bins, frames);
                let d = split.lost * isa.splat(*first - *second);
                let taken = split.goes_first.choose(isa.splat(*first), isa.splat(*second));
                let v = v::<S, Q>(isa, tree, step, split.kept);
                for at in 0..Q {
                    returned[at] = v[at].subtract_product(d, taken);
                }
                let ap = a_p::<S, Q>(isa, tree, step, &frames[depth].a, split.kept);
                sink.credit(isa, step, depth, &ap, &[d; Q]);
                entered += 1;
            }
            WalkOp::Turn => {
                let [frame, below, ..] = &mut frames[depth - 1..] else {
                    return;
                };
                let here = isa.load(&frame.goes_first).and_not(isa.load(&frame.kept));
                here.store(&mut frame.here);
                for at in 0..Q {
                    returned[at].store(&mut frame.first[at]);
                    let second = isa.load(&frame.a[at]) - isa.load(&below.a[at]);
                    second.store(&mut below.a[at]);
                }
                sink.turn(isa, rule, &tree.steps[frame.step], depth - 1, here);
            }
            WalkOp::LeaveLeaf => {
                let Some(second) = leaves.next() else { return };
                depth -= 1;
                let second = [isa.splat(*second); Q];
                returned = leave(isa, tree, depth, &frames[depth], (&returned, &second), sink);
            }
            WalkOp::Leave => {
                depth -= 1;
                let frame = &frames[depth];
                let mut first = returned;
                for at in 0..Q {
                    first[at] = isa.load(&frame.first[at]);
                }
                returned = leave(isa, tree, depth, frame, (&first, &returned), sink);
            }
        }
    }
}

/// Evaluates the test of a split.
#[inline(always)]
fn decide<S: LaneIsa>(
    isa: S,
    step: &WalkStep,
    bins: &[BinLine],
    frames: &[WalkFrame],
) -> SplitLanes<S::Lanes> {
    let goes_first = isa.greater(&bins[step.column as usize], step.bound, step.flip);
    let kept = match step.repeat {
        0 => isa.splat(f32::from_bits(u32::MAX)),
        _ => isa.load(&frames[step.ancestor as usize].here),
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
#[inline(always)]
fn v<S: LaneIsa, const Q: usize>(
    isa: S,
    tree: &TreePass<'_>,
    step: &WalkStep,
    kept: S::Lanes,
) -> [S::Lanes; Q] {
    let one = isa.splat(1.0);
    let mut v = [one; Q];
    if step.repeat == 0 {
        for at in 0..Q {
            v[at] = isa.splat(tree.rule.u[at]);
        }
    } else {
        let factors = &tree.repeats[step.repeat as usize - 1];
        for at in 0..Q {
            v[at] = kept.choose(isa.splat(factors.v[at]), one);
        }
    }
    v
}

/// Returns `A p` at each quadrature node.
#[inline(always)]
fn a_p<S: LaneIsa, const Q: usize>(
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
        let factors = &tree.repeats[step.repeat as usize - 1];
        for at in 0..Q {
            ap[at] = ap[at] * kept.and(isa.splat(factors.p[at]));
        }
    }
    ap
}

/// Credits a split, given `B` of its children, and returns its `B`.
#[inline(always)]
fn leave<S: LaneIsa, const Q: usize>(
    isa: S,
    tree: &TreePass<'_>,
    depth: usize,
    frame: &WalkFrame,
    (first, second): (&[S::Lanes; Q], &[S::Lanes; Q]),
    sink: &mut impl CreditSink<S, Q>,
) -> [S::Lanes; Q] {
    let step = &tree.steps[frame.step];
    let goes_first = isa.load(&frame.goes_first);
    let kept = isa.load(&frame.kept);
    let lost = lost(isa, step, goes_first);
    let v = v::<S, Q>(isa, tree, step, kept);
    let (mut d, mut b) = (*first, *first);
    for at in 0..Q {
        d[at] = lost * (first[at] - second[at]);
        b[at] = v[at].subtract_product(d[at], goes_first.choose(first[at], second[at]));
    }
    let ap = a_p::<S, Q>(isa, tree, step, &frame.a, kept);
    sink.leave(step);
    sink.credit(isa, step, depth, &ap, &d);
    b
}
