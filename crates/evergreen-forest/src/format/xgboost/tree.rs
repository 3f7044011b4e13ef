//! Reads one tree: a few arrays with one entry per node.
//!
//! `split_conditions` holds thresholds and, at leaves, leaf values. The condition of a categorical node is a
//! placeholder; its categories are `categories[segments[k]..][..sizes[k]]` where `categories_nodes[k]` is the
//! node, and they go *right*. A vector leaf is a row of `leaf_weights`, whose number is stored as its right
//! child (since 3.2), or its own row of `base_weights` (before).

use crate::builder::{EnsembleBuilder, Node};
use crate::document::{Document, Fault};
use crate::ensemble::SplitTest;
use crate::format::xgboost::count;

/// The arrays of a tree. They are reused, so that only the largest tree allocates.
#[derive(Default)]
pub(super) struct XgBoostTree {
    left: Vec<i32>,
    right: Vec<i32>,
    feature: Vec<i32>,
    condition: Vec<f32>,
    default_left: Vec<u8>,
    gain: Vec<f32>,
    cover: Vec<f32>,
    split_type: Vec<u8>,
    base_weights: Vec<f32>,
    leaf_weights: Vec<f32>,
    categories: Vec<u32>,
    category_nodes: Vec<usize>,
    category_segments: Vec<usize>,
    category_sizes: Vec<usize>,
    /// The test of each categorical node.
    sets: Vec<Option<SplitTest<f32>>>,
    nodes: Option<usize>,
    leaf_width: usize,
}

impl XgBoostTree {
    fn clear(&mut self) {
        for column in [&mut self.left, &mut self.right, &mut self.feature] {
            column.clear();
        }
        for column in [
            &mut self.condition,
            &mut self.gain,
            &mut self.cover,
            &mut self.base_weights,
            &mut self.leaf_weights,
        ] {
            column.clear();
        }
        for column in [
            &mut self.category_nodes,
            &mut self.category_segments,
            &mut self.category_sizes,
        ] {
            column.clear();
        }
        self.default_left.clear();
        self.split_type.clear();
        self.categories.clear();
        self.nodes = None;
        self.leaf_width = 1;
    }

    /// Reads the next tree.
    pub(super) fn read<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        self.clear();
        document.object(|document, key| match key {
            "left_children" => document.integers(&mut self.left),
            "right_children" => document.integers(&mut self.right),
            "split_indices" => document.integers(&mut self.feature),
            "split_conditions" => document.f32s(&mut self.condition),
            "default_left" => document.integers(&mut self.default_left),
            "loss_changes" => document.f32s(&mut self.gain),
            "sum_hessian" => document.f32s(&mut self.cover),
            "base_weights" => document.f32s(&mut self.base_weights),
            "leaf_weights" => document.f32s(&mut self.leaf_weights),
            "split_type" => document.integers(&mut self.split_type),
            "categories" => document.integers(&mut self.categories),
            "categories_nodes" => document.integers(&mut self.category_nodes),
            "categories_segments" => document.integers(&mut self.category_segments),
            "categories_sizes" => document.integers(&mut self.category_sizes),
            "tree_param" => document.object(|document, key| match key {
                "num_nodes" => count(document).map(|nodes| self.nodes = Some(nodes)),
                // 0 and 1 both mean a scalar leaf.
                "size_leaf_vector" => count(document).map(|width| self.leaf_width = width.max(1)),
                _ => document.skip(),
            }),
            _ => document.skip(),
        })
    }

    /// Passes the tree to the builder.
    pub(super) fn build(&mut self, builder: &mut EnsembleBuilder<f32>) -> Result<(), String> {
        self.check_lengths()?;
        builder.leaf_width(self.leaf_width)?;
        if self.cover.is_empty() {
            builder.lacks_cover();
        }
        self.collect_sets(builder)?;
        builder
            .tree(self.left.len(), |node| self.node(node))
            .map_err(|fault| format!("node {}: {}", fault.node, fault.reason))
    }

    fn check_lengths(&self) -> Result<(), String> {
        let nodes = self.left.len();
        let lengths = [
            ("right_children", self.right.len()),
            ("split_indices", self.feature.len()),
            ("split_conditions", self.condition.len()),
            ("default_left", self.default_left.len()),
            ("tree_param.num_nodes", self.nodes.unwrap_or(nodes)),
        ];
        for (what, length) in lengths {
            if length != nodes {
                return Err(format!(
                    "{what}: expected {nodes} as for left_children, found {length}"
                ));
            }
        }
        // Old releases lack categories; up to 3.1, trees with vector leaves lack statistics.
        let optional = [
            ("split_type", self.split_type.len()),
            ("loss_changes", self.gain.len()),
            ("sum_hessian", self.cover.len()),
        ];
        for (what, length) in optional {
            if length != 0 && length != nodes {
                return Err(format!(
                    "{what}: expected {nodes} as for left_children, found {length}"
                ));
            }
        }
        Ok(())
    }

    fn collect_sets(&mut self, builder: &mut EnsembleBuilder<f32>) -> Result<(), String> {
        self.sets.clear();
        let count = self.category_nodes.len();
        if self.category_segments.len() != count || self.category_sizes.len() != count {
            return Err("categories_nodes, categories_segments and categories_sizes differ in length".into());
        }
        if count == 0 {
            return Ok(());
        }
        // Overlapping segments could make a small file large in memory.
        let total = self
            .category_sizes
            .iter()
            .try_fold(0usize, |sum, size| sum.checked_add(*size));
        if total.is_none_or(|total| total > self.categories.len()) {
            return Err("categories_sizes add up to more than the length of categories".into());
        }
        self.sets.resize(self.left.len(), None);
        let segments = self.category_segments.iter().zip(&self.category_sizes);
        for (node, (start, size)) in self.category_nodes.iter().zip(segments) {
            let members = start
                .checked_add(*size)
                .and_then(|end| self.categories.get(*start..end))
                .ok_or_else(|| format!("node {node}: categories_segments is outside categories"))?;
            let test = self
                .sets
                .get_mut(*node)
                .ok_or_else(|| format!("categories_nodes: node {node} does not exist"))?;
            *test = Some(builder.set(members.to_vec())?);
        }
        Ok(())
    }

    fn node(&self, node: usize) -> Result<Node<'_, f32>, String> {
        // All arrays have the length of `left`; nodes beyond it do not exist.
        let number = |column: &[f32]| column.get(node).copied().unwrap_or_default();
        let index = |column: &[i32]| column.get(node).copied().unwrap_or_default();
        let (left, right) = (index(&self.left), index(&self.right));
        let cover = number(&self.cover);
        if left == -1 {
            let id = u32::try_from(node).map_err(|_| "the tree has too many nodes")?;
            let value = self.leaf_value(node, right)?;
            return Ok(Node::Leaf { id, value, cover });
        }
        let feature = u32::try_from(index(&self.feature))
            .map_err(|_| "split_indices: expected a non-negative index")?;
        let child = |child: i32| usize::try_from(child).map_err(|_| format!("child {child} is out of range"));
        let (left, right) = (child(left)?, child(right)?);
        let default_left = self.default_left.get(node) == Some(&1);
        let categorical = self.split_type.get(node) == Some(&1);
        // Members go right in the file; in the ensemble, a test that holds goes left.
        let (test, left, right, missing_left) = if categorical {
            let set = self.sets.get(node).copied().flatten();
            let set = set.ok_or("the categorical split has no categories")?;
            (set, right, left, !default_left)
        } else {
            (
                SplitTest::Threshold(number(&self.condition)),
                left,
                right,
                default_left,
            )
        };
        Ok(Node::Split {
            feature,
            test,
            missing_left,
            zero_missing: false,
            left,
            right,
            cover,
            gain: number(&self.gain),
        })
    }

    fn leaf_value(&self, node: usize, right: i32) -> Result<&[f32], String> {
        let (weights, row) = match self.leaf_width {
            1 => (&self.condition, node),
            _ if self.leaf_weights.is_empty() => (&self.base_weights, node),
            _ => {
                let row = usize::try_from(right).map_err(|_| "the leaf has no row of leaf_weights")?;
                (&self.leaf_weights, row)
            }
        };
        row.checked_mul(self.leaf_width)
            .and_then(|start| weights.get(start..start.checked_add(self.leaf_width)?))
            .ok_or_else(|| format!("leaf weights: row {row} does not exist"))
    }
}
