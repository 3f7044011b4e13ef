//! Reads one tree: a list of nodes, the root first; child 0 means none.
//!
//! A split at which a missing value stops becomes two nodes: a test for missing, whose left child is a leaf
//! with the node's own prediction, and the split itself. Of `n` nodes in the file, the builder sees node `i`
//! as `i`, that leaf as `n + i`, and that split as `2n + i`.

use crate::builder::{EnsembleBuilder, Node};
use crate::document::{Document, Fault, ValueKind};
use crate::ensemble::SplitTest;
use crate::format::gbdt::count;

/// A node as in the file.
#[derive(Default)]
struct GbdtNode {
    feature: u32,
    threshold: f32,
    prediction: f32,
    /// −1 left, 0 stops here, other values right.
    missing: i64,
    is_leaf: bool,
    left: usize,
    right: usize,
}

/// The nodes of a tree.
#[derive(Default)]
pub(super) struct GbdtTree(Vec<GbdtNode>);

impl GbdtTree {
    /// Reads the next tree.
    pub(super) fn read<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        self.0.clear();
        document.object(|document, key| match key {
            "tree" => document.object(|document, key| match key {
                "tree" => document.array(|document, _| {
                    let mut raw = GbdtNode::default();
                    raw.read(document)?;
                    self.0.push(raw);
                    Ok(())
                }),
                _ => document.skip(),
            }),
            _ => document.skip(),
        })
    }

    /// Passes the tree to the builder.
    pub(super) fn build(&self, builder: &mut EnsembleBuilder<f32>) -> Result<(), String> {
        builder
            .tree(self.0.len().saturating_mul(3), |node| self.node(node))
            .map_err(|fault| format!("node {}: {}", fault.node, fault.reason))
    }

    fn node(&self, node: usize) -> Result<Node<'_, f32>, String> {
        let count = self.0.len();
        let position = node % count.max(1);
        let raw = self.0.get(position).ok_or("the tree has no nodes")?;
        if raw.is_leaf || node / count == 1 {
            return Ok(Node::Leaf {
                id: u32::try_from(position).map_err(|_| "the tree has too many nodes")?,
                value: std::slice::from_ref(&raw.prediction),
                cover: 0.0,
            });
        }
        let child = |child: usize| match child {
            0 => Err("a split needs two children".to_owned()),
            child if child >= count => Err(format!(
                "child {child} is out of range: the tree has {count} nodes"
            )),
            child => Ok(child),
        };
        let (test, left, right) = if raw.missing == 0 && node < count {
            (SplitTest::Missing, count + position, 2 * count + position)
        } else {
            (
                SplitTest::Threshold(raw.threshold),
                child(raw.left)?,
                child(raw.right)?,
            )
        };
        Ok(Node::Split {
            feature: raw.feature,
            test,
            missing_left: raw.missing == -1,
            zero_missing: false,
            left,
            right,
            cover: 0.0,
            gain: 0.0,
        })
    }
}

impl GbdtNode {
    fn read<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "left" => count(document).map(|child| self.left = child),
            "right" => count(document).map(|child| self.right = child),
            "value" => document.object(|document, key| match key {
                "feature_index" => {
                    let index = document.integer()?;
                    self.feature = u32::try_from(index)
                        .map_err(|_| document.fault("expected a non-negative feature index"))?;
                    Ok(())
                }
                "feature_value" => number(document).map(|number| self.threshold = number),
                "pred" => number(document).map(|number| self.prediction = number),
                "missing" => document.integer().map(|rule| self.missing = rule),
                "is_leaf" => document.integer().map(|flag| self.is_leaf = flag != 0),
                _ => document.skip(),
            }),
            _ => document.skip(),
        })
    }
}

/// Reads a number. The crate writes `null` for numbers that are not finite; the builder rejects them where
/// they are used.
fn number<'a, D: Document<'a>>(document: &mut D) -> Result<f32, Fault> {
    if document.shape()? == ValueKind::Null {
        document.skip()?;
        return Ok(f32::NAN);
    }
    document.f32()
}
