//! Reads one tree: `num_leaves − 1` inner nodes and `num_leaves` leaves, both numbered from 0.
//!
//! A child `c ≥ 0` is inner node `c`, a negative one leaf `!c`. The builder sees leaf `l` as node `num_leaves
//! − 1 + l`, so that the root of a tree with one leaf is node 0.

use crate::FormatError;
use crate::builder::{EnsembleBuilder, Node};
use crate::ensemble::{LinearLeaf, SplitTest};
use crate::format::lightgbm::lines::{LineReader, number, numbers};

/// The arrays of a tree. They are reused, so that only the largest tree allocates.
#[derive(Default)]
pub(super) struct LightGbmTree {
    leaves: usize,
    feature: Vec<u32>,
    gain: Vec<f64>,
    threshold: Vec<f64>,
    decision: Vec<u8>,
    left: Vec<i32>,
    right: Vec<i32>,
    value: Vec<f64>,
    leaf_count: Vec<f64>,
    count: Vec<f64>,
    category_bounds: Vec<usize>,
    category_words: Vec<u32>,
    is_linear: bool,
    constant: Vec<f64>,
    terms: Vec<usize>,
    term_feature: Vec<u32>,
    coefficient: Vec<f64>,
    /// The test of each set of categories.
    sets: Vec<SplitTest<f64>>,
}

/// Which values are missing at a split.
#[derive(Clone, Copy, PartialEq)]
enum MissingType {
    /// None: NaN counts as 0.
    None,
    /// NaN and zeros.
    Zero,
    /// NaN.
    Nan,
}

impl LightGbmTree {
    fn clear(&mut self) {
        // Clear everything: a tree may omit arrays that the previous tree had.
        *self = Self {
            leaves: 0,
            is_linear: false,
            ..std::mem::take(self)
        };
        for column in [
            &mut self.gain,
            &mut self.threshold,
            &mut self.value,
            &mut self.leaf_count,
        ] {
            column.clear();
        }
        for column in [&mut self.count, &mut self.constant, &mut self.coefficient] {
            column.clear();
        }
        for column in [
            &mut self.feature,
            &mut self.category_words,
            &mut self.term_feature,
        ] {
            column.clear();
        }
        for column in [&mut self.left, &mut self.right] {
            column.clear();
        }
        for column in [&mut self.category_bounds, &mut self.terms] {
            column.clear();
        }
        self.decision.clear();
    }

    /// Reads the lines of a tree, up to the empty line after it.
    pub(super) fn read(&mut self, lines: &mut LineReader<'_>) -> Result<(), FormatError> {
        self.clear();
        while let Some(line) = lines.next() {
            if line.is_empty() {
                break;
            }
            self.line(line).map_err(|why| lines.fault(why))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line
            .split_once('=')
            .ok_or("expected key=value, such as num_leaves=31")?;
        match key {
            "num_leaves" => self.leaves = number(value)?,
            "split_feature" => numbers(value, &mut self.feature)?,
            "split_gain" => numbers(value, &mut self.gain)?,
            "threshold" => numbers(value, &mut self.threshold)?,
            "decision_type" => numbers(value, &mut self.decision)?,
            "left_child" => numbers(value, &mut self.left)?,
            "right_child" => numbers(value, &mut self.right)?,
            "leaf_value" => numbers(value, &mut self.value)?,
            "leaf_count" => numbers(value, &mut self.leaf_count)?,
            "internal_count" => numbers(value, &mut self.count)?,
            "cat_boundaries" => numbers(value, &mut self.category_bounds)?,
            "cat_threshold" => numbers(value, &mut self.category_words)?,
            "is_linear" => self.is_linear = value == "1",
            "leaf_const" => numbers(value, &mut self.constant)?,
            "num_features" => numbers(value, &mut self.terms)?,
            "leaf_features" => numbers(value, &mut self.term_feature)?,
            "leaf_coeff" => numbers(value, &mut self.coefficient)?,
            _ => {}
        }
        Ok(())
    }

    /// Passes the tree to the builder.
    pub(super) fn build(&mut self, builder: &mut EnsembleBuilder<f64>) -> Result<(), String> {
        self.check_lengths()?;
        self.collect_sets(builder)?;
        let linear = if self.is_linear {
            self.linear()?
        } else {
            Vec::new()
        };
        let first = builder.leaves();
        let nodes = self.left.len() + self.value.len();
        builder
            .tree(nodes, |node| self.node(node))
            .map_err(|fault| format!("node {}: {}", fault.node, fault.reason))?;
        builder.linear(first, linear);
        Ok(())
    }

    fn check_lengths(&self) -> Result<(), String> {
        let leaves = self.leaves;
        let splits = leaves
            .checked_sub(1)
            .ok_or("num_leaves: expected at least 1, found 0")?;
        let lengths = [
            ("leaf_value", self.value.len(), leaves),
            ("split_feature", self.feature.len(), splits),
            ("threshold", self.threshold.len(), splits),
            ("decision_type", self.decision.len(), splits),
            ("left_child", self.left.len(), splits),
            ("right_child", self.right.len(), splits),
        ];
        for (what, length, expected) in lengths {
            // A tree of one leaf may omit its empty arrays.
            if length != expected {
                return Err(format!("{what} has {length} entries, expected {expected}"));
            }
        }
        let optional = [
            ("split_gain", self.gain.len(), splits),
            ("internal_count", self.count.len(), splits),
            ("leaf_count", self.leaf_count.len(), leaves),
        ];
        for (what, length, expected) in optional {
            if length != 0 && length != expected {
                return Err(format!("{what} has {length} entries, expected {expected}"));
            }
        }
        Ok(())
    }

    fn collect_sets(&mut self, builder: &mut EnsembleBuilder<f64>) -> Result<(), String> {
        self.sets.clear();
        for bounds in self.category_bounds.windows(2) {
            let words = match bounds {
                [from, to] => self.category_words.get(*from..*to),
                _ => None,
            };
            let words = words.ok_or("cat_boundaries are outside cat_threshold")?;
            self.sets.push(builder.set_of_words(words)?);
        }
        Ok(())
    }

    fn node(&self, node: usize) -> Result<Node<'_, f64>, String> {
        // All arrays have the length of their kind of node; nodes beyond it do not exist.
        let splits = self.left.len();
        if node >= splits {
            let leaf = node - splits;
            return Ok(Node::Leaf {
                id: u32::try_from(leaf).map_err(|_| "the tree has too many leaves")?,
                value: self.value.get(leaf..=leaf).ok_or("no such leaf")?,
                cover: self.leaf_count.get(leaf).copied().unwrap_or_default(),
            });
        }
        let number = |column: &[f64]| column.get(node).copied().unwrap_or_default();
        let decision = self.decision.get(node).copied().unwrap_or_default();
        let threshold = number(&self.threshold);
        let (test, missing_left, zero_missing) = match decision & 1 {
            1 => (self.set(threshold)?, false, false),
            _ => numeric(decision, threshold)?,
        };
        Ok(Node::Split {
            feature: self.feature.get(node).copied().unwrap_or_default(),
            test,
            missing_left,
            zero_missing,
            left: child(&self.left, node, splits)?,
            right: child(&self.right, node, splits)?,
            cover: number(&self.count),
            gain: number(&self.gain),
        })
    }

    /// Returns the test of a set; its number is stored as the threshold.
    fn set(&self, number: f64) -> Result<SplitTest<f64>, String> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and what is out of range is rejected"
        )]
        self.sets
            .get(number as usize)
            .copied()
            .ok_or_else(|| format!("category set {number} does not exist"))
    }

    /// Returns the linear functions of the leaves. A leaf without terms is constant.
    fn linear(&mut self) -> Result<Vec<LinearLeaf>, String> {
        let total = self
            .terms
            .iter()
            .try_fold(0usize, |sum, terms| sum.checked_add(*terms));
        let fits = self.terms.len() == self.leaves
            && self.constant.len() == self.leaves
            && total == Some(self.term_feature.len())
            && total == Some(self.coefficient.len());
        if !fits {
            return Err(
                "num_features, leaf_const, leaf_features and leaf_coeff do not match in length".into(),
            );
        }
        let mut pairs = self
            .term_feature
            .iter()
            .copied()
            .zip(self.coefficient.iter().copied());
        let mut all = Vec::with_capacity(self.leaves);
        for ((terms, constant), value) in self.terms.iter().zip(&self.constant).zip(&mut self.value) {
            let terms: Vec<(u32, f64)> = pairs.by_ref().take(*terms).collect();
            if !(constant.is_finite() && terms.iter().all(|(_, coefficient)| coefficient.is_finite())) {
                return Err("a linear leaf has a coefficient that is not finite".into());
            }
            if terms.is_empty() {
                *value = *constant;
            }
            all.push(LinearLeaf {
                constant: *constant,
                terms,
            });
        }
        Ok(all)
    }
}

/// Returns the test, `missing_left` and `zero_missing` of a numeric split.
fn numeric(decision: u8, threshold: f64) -> Result<(SplitTest<f64>, bool, bool), String> {
    let default_left = decision & 2 != 0;
    let missing = match decision >> 2 & 3 {
        0 => MissingType::None,
        1 => MissingType::Zero,
        2 => MissingType::Nan,
        other => {
            return Err(format!(
                "decision_type: unknown missing type {other}, expected 0, 1 or 2"
            ));
        }
    };
    let missing_left = match missing {
        MissingType::None => 0.0 <= threshold,
        MissingType::Zero | MissingType::Nan => default_left,
    };
    Ok((
        SplitTest::Threshold(threshold),
        missing_left,
        missing == MissingType::Zero,
    ))
}

fn child(column: &[i32], node: usize, splits: usize) -> Result<usize, String> {
    let child = column.get(node).copied().unwrap_or_default();
    let (position, first) = if child < 0 { (!child, splits) } else { (child, 0) };
    let position = usize::try_from(position).map_err(|_| "child is out of range")?;
    // The number of an inner node must not reach the leaves.
    if first == 0 && position >= splits {
        return Err(format!("child {child} is out of range"));
    }
    Ok(first + position)
}
