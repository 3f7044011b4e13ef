//! Validates the nodes of a file and copies them into an [`Ensemble`]. Errors name the node.
//!
//! A parser describes node `i` of a tree on demand. The builder traverses the tree from the root with its own
//! stack and visits every node at most once. Cycles, shared children, children out of range and orphans
//! (which some libraries leave behind after pruning) are therefore handled here and nowhere else.

mod edit;
mod finish;

pub(crate) use finish::{BuildOutput, EnsembleSettings};

use crate::ensemble::{
    CategorySet, ChildRef, CodeRule, Ensemble, InputRule, LeafNode, MarginRule, Split, SplitTest,
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
                "found leaves of {width} numbers, expected {} as in the trees before",
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
            width => Err(format!(
                "found leaves of {width} numbers, expected 1 or one per group ({groups})"
            )),
        }
    }

    /// Stores a set of categories. Returns the test for membership.
    pub(crate) fn set(&mut self, members: Vec<u32>) -> Result<SplitTest<T>, String> {
        let position = u32::try_from(self.ensemble.sets.len())
            .map_err(|_| "the model has too many sets of categories")?;
        self.ensemble.sets.push(CategorySet::new(members));
        Ok(SplitTest::Member(position))
    }

    /// Stores a set given as a bitset. Returns the test for membership.
    pub(crate) fn set_of_words(&mut self, words: &[u32]) -> Result<SplitTest<T>, String> {
        let position = u32::try_from(self.ensemble.sets.len())
            .map_err(|_| "the model has too many sets of categories")?;
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
            return Err(format!(
                "the tree is too deep: at most {MAX_DEPTH} splits are supported"
            ));
        }
        match self.seen.get_mut(visit.node) {
            None => Err(format!(
                "the node does not exist: the tree has {} nodes",
                self.seen.len()
            )),
            Some(seen) if *seen => Err("reached twice: nodes must form a tree".into()),
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
                "found a leaf of {} numbers, expected {}",
                value.len(),
                self.ensemble.leaf_width
            ));
        }
        if !value.iter().all(|value| value.finite()) {
            return Err("the leaf value is not finite".into());
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
}
