//! One version of a model that passed the gate.

use rustc_hash::FxHashMap;

use super::contract::{Contract, FeatureContract, ScoreKind};
use super::derived::{DerivedInput, Operand};
use super::input::{EncodedCell, ModelInput};
use super::known::KnownShare;
use super::reference::Reference;
use super::report::GateReport;
use super::usual::Usual;
use crate::values::cell::Cell;
use evergreen_forest::{Forest, OutputKind};

/// A version of a model, immutable once it is live.
#[derive(Debug)]
pub struct ModelVersion {
    /// The name of the model.
    pub name: String,
    /// The version number.
    pub version: u64,
    /// SHA-256 of the model file, lower-case hex.
    pub sha256: String,
    /// SHA-256 of `bundle.toml`, which has the checksums of all other files, lower-case hex; of the model file without a
    /// contract.
    pub bundle_sha256: String,
    /// The trees.
    pub forest: Forest,
    /// The contract; `None` for a bare model, which scores tensors only.
    pub contract: Option<Contract>,
    /// The inputs in the model's order; empty without a contract.
    pub inputs: Vec<ModelInput>,
    /// Stored values that only derived features use.
    pub operands: Vec<Operand>,
    /// By input, its derivation; `None` for a stored input.
    pub derived: Vec<Option<DerivedInput>>,
    /// The distributions at training, if the bundle has them.
    pub reference: Option<Reference>,
    /// By input, what is usual; `None` without a distribution.
    pub usual: Vec<Option<Usual>>,
    /// By input, the first input of its group in reasons: itself if it has no group.
    pub groups: Vec<usize>,
    /// How much of its input must be known for a score.
    pub known: KnownShare,
    /// The slots by name.
    pub names: SlotNames,
    /// The report of the gate.
    pub report: GateReport,
}

/// The slots of a model by name: its inputs first.
#[derive(Debug, Default)]
pub struct SlotNames(FxHashMap<String, usize>);

impl SlotNames {
    /// The names of a model's inputs and operands.
    pub(super) fn of(inputs: &[ModelInput], operands: &[Operand]) -> Self {
        let inputs = inputs.iter().map(|input| &input.contract);
        let slots = inputs.chain(operands.iter().map(|operand| &operand.contract));
        Self(
            slots
                .enumerate()
                .map(|(slot, contract)| (contract.name.clone(), slot))
                .collect(),
        )
    }
}

/// By input, the first input with the same group in the contract.
pub(super) fn groups(inputs: &[ModelInput]) -> Vec<usize> {
    let mut first = FxHashMap::default();
    let positions = inputs.iter().enumerate().map(|(position, input)| {
        let group = input.contract.reason.group.as_ref();
        group.map_or(position, |group| *first.entry(group.source()).or_insert(position))
    });
    positions.collect()
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
        self.slot_of(name).filter(|&slot| slot < self.inputs.len())
    }

    /// The slot of a name.
    pub fn slot_of(&self, name: &str) -> Option<usize> {
        self.names.0.get(name).copied()
    }

    /// The stored and derived values of a row: the inputs, then the operands of derived inputs. A position in this list is a
    /// *slot*.
    pub fn slots(&self) -> impl Iterator<Item = &FeatureContract> {
        let inputs = self.inputs.iter().map(|input| &input.contract);
        inputs.chain(self.operands.iter().map(|operand| &operand.contract))
    }

    /// The contract of a slot.
    pub fn slot(&self, slot: usize) -> Option<&FeatureContract> {
        match self.inputs.get(slot) {
            Some(input) => Some(&input.contract),
            None => Some(&self.operands.get(slot - self.inputs.len())?.contract),
        }
    }

    /// The code of a category in a slot.
    pub fn slot_code(&self, slot: usize, category: &str) -> Option<f64> {
        match self.inputs.get(slot) {
            Some(input) => input.code(category),
            None => self.operands.get(slot - self.inputs.len())?.code(category),
        }
    }

    /// Whether the categories of a slot are whole numbers, so that `1.0` is `1`.
    pub fn slot_is_whole(&self, slot: usize) -> bool {
        let input = self.inputs.get(slot);
        input.is_some_and(ModelInput::has_whole_categories)
    }

    /// The categories of a slot.
    pub fn slot_categories(&self, slot: usize) -> Vec<String> {
        match self.inputs.get(slot) {
            Some(input) => input.categories(),
            None => self.operands[slot - self.inputs.len()].categories.clone(),
        }
    }

    /// Converts a cell for a slot.
    ///
    /// # Errors
    /// The cell does not have the slot's type.
    pub fn slot_encode(&self, slot: usize, cell: Cell<'_>) -> Result<EncodedCell, String> {
        match self.inputs.get(slot) {
            Some(input) => input.encode(cell),
            None => self.operands[slot - self.inputs.len()].encode(cell),
        }
    }

    /// Whether a slot is stored, not derived.
    pub fn is_stored(&self, slot: usize) -> bool {
        self.derived.get(slot).is_none_or(Option::is_none)
    }

    /// The names of the inputs at some positions.
    pub fn input_names(&self, positions: &[usize]) -> impl Iterator<Item = &str> {
        let inputs = positions.iter().filter_map(|&position| self.inputs.get(position));
        inputs.map(|input| input.contract.name.as_str())
    }

    /// The name of the id.
    pub fn entity(&self) -> &str {
        self.contract
            .as_ref()
            .map_or("id", |contract| contract.model.entity.as_str())
    }
}

/// The output of the forest for a kind of score.
pub(super) fn output_of(kind: ScoreKind) -> OutputKind {
    match kind {
        ScoreKind::Probability | ScoreKind::Value => OutputKind::Value,
        ScoreKind::Margin => OutputKind::Margin,
        ScoreKind::Class => OutputKind::Class,
    }
}
