//! Derived features of a loaded model: their operands and their values.

use super::contract::{Contract, Derivation, FeatureContract, MapTable, MapTarget};
use super::input::{EncodedCell, ModelInput};
use crate::values::category::resolve;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use crate::values::slot_value::SlotValue;

/// Maximum number of operands of a derivation.
pub const MOST_OPERANDS: usize = 2;

/// A stored value that only derived features use.
#[derive(Debug)]
pub struct Operand {
    /// Its source and type.
    pub contract: FeatureContract,
    /// Its categories; codes are positions in this list.
    pub categories: Vec<String>,
}

/// A derived feature. Its operands are *slots*: the model's inputs first, then its operands.
#[derive(Debug)]
pub struct DerivedInput {
    rule: Derivation,
    slots: Vec<usize>,
    /// For a map: the result for each code of the operand; NaN for a category that the table does not list.
    table: Vec<f64>,
}

impl Operand {
    /// The operands of a contract.
    pub(super) fn of(contract: &Contract) -> Vec<Self> {
        let operand = |operand: &FeatureContract| Self {
            contract: operand.clone(),
            categories: categories(contract, &operand.name),
        };
        contract.operands().map(operand).collect()
    }

    /// Converts a cell to the number that derivations take.
    ///
    /// # Errors
    /// The cell does not have the operand's type.
    pub fn encode(&self, cell: Cell<'_>) -> Result<EncodedCell, String> {
        if self.contract.kind == FeatureType::Category {
            let mut digits = String::new();
            return Ok(match cell.category(&mut digits)? {
                None => EncodedCell::Null,
                Some(text) => self
                    .code(text)
                    .map_or(EncodedCell::UnknownCategory, EncodedCell::Value),
            });
        }
        Ok(cell
            .number(self.contract.kind)?
            .map_or(EncodedCell::Null, EncodedCell::Value))
    }

    /// The code of a category.
    pub fn code(&self, category: &str) -> Option<f64> {
        let position = resolve(category, false, |name| {
            self.categories.iter().position(|known| known == name)
        });
        #[expect(clippy::cast_precision_loss, reason = "a handful of categories")]
        position.map(|position| position as f64)
    }
}

/// The categories of `operand` that maps list.
fn categories(contract: &Contract, operand: &str) -> Vec<String> {
    let mut names: Vec<String> = contract
        .features()
        .filter_map(|feature| match &feature.derive {
            Some(Derivation::Map(table)) if table.of == operand => Some(table.to.keys().cloned()),
            _ => None,
        })
        .flatten()
        .collect();
    names.sort();
    names.dedup();
    names
}

impl DerivedInput {
    /// Binds the derivation of an input, if it has one.
    ///
    /// # Errors
    /// A map names a category that the model does not know.
    pub(super) fn bind(
        input: &ModelInput,
        inputs: &[ModelInput],
        operands: &[Operand],
    ) -> Result<Option<Self>, String> {
        let Some(rule) = &input.contract.derive else {
            return Ok(None);
        };
        let names = inputs
            .iter()
            .map(|input| &input.contract.name)
            .chain(operands.iter().map(|operand| &operand.contract.name));
        let names: Vec<&String> = names.collect();
        let slot = |name: &str| {
            let slot = names.iter().position(|known| *known == name);
            slot.ok_or_else(|| format!("derive: unknown feature or operand `{name}`"))
        };
        let slots = rule
            .operands()
            .into_iter()
            .map(slot)
            .collect::<Result<Vec<_>, _>>()?;
        let table = match rule {
            Derivation::Map(table) => bind_table(table, slots[0], input, inputs, operands)?,
            _ => Vec::new(),
        };
        Ok(Some(Self {
            rule: rule.clone(),
            slots,
            table,
        }))
    }

    /// The slots of its operands.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// The value of the feature for the values of its operands, at the time `now` in seconds since the Unix epoch.
    pub fn value(&self, operands: &[SlotValue], now: f64) -> SlotValue {
        let mut numbers = [0.0; MOST_OPERANDS];
        for (number, found) in numbers.iter_mut().zip(operands) {
            match *found {
                SlotValue::Value(value) => *number = value,
                other => return other,
            }
        }
        if let Derivation::Map(_) = self.rule {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a code")]
            let mapped = self.table.get(numbers[0] as usize).copied().unwrap_or(f64::NAN);
            return if mapped.is_nan() {
                SlotValue::UnknownCategory
            } else {
                SlotValue::Value(mapped)
            };
        }
        let value = self.rule.number(&numbers[..operands.len()], now);
        value
            .filter(|value| !value.is_nan())
            .map_or(SlotValue::Null, SlotValue::Value)
    }
}

fn bind_table(
    table: &MapTable,
    slot: usize,
    input: &ModelInput,
    inputs: &[ModelInput],
    operands: &[Operand],
) -> Result<Vec<f64>, String> {
    let code = |text: &str| match inputs.get(slot) {
        Some(input) => input.code(text),
        None => operands[slot - inputs.len()].code(text),
    };
    let mut mapped = Vec::new();
    for (from, to) in &table.to {
        let code = code(from).ok_or_else(|| format!("derive: `{}` has no category {from:?}", table.of))?;
        let value = match to {
            MapTarget::Number(value) => *value,
            MapTarget::Text(text) => input
                .code(text)
                .ok_or_else(|| format!("derive: {text:?} is not a category of the feature"))?,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a code")]
        let code = code as usize;
        if mapped.len() <= code {
            mapped.resize(code + 1, f64::NAN);
        }
        mapped[code] = value;
    }
    Ok(mapped)
}
