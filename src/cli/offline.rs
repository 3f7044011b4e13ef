//! From an input table's columns to the inputs of a model, for offline scoring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::check::identity;
use crate::error::Error;
use crate::features::table::{Table, TableBatch, TableError};
use crate::models::ModelVersion;
use crate::models::apply::apply_contract;
use crate::models::contract::FeatureContract;
use crate::models::derived::DerivedInput;
use crate::models::gate;
use crate::models::input::{EncodedCell, ModelInput};
use crate::models::repository;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use crate::values::issues::FeatureIssues;
use crate::values::slot_value::SlotValue;
use crate::values::time::now;
use evergreen_forest::Format;

/// The column with the instant at which a row was true, as in a snapshot.
const AS_OF: &str = "as_of";

/// What is read from a table.
pub(super) struct Selection {
    /// The column with the ids; it is read first.
    pub(super) id: Option<String>,
    /// All columns.
    pub(super) columns: Vec<String>,
    /// Where among them the instant is that derived features are worked out for.
    as_of: Option<usize>,
    /// Where among them each slot of the model is; `None` for a derived feature.
    slots: Vec<Option<usize>>,
}

/// A model ready for offline scoring.
pub(super) struct OfflineModel {
    pub(super) version: Arc<ModelVersion>,
    /// The inputs of a model without a contract.
    bare: Vec<ModelInput>,
}

impl OfflineModel {
    /// Takes a bundle or a bare model file through the gate, or the newest good version of a model in `models`.
    pub(super) fn load(model: &str, models: &Path) -> Result<Self, String> {
        let (path, folder) = (PathBuf::from(model), models.join(model));
        let version = if path.exists() {
            let (name, version) = identity(&path);
            let judged = gate::validate(&path, &name, version).map_err(|report| {
                let reason = report.failure().map_or("", |step| step.detail.as_str());
                format!("{}: {reason}", path.display())
            })?;
            Arc::new(judged)
        } else if folder.is_dir() {
            repository::newest_good(&folder, model)?
        } else {
            let models = models.display();
            return Err(format!(
                "{model}: neither a file or folder, nor a model in {models}"
            ));
        };
        let features = version.forest.features().iter();
        let bare = match version.contract {
            Some(_) => Vec::new(),
            None => features
                .map(|feature| ModelInput::bare(feature, version.forest.precision()))
                .collect(),
        };
        Ok(Self { version, bare })
    }

    /// The model's inputs.
    fn inputs(&self) -> &[ModelInput] {
        if self.version.contract.is_some() {
            &self.version.inputs
        } else {
            &self.bare
        }
    }

    /// What is read for the model: its inputs, and what derived ones rest on.
    fn slots(&self) -> Vec<&FeatureContract> {
        let operands = self.version.operands.iter().map(|operand| &operand.contract);
        self.inputs()
            .iter()
            .map(|input| &input.contract)
            .chain(operands)
            .collect()
    }

    fn derived(&self, position: usize) -> Option<&DerivedInput> {
        self.version.derived.get(position)?.as_ref()
    }

    /// What to read from `table`: the id first (the column `asked` for, if any), then what the model wants. A derived
    /// feature that has a column of its own is read, not worked out.
    pub(super) fn select(&self, table: &Table, asked: Option<&str>) -> Selection {
        let entity = self
            .version
            .contract
            .as_ref()
            .map(|contract| contract.model.entity.clone());
        let has = |name: &str| table.columns().iter().any(|column| column == name);
        let feature = |name: &str| self.inputs().iter().any(|input| input.contract.name == name);
        let named = || {
            table
                .columns()
                .iter()
                .find(|name| is_id(name) && !feature(name))
                .cloned()
        };
        let id = asked
            .map(str::to_owned)
            .or_else(|| entity.filter(|name| has(name)))
            .or_else(named);
        // The name in the model, or, where the table has no such column, the one in the store.
        let column = |slot: &FeatureContract| {
            if has(&slot.name) || !has(slot.column()) {
                slot.name.clone()
            } else {
                slot.column().to_owned()
            }
        };
        let mut columns: Vec<String> = id.iter().cloned().collect();
        let mut add = |name: String| {
            columns.push(name);
            columns.len() - 1
        };
        let ages = self.version.derived.iter().any(Option::is_some) && has(AS_OF);
        let as_of = ages.then(|| add(AS_OF.to_owned()));
        let slots = self.slots().into_iter().enumerate().map(|(position, slot)| {
            let read = self.derived(position).is_none() || has(&slot.name);
            read.then(|| add(column(slot)))
        });
        let slots = slots.collect();
        Selection {
            id,
            columns,
            as_of,
            slots,
        }
    }

    /// Whether a category the model does not know is a mistake. With a contract its policy decides; without one,
    /// LightGBM takes an unknown category for a missing value, and the other libraries refuse it.
    fn knows_all_categories(&self) -> bool {
        self.version.contract.is_none() && self.version.forest.summary().format != Format::LightGbm
    }

    /// Puts the rows of a batch together, row-major. A row that the contract rejects is all NaN and is told to
    /// `rejected`.
    pub(super) fn rows(
        &self,
        batch: &TableBatch,
        selection: &Selection,
        rejected: &mut dyn FnMut(usize, &Error),
    ) -> Result<Vec<f64>, TableError> {
        let now = now();
        let width = self.inputs().len();
        let mut rows = Vec::with_capacity(batch.rows * width);
        for row in 0..batch.rows {
            let found = self.found(batch, selection, row, now)?;
            let mut notes = FeatureIssues::default();
            let start = rows.len();
            for (position, input) in self.inputs().iter().enumerate() {
                match apply_contract(input, position, found[position], false, &mut notes) {
                    Ok(value) => rows.push(value),
                    Err(error) => {
                        rejected(row, &error);
                        rows.resize(start + width, f64::NAN);
                        break;
                    }
                }
            }
        }
        Ok(rows)
    }

    /// What a row has for each slot; derived ones are worked out as of the row's own instant, if it has one.
    fn found(
        &self,
        batch: &TableBatch,
        selection: &Selection,
        row: usize,
        now: f64,
    ) -> Result<Vec<SlotValue>, TableError> {
        let fail = |column: usize, message: String| {
            let row = batch.first_row + row as u64;
            TableError::cell(&batch.path, row, &selection.columns[column], message)
        };
        let mut found = Vec::with_capacity(selection.slots.len());
        for (slot, column) in selection.slots.iter().enumerate() {
            let Some(column) = *column else {
                found.push(SlotValue::Absent);
                continue;
            };
            let encoded = self.encode(slot, batch.columns[column].cell(row));
            found.push(match encoded.map_err(|message| fail(column, message))? {
                EncodedCell::Value(value) => SlotValue::Value(value),
                EncodedCell::Null => SlotValue::Null,
                EncodedCell::UnknownCategory if self.knows_all_categories() => {
                    return Err(fail(column, "not one of the model's categories".to_owned()));
                }
                EncodedCell::UnknownCategory => SlotValue::UnknownCategory,
            });
        }
        let as_of = match selection.as_of {
            Some(column) => batch.columns[column]
                .cell(row)
                .number(FeatureType::Timestamp)
                .map_err(|message| fail(column, message))?,
            None => None,
        };
        for position in 0..self.inputs().len() {
            if let (Some(derived), None) = (self.derived(position), selection.slots[position]) {
                let operands: Vec<SlotValue> = derived.slots().iter().map(|&slot| found[slot]).collect();
                found[position] = derived.value(&operands, as_of.unwrap_or(now));
            }
        }
        Ok(found)
    }

    fn encode(&self, slot: usize, cell: Cell<'_>) -> Result<EncodedCell, String> {
        match self.bare.get(slot) {
            Some(input) => input.encode(cell),
            None => self.version.slot_encode(slot, cell),
        }
    }
}

/// Whether a column is named like an id: `id`, `customer_id`, `customerID`, `CustomerId`.
fn is_id(name: &str) -> bool {
    let Some((stem, end)) = name.len().checked_sub(2).and_then(|at| name.split_at_checked(at)) else {
        return false;
    };
    let word = stem.is_empty() || stem.ends_with(['_', '-', ' ', '.']);
    let camel = stem.ends_with(|letter: char| letter.is_ascii_lowercase()) && end.starts_with('I');
    end.eq_ignore_ascii_case("id") && (word || camel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_by_their_names() {
        for name in ["id", "ID", "customer_id", "customerID", "CustomerId", "row.id"] {
            assert!(is_id(name), "{name}");
        }
        for name in ["paid", "grid", "d", "", "idle", "łid", "VALID"] {
            assert!(!is_id(name), "{name}");
        }
    }
}
