//! Validates the nodes of a file and copies them into an [`Ensemble`]. Errors name the node.
//!
//! A parser describes node `i` of a tree on demand. The builder traverses the tree from the root with its own
//! stack and visits every node at most once. Cycles, shared children, children out of range and orphans
//! (which some libraries leave behind after pruning) are therefore handled here and nowhere else.

use crate::ensemble::{
    CategorySet, ChildRef, CodeRule, Ensemble, InputRule, LeafNode, LinearLeaf, MarginRule, Split, SplitTest,
    ThresholdRule, Tree,
};
use crate::number::Real;

/// Most splits on a path. Libraries grow 6 to 16; leaf-wise growth without a limit reaches about 100.
pub(crate) const MAX_DEPTH: usize = 1024;

/// A node as a file describes it. Children are positions in the file's tree.
#[derive(Debug)]
pub(crate) enum Node<'a, T> {
    /// A leaf with its numbers.
    Leaf {
        /// The number that `pred_leaf` returns.
        id: u32,
        /// One number, or one per group.
        value: &'a [T],
        /// Training weight.
        cover: T,
    },
    /// An inner node.
    Split {
        /// The feature to test.
        feature: u32,
        /// The test; `true` goes left.
        test: SplitTest<T>,
        /// A missing value goes left.
        missing_left: bool,
        /// Zero counts as missing.
        zero_missing: bool,
        /// Where `true` goes.
        left: usize,
        /// Where `false` goes.
        right: usize,
        /// Training weight.
        cover: T,
        /// Gain of the split in training.
        gain: T,
    },
}

/// An error in a tree.
#[derive(Debug)]
pub(crate) struct TreeFault {
    /// The node.
    pub(crate) node: usize,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// Where to write a node's position once it is known.
#[derive(Clone, Copy)]
enum ChildSlot {
    Root,
    Left(usize),
    Right(usize),
}

/// A node to visit.
#[derive(Clone, Copy)]
struct PendingNode {
    node: usize,
    slot: ChildSlot,
    depth: usize,
}

/// An ensemble under construction.
#[derive(Debug)]
pub(crate) struct EnsembleBuilder<T> {
    ensemble: Ensemble<T>,
    gains: Vec<T>,
    lacks_cover: bool,
    depth: usize,
    seen: Vec<bool>,
}

/// What is known about a model only after all its trees.
#[derive(Debug)]
pub(crate) struct EnsembleSettings<T> {
    /// Inputs per row.
    pub(crate) features: usize,
    /// Margins per row.
    pub(crate) groups: usize,
    /// The initial value of each group's sum.
    pub(crate) base: Vec<T>,
    /// How sums become margins.
    pub(crate) finish: MarginRule<T>,
}

/// A finished ensemble and its statistics.
#[derive(Debug)]
pub(crate) struct BuildOutput<T> {
    /// The ensemble.
    pub(crate) ensemble: Ensemble<T>,
    /// Splits and total gain by feature.
    pub(crate) use_of: Vec<(u32, f64)>,
    /// Whether any split on the feature tests for a category.
    pub(crate) categorical: Vec<bool>,
    /// Most splits on a path.
    pub(crate) depth: usize,
}

impl<T: Real> EnsembleBuilder<T> {
    /// Creates an empty ensemble with a library's rules.
    pub(crate) fn new(comparison: ThresholdRule, codes: CodeRule, input: InputRule<T>) -> Self {
        Self {
            ensemble: Ensemble {
                features: 0,
                groups: 0,
                trees: Vec::new(),
                splits: Vec::new(),
                leaves: Vec::new(),
                values: Vec::new(),
                leaf_width: 1,
                linear: Vec::new(),
                sets: Vec::new(),
                comparison,
                codes,
                input,
                base: Vec::new(),
                finish: MarginRule::None,
                split_cover: Vec::new(),
                leaf_cover: Vec::new(),
            },
            gains: Vec::new(),
            lacks_cover: false,
            depth: 0,
            seen: Vec::new(),
        }
    }

    /// Returns the number of trees so far.
    pub(crate) fn trees(&self) -> usize {
        self.ensemble.trees.len()
    }

    /// Returns the number of leaves so far: the position of the next tree's first leaf.
    pub(crate) fn leaves(&self) -> usize {
        self.ensemble.leaves.len()
    }

    /// Sets the numbers per leaf. Every tree must have the same.
    pub(crate) fn leaf_width(&mut self, width: usize) -> Result<(), String> {
        if self.trees() > 0 && width != self.ensemble.leaf_width {
            return Err(format!(
                "leaves of {width} numbers after trees with leaves of {}",
                self.ensemble.leaf_width
            ));
        }
        self.ensemble.leaf_width = width;
        Ok(())
    }

    /// Replaces the rule for category codes, where it depends on what the file records last.
    pub(crate) fn codes(&mut self, codes: CodeRule) {
        self.ensemble.codes = codes;
    }

    /// Checks that leaves have one number, or one per group.
    pub(crate) fn leaf_width_is(&self, groups: usize) -> Result<(), String> {
        match self.ensemble.leaf_width {
            1 => Ok(()),
            width if width == groups => Ok(()),
            width => Err(format!("leaves of {width} numbers in a model of {groups} groups")),
        }
    }

    /// Stores a set of categories. Returns the test for membership.
    pub(crate) fn set(&mut self, members: Vec<u32>) -> Result<SplitTest<T>, String> {
        let position = u32::try_from(self.ensemble.sets.len()).map_err(|_| "too many sets of categories")?;
        self.ensemble.sets.push(CategorySet::new(members));
        Ok(SplitTest::Member(position))
    }

    /// Stores a set given as a bitset. Returns the test for membership.
    pub(crate) fn set_of_words(&mut self, words: &[u32]) -> Result<SplitTest<T>, String> {
        let position = u32::try_from(self.ensemble.sets.len()).map_err(|_| "too many sets of categories")?;
        self.ensemble.sets.push(CategorySet::Bits(words.into()));
        Ok(SplitTest::Member(position))
    }

    /// Adds a tree of `nodes` nodes. Node 0 is the root; `describe` returns each node.
    pub(crate) fn tree<'a>(
        &mut self,
        nodes: usize,
        describe: impl Fn(usize) -> Result<Node<'a, T>, String>,
    ) -> Result<(), TreeFault>
    where
        T: 'a,
    {
        let too_many = |_| TreeFault {
            node: 0,
            reason: "the model has too many nodes".into(),
        };
        let mut tree = Tree {
            root: ChildRef::leaf(0).ok_or(()).map_err(too_many)?,
            group: 0,
            first_split: u32::try_from(self.ensemble.splits.len()).map_err(|_| too_many(()))?,
            first_leaf: u32::try_from(self.ensemble.leaves.len()).map_err(|_| too_many(()))?,
        };
        self.seen.clear();
        self.seen.resize(nodes, false);
        let mut stack = vec![PendingNode {
            node: 0,
            slot: ChildSlot::Root,
            depth: 0,
        }];
        while let Some(visit) = stack.pop() {
            let fault = |reason: String| TreeFault {
                node: visit.node,
                reason,
            };
            self.arrive(&visit).map_err(fault)?;
            let child = match describe(visit.node).map_err(fault)? {
                Node::Leaf { id, value, cover } => self.leaf(id, value, cover).map_err(fault)?,
                split @ Node::Split { left, right, .. } => {
                    let position = self.split(&split).map_err(fault)?;
                    let depth = visit.depth + 1;
                    for (node, slot) in [
                        (right, ChildSlot::Right(position)),
                        (left, ChildSlot::Left(position)),
                    ] {
                        stack.push(PendingNode { node, slot, depth });
                    }
                    ChildRef::split(position).ok_or(()).map_err(too_many)?
                }
            };
            self.link(&mut tree, visit.slot, child);
        }
        self.ensemble.trees.push(tree);
        Ok(())
    }

    /// Marks a node as visited. Fails if it was visited before or does not exist.
    fn arrive(&mut self, visit: &PendingNode) -> Result<(), String> {
        self.depth = self.depth.max(visit.depth);
        if visit.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} splits deep"));
        }
        match self.seen.get_mut(visit.node) {
            None => Err(format!("there is no such node: the tree has {}", self.seen.len())),
            Some(seen) if *seen => Err("reached twice: this is not a tree".into()),
            Some(seen) => {
                *seen = true;
                Ok(())
            }
        }
    }

    fn link(&mut self, tree: &mut Tree, slot: ChildSlot, child: ChildRef) {
        match slot {
            ChildSlot::Root => tree.root = child,
            ChildSlot::Left(at) => {
                if let Some(split) = self.ensemble.splits.get_mut(at) {
                    split.left = child;
                }
            }
            ChildSlot::Right(at) => {
                if let Some(split) = self.ensemble.splits.get_mut(at) {
                    split.right = child;
                }
            }
        }
    }

    fn leaf(&mut self, id: u32, value: &[T], cover: T) -> Result<ChildRef, String> {
        if value.len() != self.ensemble.leaf_width {
            return Err(format!(
                "a leaf of {} numbers, expected {}",
                value.len(),
                self.ensemble.leaf_width
            ));
        }
        if !value.iter().all(|value| value.finite()) {
            return Err("the leaf's value is not finite".into());
        }
        let child = ChildRef::leaf(self.ensemble.leaves.len()).ok_or("the model has too many leaves")?;
        self.ensemble.leaves.push(LeafNode { id });
        self.ensemble.values.extend_from_slice(value);
        self.ensemble.leaf_cover.push(cover);
        Ok(child)
    }

    fn split(&mut self, node: &Node<'_, T>) -> Result<usize, String> {
        let Node::Split {
            feature,
            test,
            missing_left,
            zero_missing,
            cover,
            gain,
            ..
        } = *node
        else {
            return Err("not a split".into());
        };
        if let SplitTest::Threshold(threshold) = test
            && threshold.missing()
        {
            return Err("the threshold is not a number".into());
        }
        let position = self.ensemble.splits.len();
        let placeholder = ChildRef::split(position).ok_or("the model has too many splits")?;
        self.ensemble.splits.push(Split {
            test,
            feature,
            left: placeholder,
            right: placeholder,
            missing_left,
            zero_missing,
        });
        self.ensemble.split_cover.push(cover);
        self.gains.push(gain);
        Ok(position)
    }

    /// Removes every tree from position `keep` on.
    pub(crate) fn truncate(&mut self, keep: usize) {
        let Some(first) = self.ensemble.trees.get(keep).copied() else {
            return;
        };
        let (splits, leaves) = (first.first_split as usize, first.first_leaf as usize);
        self.ensemble.trees.truncate(keep);
        self.ensemble.splits.truncate(splits);
        self.ensemble.split_cover.truncate(splits);
        self.gains.truncate(splits);
        self.ensemble.leaves.truncate(leaves);
        self.ensemble.leaf_cover.truncate(leaves);
        self.ensemble.linear.truncate(leaves);
        self.ensemble.values.truncate(leaves * self.ensemble.leaf_width);
    }

    /// Sets the output group of a tree.
    pub(crate) fn group(&mut self, tree: usize, group: u32) {
        if let Some(tree) = self.ensemble.trees.get_mut(tree) {
            tree.group = group;
        }
    }

    /// Multiplies a tree's leaves.
    pub(crate) fn scale(&mut self, tree: usize, by: T) {
        let width = self.ensemble.leaf_width;
        let Some(first) = self.ensemble.trees.get(tree).map(|tree| tree.first_leaf as usize) else {
            return;
        };
        let end = self
            .ensemble
            .trees
            .get(tree + 1)
            .map_or(self.ensemble.leaves.len(), |next| next.first_leaf as usize);
        if let Some(values) = self.ensemble.values.get_mut(first * width..end * width) {
            values.iter_mut().for_each(|value| *value = *value * by);
        }
    }

    /// Assigns linear functions to the leaves of the last tree, which begin at position `first`. `functions`
    /// is indexed by the library's leaf numbers; it is empty if there are none.
    pub(crate) fn linear(&mut self, first: usize, functions: Vec<LinearLeaf>) {
        if functions.is_empty() && self.ensemble.linear.is_empty() {
            return;
        }
        let Ensemble { linear, leaves, .. } = &mut self.ensemble;
        linear.resize_with(first, LinearLeaf::default);
        let mut functions = functions;
        for leaf in leaves.iter().skip(first) {
            let function = functions.get_mut(leaf.id as usize).map(std::mem::take);
            linear.push(function.unwrap_or_default());
        }
    }

    /// Records that a tree lacks the training weights of its nodes.
    pub(crate) fn lacks_cover(&mut self) {
        self.lacks_cover = true;
    }

    /// Returns whether every tree so far has the training weights of its nodes.
    pub(crate) fn has_cover(&self) -> bool {
        !self.lacks_cover
    }

    /// Checks what spans several trees, and returns the ensemble.
    ///
    /// # Errors
    /// The tree, and what is wrong with it.
    pub(crate) fn finish(mut self, rest: EnsembleSettings<T>) -> Result<BuildOutput<T>, (usize, String)> {
        let mut use_of = vec![(0u32, 0f64); rest.features];
        let mut categorical = vec![false; rest.features];
        for (position, (split, gain)) in self.ensemble.splits.iter().zip(&self.gains).enumerate() {
            let Some((splits, gains)) = use_of.get_mut(split.feature as usize) else {
                let tree = self.tree_of(position);
                let reason = format!(
                    "splits on feature {}, but the model has {}",
                    split.feature, rest.features
                );
                return Err((tree, reason));
            };
            *splits += 1;
            *gains += gain.to_f64();
            if let (SplitTest::Member(_), Some(flag)) =
                (split.test, categorical.get_mut(split.feature as usize))
            {
                *flag = true;
            }
        }
        self.check_linear(rest.features)?;
        for (position, tree) in self.ensemble.trees.iter().enumerate() {
            if tree.group as usize >= rest.groups {
                let reason = format!("adds to group {}, but the model has {}", tree.group, rest.groups);
                return Err((position, reason));
            }
        }
        if self.lacks_cover {
            self.ensemble.split_cover = Vec::new();
            self.ensemble.leaf_cover = Vec::new();
        }
        self.ensemble.features = rest.features;
        self.ensemble.groups = rest.groups;
        self.ensemble.base = rest.base;
        self.ensemble.finish = rest.finish;
        self.ensemble.splits.shrink_to_fit();
        self.ensemble.values.shrink_to_fit();
        Ok(BuildOutput {
            ensemble: self.ensemble,
            use_of,
            categorical,
            depth: self.depth,
        })
    }

    /// Checks the features of linear leaves.
    fn check_linear(&self, features: usize) -> Result<(), (usize, String)> {
        for (leaf, linear) in self.ensemble.linear.iter().enumerate() {
            for (feature, _) in &linear.terms {
                if *feature as usize >= features {
                    let trees = &self.ensemble.trees;
                    let tree = trees.partition_point(|tree| tree.first_leaf as usize <= leaf);
                    let reason = format!("a leaf uses feature {feature}, but the model has {features}");
                    return Err((tree.saturating_sub(1), reason));
                }
            }
        }
        Ok(())
    }

    fn tree_of(&self, split: usize) -> usize {
        self.ensemble
            .trees
            .partition_point(|tree| tree.first_split as usize <= split)
            .saturating_sub(1)
    }
}
