//! One version of a model that passed the gate.

use super::contract::{Contract, ScoreKind};
use super::gate::Report;
use super::input::Input;
use super::reference::Reference;
use crate::forest::{Forest, OutputKind};

/// A version of a model, immutable once it is live.
#[derive(Debug)]
pub struct ModelVersion {
    /// The model's name: its folder's.
    pub name: String,
    /// The version: the folder's number.
    pub version: u64,
    /// SHA-256 of the model file, lower-case hex.
    pub sha256: String,
    /// The trees.
    pub forest: Forest,
    /// The contract; `None` for a bare model, which answers tensors only.
    pub contract: Option<Contract>,
    /// The inputs in the model's order; empty without a contract.
    pub inputs: Vec<Input>,
    /// The training-time distributions, if the bundle has them.
    pub reference: Option<Reference>,
    /// How it passed the gate.
    pub report: Report,
}

impl ModelVersion {
    /// The output of the forest that the score is made from.
    pub fn score_output(&self) -> OutputKind {
        output_of(
            self.contract
                .as_ref()
                .map_or(ScoreKind::Value, |contract| contract.output.kind),
        )
    }

    /// Position of an input by name.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| input.contract.name == name)
    }

    /// The names of the inputs at some positions.
    pub fn input_names(&self, positions: &[usize]) -> Vec<String> {
        let inputs = positions.iter().filter_map(|&position| self.inputs.get(position));
        inputs.map(|input| input.contract.name.clone()).collect()
    }

    /// The name of the id, for look-ups and for error messages.
    pub fn entity(&self) -> &str {
        self.contract
            .as_ref()
            .map_or("id", |contract| contract.model.entity.as_str())
    }
}

/// The output of the forest behind a kind of score.
pub(super) fn output_of(kind: ScoreKind) -> OutputKind {
    match kind {
        ScoreKind::Probability | ScoreKind::Value => OutputKind::Value,
        ScoreKind::Margin => OutputKind::Margin,
        ScoreKind::Class => OutputKind::Class,
    }
}
