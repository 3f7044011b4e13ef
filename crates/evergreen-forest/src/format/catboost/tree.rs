//! Trees, symmetric or nested, as nodes for the builder.
//!
//! A symmetric tree of depth d asks the same d questions on every path; bit `b` of a leaf's number is the answer
//! to question `b` (1: greater than the border, or this category). It is laid out as a heap whose root asks the
//! last question, so that leaves come in the order of their numbers.

use super::super::super::builder::{Builder, Node};
use super::super::super::document::{Document, Fault};
use super::super::super::ensemble::Test;
use super::features::Inputs;

/// A question; a yes of the ensemble goes left.
#[derive(Clone, Copy)]
struct Question {
    feature: u32,
    test: Test<f64>,
    missing_left: bool,
    /// The library calls the ensemble's yes a 1.
    yes_is_one: bool,
}

/// A node of the tree at hand.
enum Raw {
    /// Number and training weight of a leaf.
    Leaf(u32, f64),
    /// A question, where the library's 0 and 1 go, and the training weight.
    Split(Question, usize, usize, f64),
}

/// Reads trees; kept from tree to tree so that only the largest allocates.
#[derive(Default)]
pub(super) struct Reader {
    nodes: Vec<Raw>,
    values: Vec<f64>,
    leaves: usize,
    has_weights: bool,
    questions: Vec<Question>,
    weights: Vec<f64>,
}

impl Reader {
    /// Forgets the tree before.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.values.clear();
        self.leaves = 0;
        self.has_weights = true;
        self.questions.clear();
        self.weights.clear();
    }

    /// Reads a symmetric tree.
    pub(super) fn symmetric<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        inputs: &Inputs,
    ) -> Result<(), Fault> {
        let start = document.offset();
        document.object(|document, key| match key {
            "splits" => document.array(|document, _| {
                self.questions.push(question(document, inputs)?);
                Ok(())
            }),
            "leaf_values" => document.f64s(&mut self.values),
            "leaf_weights" => document.f64s(&mut self.weights),
            _ => document.skip(),
        })?;
        self.lay_out().map_err(|why| Fault::new(start, why))
    }

    fn lay_out(&mut self) -> Result<(), String> {
        let depth = self.questions.len();
        // The leaves are spelt out in the file, so their number bounds that of the nodes.
        self.leaves = u32::try_from(depth)
            .ok()
            .and_then(|depth| 1usize.checked_shl(depth))
            .filter(|leaves| *leaves <= self.values.len())
            .ok_or_else(|| format!("{} leaf_values for {depth} splits", self.values.len()))?;
        self.has_weights = self.weights.len() == self.leaves;
        if !self.has_weights && !self.weights.is_empty() {
            return Err(format!(
                "{} leaf_weights for {} leaves",
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
            let question = depth.checked_sub(level + 1).and_then(|at| self.questions.get(at));
            self.nodes.push(match question {
                Some(question) => Raw::Split(*question, 2 * node + 1, 2 * node + 2, *weight),
                None => Raw::Leaf(
                    u32::try_from(node - inner).map_err(|_| "too many leaves")?,
                    *weight,
                ),
            });
        }
        Ok(())
    }

    /// Reads a nested tree. The document's limit on nesting limits the recursion.
    pub(super) fn nested<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        inputs: &Inputs,
    ) -> Result<(), Fault> {
        self.node(document, inputs).map(drop)
    }

    /// Reads a node and those below it; gives its position and training weight.
    fn node<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        inputs: &Inputs,
    ) -> Result<(usize, f64), Fault> {
        let start = document.offset();
        let position = self.nodes.len();
        self.nodes.push(Raw::Leaf(0, 0.0));
        let (mut zero, mut one, mut asked) = (None, None, None);
        let (mut values, mut weight) = (None, None);
        document.object(|document, key| match key {
            "left" => self.node(document, inputs).map(|node| zero = Some(node)),
            "right" => self.node(document, inputs).map(|node| one = Some(node)),
            "split" => question(document, inputs).map(|question| asked = Some(question)),
            "value" => self.value(document).map(|count| values = Some(count)),
            "weight" => document.f64().map(|number| weight = Some(number)),
            _ => document.skip(),
        })?;
        let (raw, weight) = match (zero, one, asked, values) {
            (Some((zero, left)), Some((one, right)), Some(question), None) => {
                (Raw::Split(question, zero, one, left + right), left + right)
            }
            (None, None, None, Some(())) => {
                self.has_weights &= weight.is_some();
                let number = self.leaves;
                self.leaves += 1;
                let number = u32::try_from(number).map_err(|_| Fault::new(start, "too many leaves"))?;
                let weight = weight.unwrap_or(0.0);
                (Raw::Leaf(number, weight), weight)
            }
            _ => {
                let why = "a node is either a leaf with a value or a split with left and right";
                return Err(Fault::new(start, why));
            }
        };
        if let Some(slot) = self.nodes.get_mut(position) {
            *slot = raw;
        }
        Ok((position, weight))
    }

    /// Reads a leaf's numbers.
    fn value<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        if document.shape()? == super::Shape::Array {
            return document.array(|document, _| {
                self.values.push(document.f64()?);
                Ok(())
            });
        }
        self.values.push(document.f64()?);
        Ok(())
    }

    /// Hands the tree to the builder; gives the numbers per leaf.
    pub(super) fn build(&self, builder: &mut Builder<f64>) -> Result<usize, String> {
        let width = self.values.len() / self.leaves.max(1);
        if width == 0 || width * self.leaves != self.values.len() {
            return Err(format!(
                "{} leaf values for {} leaves",
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
            Some(Raw::Leaf(id, cover)) => {
                let start = *id as usize * width;
                Ok(Node::Leaf {
                    id: *id,
                    value: self.values.get(start..start + width).ok_or("no such leaf")?,
                    cover: *cover,
                })
            }
            Some(Raw::Split(question, zero, one, cover)) => {
                let (left, right) = match question.yes_is_one {
                    true => (*one, *zero),
                    false => (*zero, *one),
                };
                Ok(Node::Split {
                    feature: question.feature,
                    test: question.test,
                    missing_left: question.missing_left,
                    zero_missing: false,
                    left,
                    right,
                    cover: *cover,
                    gain: 0.0,
                })
            }
            None => Err("no such node".into()),
        }
    }
}

/// Reads a question.
fn question<'a, D: Document<'a>>(document: &mut D, inputs: &Inputs) -> Result<Question, Fault> {
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
            Ok(Question {
                feature,
                test,
                missing_left,
                yes_is_one: false,
            })
        }
        ("OneHotFeature", _, _, Some(value), Some(index)) => {
            let (feature, test) = inputs.category(index, value).map_err(fault)?;
            Ok(Question {
                feature,
                test,
                missing_left: false,
                yes_is_one: true,
            })
        }
        _ => {
            let kind: String = kind.chars().take(32).collect();
            Err(fault(format!("a split of type `{kind}` cannot be evaluated")))
        }
    }
}
