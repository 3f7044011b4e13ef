//! Reads trees, oblivious or nested, as nodes for the builder.
//!
//! An oblivious tree of depth d tests the same d splits on every path. Bit `b` of a leaf's number is the
//! result of split `b` (1: greater than the border, or this category). It is stored as a heap whose root is
//! the last split, so that leaves are in the order of their numbers.

use crate::builder::{EnsembleBuilder, Node};
use crate::document::{Document, Fault, ValueKind};
use crate::ensemble::SplitTest;
use crate::format::catboost::features::CatBoostInputs;

/// A split. In the ensemble, a test that holds goes left.
#[derive(Clone, Copy)]
struct CatBoostSplit {
    feature: u32,
    test: SplitTest<f64>,
    missing_left: bool,
    /// The library counts a test that holds as 1.
    yes_is_one: bool,
}

/// A node of the current tree.
enum CatBoostNode {
    /// Number and training weight of a leaf.
    Leaf(u32, f64),
    /// A split, the nodes for the library's 0 and 1, and the training weight.
    Split(CatBoostSplit, usize, usize, f64),
}

/// Reads trees. Its buffers are reused, so that only the largest tree allocates.
#[derive(Default)]
pub(super) struct CatBoostTreeReader {
    nodes: Vec<CatBoostNode>,
    values: Vec<f64>,
    leaves: usize,
    has_weights: bool,
    splits: Vec<CatBoostSplit>,
    weights: Vec<f64>,
}

impl CatBoostTreeReader {
    /// Clears the previous tree.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.values.clear();
        self.leaves = 0;
        self.has_weights = true;
        self.splits.clear();
        self.weights.clear();
    }

    /// Reads an oblivious tree.
    pub(super) fn symmetric<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        inputs: &CatBoostInputs,
    ) -> Result<(), Fault> {
        let start = document.offset();
        document.object(|document, key| match key {
            // The library writes null for a tree without splits.
            "splits" if document.shape()? == ValueKind::Null => document.skip(),
            "splits" => document.array(|document, _| {
                self.splits.push(split(document, inputs)?);
                Ok(())
            }),
            "leaf_values" => document.f64s(&mut self.values),
            "leaf_weights" => document.f64s(&mut self.weights),
            _ => document.skip(),
        })?;
        self.lay_out().map_err(|why| Fault::new(start, why))
    }

    fn lay_out(&mut self) -> Result<(), String> {
        let depth = self.splits.len();
        // The file lists the leaves, so their number limits that of the nodes.
        self.leaves = u32::try_from(depth)
            .ok()
            .and_then(|depth| 1usize.checked_shl(depth))
            .filter(|leaves| *leaves <= self.values.len())
            .ok_or_else(|| {
                format!(
                    "leaf_values: {} numbers do not fit a tree of {depth} splits",
                    self.values.len()
                )
            })?;
        self.has_weights = self.weights.len() == self.leaves;
        if !self.has_weights && !self.weights.is_empty() {
            return Err(format!(
                "leaf_weights: found {} numbers, expected {}",
                self.weights.len(),
                self.leaves
            ));
        }
        let inner = self.leaves - 1;
        let mut weights = vec![0.0; inner];
        weights.extend_from_slice(&self.weights);
        weights.resize(inner + self.leaves, 0.0);
        for node in (0..inner).rev() {
            let below = weights
                .get(2 * node + 1..=2 * node + 2)
                .map(|pair| pair.iter().sum());
            if let (Some(weight), Some(below)) = (weights.get_mut(node), below) {
                *weight = below;
            }
        }
        for (node, weight) in weights.iter().enumerate() {
            let level = (node + 1).ilog2() as usize;
            let split = depth.checked_sub(level + 1).and_then(|at| self.splits.get(at));
            self.nodes.push(match split {
                Some(split) => CatBoostNode::Split(*split, 2 * node + 1, 2 * node + 2, *weight),
                None => CatBoostNode::Leaf(
                    u32::try_from(node - inner).map_err(|_| "the tree has too many leaves")?,
                    *weight,
                ),
            });
        }
        Ok(())
    }

    /// Reads a nested tree. The nesting limit of the document limits the recursion.
    pub(super) fn nested<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        inputs: &CatBoostInputs,
    ) -> Result<(), Fault> {
        self.node(document, inputs).map(drop)
    }

    /// Reads a node and its descendants. Returns its position and training weight.
    fn node<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        inputs: &CatBoostInputs,
    ) -> Result<(usize, f64), Fault> {
        let start = document.offset();
        let position = self.nodes.len();
        self.nodes.push(CatBoostNode::Leaf(0, 0.0));
        let (mut zero, mut one, mut tested) = (None, None, None);
        let (mut values, mut weight) = (None, None);
        document.object(|document, key| match key {
            "left" => self.node(document, inputs).map(|node| zero = Some(node)),
            "right" => self.node(document, inputs).map(|node| one = Some(node)),
            "split" => split(document, inputs).map(|split| tested = Some(split)),
            "value" => self.value(document).map(|count| values = Some(count)),
            "weight" => document.f64().map(|number| weight = Some(number)),
            _ => document.skip(),
        })?;
        let (raw, weight) = match (zero, one, tested, values) {
            (Some((zero, left)), Some((one, right)), Some(split), None) => {
                (CatBoostNode::Split(split, zero, one, left + right), left + right)
            }
            (None, None, None, Some(())) => {
                self.has_weights &= weight.is_some();
                let number = self.leaves;
                self.leaves += 1;
                let number =
                    u32::try_from(number).map_err(|_| Fault::new(start, "the tree has too many leaves"))?;
                let weight = weight.unwrap_or(0.0);
                (CatBoostNode::Leaf(number, weight), weight)
            }
            _ => {
                let why = "expected a leaf with a value, or a split with left and right";
                return Err(Fault::new(start, why));
            }
        };
        if let Some(node) = self.nodes.get_mut(position) {
            *node = raw;
        }
        Ok((position, weight))
    }

    /// Reads a leaf's numbers.
    fn value<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        if document.shape()? == ValueKind::Array {
            return document.array(|document, _| {
                self.values.push(document.f64()?);
                Ok(())
            });
        }
        self.values.push(document.f64()?);
        Ok(())
    }

    /// Passes the tree to the builder. Returns the numbers per leaf.
    pub(super) fn build(&self, builder: &mut EnsembleBuilder<f64>) -> Result<usize, String> {
        let width = self.values.len() / self.leaves.max(1);
        if width == 0 || width * self.leaves != self.values.len() {
            return Err(format!(
                "leaf_values: {} numbers are not a multiple of {} leaves",
                self.values.len(),
                self.leaves
            ));
        }
        builder.leaf_width(width)?;
        if !self.has_weights {
            builder.lacks_cover();
        }
        builder
            .tree(self.nodes.len(), |node| self.describe(node, width))
            .map_err(|fault| format!("node {}: {}", fault.node, fault.reason))?;
        Ok(width)
    }

    fn describe(&self, node: usize, width: usize) -> Result<Node<'_, f64>, String> {
        match self.nodes.get(node) {
            Some(CatBoostNode::Leaf(id, cover)) => {
                let start = *id as usize * width;
                Ok(Node::Leaf {
                    id: *id,
                    value: self
                        .values
                        .get(start..start + width)
                        .ok_or("leaf does not exist")?,
                    cover: *cover,
                })
            }
            Some(CatBoostNode::Split(split, zero, one, cover)) => {
                let (left, right) = match split.yes_is_one {
                    true => (*one, *zero),
                    false => (*zero, *one),
                };
                Ok(Node::Split {
                    feature: split.feature,
                    test: split.test,
                    missing_left: split.missing_left,
                    zero_missing: false,
                    left,
                    right,
                    cover: *cover,
                    gain: 0.0,
                })
            }
            None => Err("node does not exist".into()),
        }
    }
}

/// Reads a split.
fn split<'a, D: Document<'a>>(document: &mut D, inputs: &CatBoostInputs) -> Result<CatBoostSplit, Fault> {
    let start = document.offset();
    let mut kind = String::new();
    let (mut border, mut value, mut float, mut category) = (None, None, None, None);
    document.object(|document, key| match key {
        "split_type" => document.text().map(|text| kind = text.into_owned()),
        "border" => document.f32().map(|number| border = Some(number)),
        "value" => document.integer().map(|number| value = Some(number)),
        "float_feature_index" => document
            .integer()
            .map(|index| float = usize::try_from(index).ok()),
        "cat_feature_index" => document
            .integer()
            .map(|index| category = usize::try_from(index).ok()),
        _ => document.skip(),
    })?;
    let fault = |why: String| Fault::new(start, why);
    match (kind.as_str(), border, float, value, category) {
        ("FloatFeature", Some(border), Some(index), ..) => {
            let (feature, test, missing_left) = inputs.float(index, border).map_err(fault)?;
            Ok(CatBoostSplit {
                feature,
                test,
                missing_left,
                yes_is_one: false,
            })
        }
        ("OneHotFeature", _, _, Some(value), Some(index)) => {
            let (feature, test) = inputs.category(index, value).map_err(fault)?;
            Ok(CatBoostSplit {
                feature,
                test,
                missing_left: false,
                yes_is_one: true,
            })
        }
        _ => {
            let kind: String = kind.chars().take(32).collect();
            Err(fault(format!(
                "unsupported split type `{kind}`, expected FloatFeature or OneHotFeature"
            )))
        }
    }
}
