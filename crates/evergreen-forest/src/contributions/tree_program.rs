//! Trees as programs: the order in which the lane kernels enter and leave their splits.
//!
//! A program is the depth-first traversal of a tree. Children are reordered so that a split's only split child comes
//! first. Steps (one per split) and leaves are consumed in order.

use std::ops::Range;

use crate::contributions::lanes::{PASS_NODES, PerNode};
use crate::contributions::quadrature::{QuadratureNode, gauss_legendre, node_count};
use crate::contributions::tree_source::TreeSource;
use crate::ensemble::{ChildRef, ChildTarget, Tree};
use crate::number::Real;

/// What a kernel does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkOp {
    /// Enter a split whose first child is a split.
    Enter,
    /// Evaluate a split of two leaves.
    Terminal,
    /// Turn from the first child of a split to the second, which is a split too.
    Turn,
    /// Leave a split whose second child is a leaf.
    LeaveLeaf,
    /// Leave a split of two splits.
    Leave,
}

/// A split of a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalkStep {
    pub(super) column: u32,
    pub(super) bound: i32,
    /// −1 if the first child is the left one, 0 if it is the right one: the mask of the rows that go first is
    /// `(bin > bound) ^ flip`.
    pub(super) flip: i32,
    /// The share of the training weight that goes to the first child.
    pub(super) share: f32,
    /// One more than the position of the constants, if an earlier split of the path tests the same feature.
    pub(super) repeat: u32,
    /// The depth of the nearest such split.
    pub(super) ancestor: u32,
    /// The product of the shares of the path's edges at splits on this feature; 1 if there are none.
    pub(super) earlier: f32,
}

/// The constants of a repeated feature at the nodes of a pass: with the share `z` of its earlier splits and
/// `g = t + z (1 - t)`, `v = (1 - t) z / g` and `p = z / g²`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RepeatFactors {
    pub(super) v: PerNode,
    pub(super) p: PerNode,
}

/// Quadrature nodes that are evaluated together. Trees that need more are walked several times. Places without a node
/// have the weight 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassRule {
    pub(super) t: PerNode,
    /// `1 - t`
    pub(super) u: PerNode,
    /// `-1 / u`
    pub(super) off: PerNode,
    pub(super) weight: PerNode,
}

/// The quadrature for trees with a number of features on a path.
#[derive(Debug)]
struct RuleEntry {
    order: usize,
    /// Nodes per pass.
    nodes: usize,
    passes: Range<usize>,
}

/// One tree of [`TreePrograms`].
#[derive(Debug)]
struct ProgramSpan {
    rule: usize,
    ops: Range<usize>,
    steps: Range<usize>,
    leaves: Range<usize>,
    /// The constants of the first pass; those of the others follow.
    repeats: Range<usize>,
    /// Most splits on a path.
    depth: usize,
}

/// The programs of trees.
#[derive(Debug, Default)]
pub(super) struct TreePrograms {
    spans: Vec<ProgramSpan>,
    ops: Vec<WalkOp>,
    steps: Vec<WalkStep>,
    /// The leaves of a tree, less its mean, divided by the scale, once for each output.
    leaves: Vec<f32>,
    repeats: Vec<RepeatFactors>,
    rules: Vec<RuleEntry>,
    passes: Vec<PassRule>,
}

/// A tree, as a kernel walks it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreePass<'a> {
    pub(super) ops: &'a [WalkOp],
    pub(super) steps: &'a [WalkStep],
    pub(super) leaves: &'a [f32],
    pub(super) repeats: &'a [RepeatFactors],
    pub(super) rule: &'a PassRule,
}

impl TreePrograms {
    /// Appends a tree whose root is a split. Returns its number.
    pub(super) fn push<T: Real>(&mut self, source: &TreeSource<'_, T>, tree: &Tree, means: &[f64]) -> usize {
        let (ops, steps) = (self.ops.len(), self.steps.len());
        let (leaves, repeats) = (self.leaves.len(), self.repeats.len());
        let mut writer = ProgramWriter {
            source,
            programs: self,
            path: Vec::new(),
            leaves: Vec::new(),
            earlier: Vec::new(),
            distinct: 0,
            depth: 0,
        };
        writer.write(tree.root);
        let ProgramWriter {
            leaves: of_tree,
            earlier,
            distinct,
            depth,
            ..
        } = writer;
        for (output, mean) in means.iter().enumerate() {
            self.leaves
                .extend(of_tree.iter().map(|leaf| source.leaf(*leaf, output, *mean)));
        }
        let rule = self.rule(node_count(distinct));
        for pass in &self.passes[self.rules[rule].passes.clone()] {
            self.repeats.extend(earlier.iter().map(|z| factors(pass, *z)));
        }
        self.spans.push(ProgramSpan {
            rule,
            ops: ops..self.ops.len(),
            steps: steps..self.steps.len(),
            leaves: leaves..self.leaves.len(),
            repeats: repeats..repeats + earlier.len(),
            depth,
        });
        self.spans.len() - 1
    }

    /// Returns the position of the rule of `order` nodes.
    fn rule(&mut self, order: usize) -> usize {
        if let Some(known) = self.rules.iter().position(|rule| rule.order == order) {
            return known;
        }
        let passes = order.div_ceil(PASS_NODES);
        let nodes = order.div_ceil(passes).max(2);
        let mut rule = gauss_legendre(order);
        rule.resize(passes * nodes, QuadratureNode::PADDING);
        let first = self.passes.len();
        self.passes.extend(rule.chunks(nodes).map(pass_rule));
        self.rules.push(RuleEntry {
            order,
            nodes,
            passes: first..self.passes.len(),
        });
        self.rules.len() - 1
    }

    /// Returns the quadrature nodes per pass of a tree, at least 2 and at most [`PASS_NODES`].
    pub(super) fn nodes(&self, tree: usize) -> usize {
        self.rules[self.spans[tree].rule].nodes
    }

    /// Returns the quadrature nodes of a tree.
    pub(super) fn order(&self, tree: usize) -> usize {
        self.rules[self.spans[tree].rule].order
    }

    /// Returns the number of splits of a tree.
    pub(super) fn splits(&self, tree: usize) -> usize {
        self.spans[tree].steps.len()
    }

    /// Returns the most splits on a path of a tree.
    pub(super) fn depth(&self, tree: usize) -> usize {
        self.spans[tree].depth
    }

    /// Returns the most splits on a path of any tree.
    pub(super) fn most_depth(&self) -> usize {
        self.spans.iter().map(|span| span.depth).max().unwrap_or(0)
    }

    /// Returns the number of columns that the steps name: one more than the last of them.
    pub(super) fn columns(&self) -> usize {
        let columns = self.steps.iter().map(|step| step.column as usize + 1);
        columns.max().unwrap_or(0)
    }

    /// Yields the passes of a tree for one of `outputs` outputs.
    #[inline(always)]
    pub(super) fn passes(
        &self,
        tree: usize,
        output: usize,
        outputs: usize,
    ) -> impl Iterator<Item = TreePass<'_>> {
        let span = &self.spans[tree];
        let leaves = span.leaves.len() / outputs;
        let passes = &self.passes[self.rules[span.rule].passes.clone()];
        let repeats = span.repeats.len();
        passes.iter().enumerate().map(move |(pass, rule)| TreePass {
            ops: &self.ops[span.ops.clone()],
            steps: &self.steps[span.steps.clone()],
            leaves: &self.leaves[span.leaves.start + output * leaves..][..leaves],
            repeats: &self.repeats[span.repeats.start + pass * repeats..][..repeats],
            rule,
        })
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.spans.as_slice())
            + size_of_val(self.ops.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.leaves.as_slice())
            + size_of_val(self.repeats.as_slice())
            + size_of_val(self.rules.as_slice())
            + size_of_val(self.passes.as_slice())
    }

    /// Gives back the memory that growing reserved.
    pub(super) fn shrink(&mut self) {
        self.spans.shrink_to_fit();
        self.ops.shrink_to_fit();
        self.steps.shrink_to_fit();
        self.leaves.shrink_to_fit();
        self.repeats.shrink_to_fit();
    }
}

fn pass_rule(nodes: &[QuadratureNode]) -> PassRule {
    let mut all = [QuadratureNode::PADDING; PASS_NODES];
    all[..nodes.len()].copy_from_slice(nodes);
    let each = |number: fn(&QuadratureNode) -> f64| PerNode(all.map(|node| number(&node) as f32));
    PassRule {
        t: each(|node| node.t),
        u: each(|node| 1.0 - node.t),
        off: each(|node| -1.0 / (1.0 - node.t)),
        weight: each(|node| node.weight),
    }
}

fn factors(rule: &PassRule, z: f64) -> RepeatFactors {
    let mut factors = RepeatFactors::default();
    for (at, (t, u)) in rule.t.0.into_iter().zip(rule.u.0).enumerate() {
        let (t, u) = (f64::from(t), f64::from(u));
        let g = t + z * u;
        factors.v.0[at] = (u * z / g) as f32;
        factors.p.0[at] = (z / (g * g)) as f32;
    }
    factors
}

/// A split on the path to the node being written.
#[derive(Clone, Copy, Debug)]
struct PathSplit {
    feature: u32,
    /// The share of the first child.
    share: f64,
    /// The product of the shares of earlier edges of the path at splits on the feature.
    earlier: f64,
    /// The same with the edge of this split.
    cumulative: f64,
    /// Distinct features down to here.
    distinct: usize,
}

/// What is left to write.
#[derive(Clone, Copy, Debug)]
enum PendingOp {
    Node(ChildRef, usize),
    /// Turn to the second child of the split at a depth.
    Turn(usize),
    Leave,
    LeaveLeaf(usize),
}

/// Writes one tree.
struct ProgramWriter<'a, 'b, T> {
    source: &'a TreeSource<'b, T>,
    programs: &'a mut TreePrograms,
    path: Vec<PathSplit>,
    /// Leaves in the order of the program.
    leaves: Vec<usize>,
    /// The earlier share of each repeated feature.
    earlier: Vec<f64>,
    /// Most distinct features on a path.
    distinct: usize,
    /// Most splits on a path.
    depth: usize,
}

impl<T: Real> ProgramWriter<'_, '_, T> {
    fn write(&mut self, root: ChildRef) {
        let mut pending = vec![PendingOp::Node(root, 0)];
        while let Some(op) = pending.pop() {
            match op {
                PendingOp::Node(node, depth) => {
                    if let ChildTarget::Split(split) = node.target() {
                        self.split(split, depth, &mut pending);
                    }
                }
                PendingOp::Turn(depth) => {
                    let split = &mut self.path[depth];
                    split.cumulative = split.earlier * (1.0 - split.share);
                    self.programs.ops.push(WalkOp::Turn);
                }
                PendingOp::Leave => self.programs.ops.push(WalkOp::Leave),
                PendingOp::LeaveLeaf(leaf) => {
                    self.leaves.push(leaf);
                    self.programs.ops.push(WalkOp::LeaveLeaf);
                }
            }
        }
    }

    fn split(&mut self, position: usize, depth: usize, pending: &mut Vec<PendingOp>) {
        let split = &self.source.ensemble.splits[position];
        let sides = (split.left.target(), split.right.target());
        let left_first = !matches!(sides, (ChildTarget::Leaf(_), ChildTarget::Split(_)));
        let (first, second) = match left_first {
            true => (split.left, split.right),
            false => (split.right, split.left),
        };
        self.step(position, depth, left_first);
        match (first.target(), second.target()) {
            (ChildTarget::Leaf(first), ChildTarget::Leaf(second)) => {
                self.leaves.extend([first, second]);
                self.programs.ops.push(WalkOp::Terminal);
            }
            (ChildTarget::Split(_), ChildTarget::Leaf(leaf)) => {
                self.programs.ops.push(WalkOp::Enter);
                pending.extend([PendingOp::LeaveLeaf(leaf), PendingOp::Node(first, depth + 1)]);
            }
            _ => {
                self.programs.ops.push(WalkOp::Enter);
                pending.extend([
                    PendingOp::Leave,
                    PendingOp::Node(second, depth + 1),
                    PendingOp::Turn(depth),
                    PendingOp::Node(first, depth + 1),
                ]);
            }
        }
    }

    /// Writes the step of a split, and puts the split on the path with the edge to its first child.
    fn step(&mut self, position: usize, depth: usize, left_first: bool) {
        let TreeSource {
            ensemble,
            shares,
            tests,
            ..
        } = *self.source;
        let feature = ensemble.splits[position].feature;
        self.path.truncate(depth);
        let ancestor = self.path.iter().rposition(|split| split.feature == feature);
        let earlier = ancestor.map_or(1.0, |at| self.path[at].cumulative);
        let distinct = self.path.last().map_or(0, |split| split.distinct) + usize::from(ancestor.is_none());
        self.distinct = self.distinct.max(distinct);
        self.depth = self.depth.max(depth + 1);
        let left = shares.left(position);
        let share = if left_first { left } else { 1.0 - left };
        self.path.push(PathSplit {
            feature,
            share,
            earlier,
            cumulative: earlier * share,
            distinct,
        });
        if ancestor.is_some() {
            self.earlier.push(earlier);
        }
        self.programs.steps.push(WalkStep {
            column: tests[position].column,
            bound: tests[position].bound,
            flip: -i32::from(left_first),
            share: share as f32,
            repeat: ancestor.map_or(0, |_| self.earlier.len() as u32),
            ancestor: ancestor.unwrap_or(0) as u32,
            earlier: earlier as f32,
        });
    }
}
