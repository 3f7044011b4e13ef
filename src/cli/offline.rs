//! Maps the columns of a table to the inputs of a model, for offline scoring (`evergreen score`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::check::identity;
use crate::error::Error;
use crate::features::table::{Table, TableBatch, TableError};
use crate::models::ModelVersion;
use crate::models::apply::apply_contract;
use crate::models::contract::{FILE_NAME, FeatureContract};
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

/// Column with the time at which a row was observed, as in a snapshot.
const AS_OF: &str = "as_of";

/// The columns to read from a table.
pub(super) struct Selection {
    /// The id column, which is read first.
    pub(super) id: Option<String>,
    /// All columns to read.
    pub(super) columns: Vec<String>,
    /// Position of the `as_of` column, if derived features need it.
    as_of: Option<usize>,
    /// Position of each slot's column; `None` for a derived feature.
    slots: Vec<Option<usize>>,
}

/// A model ready for offline scoring.
pub(super) struct OfflineModel {
    pub(super) version: Arc<ModelVersion>,
    /// The inputs, for a model without a contract.
    bare: Vec<ModelInput>,
}

impl OfflineModel {
    /// Validates a bundle or a model file, or finds the newest valid version of the model in `models`.
    ///
    /// # Errors
    /// There is no such file or model, or the gate refused it.
    pub(super) fn load(model: &str, models: &Path) -> Result<Self, String> {
        let (path, folder) = (PathBuf::from(model), models.join(model));
        // `--model churn/3 --models DIR` names a version, as a path would.
        let path = if !path.exists() && folder.join(FILE_NAME).is_file() {
            folder.clone()
        } else {
            path
        };
        let version = if path.exists() {
            let (name, version) = identity(&path);
            let validated = gate::validate(&path, &name, version).map_err(|report| {
                let reason = report.failure().map_or("", |step| step.detail.as_str());
                format!("{}: {reason}", path.display())
            })?;
            Arc::new(validated)
        } else if folder.is_dir() {
            repository::newest_good(&folder, model)?
        } else {
            let models = models.display();
            return Err(format!(
                "{model}: no such file, and no such model in {models}; set --models"
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

    fn inputs(&self) -> &[ModelInput] {
        if self.version.contract.is_some() {
            &self.version.inputs
        } else {
            &self.bare
        }
    }

    /// Returns the contracts of all slots: the inputs, then the operands of derived features.
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

    /// Selects the columns to read from `table`: first the id (`id_column`, the contract's entity, or a column named
    /// like an id), then the model's inputs. A derived feature that has a column of its own is read, not computed.
    pub(super) fn select(&self, table: &Table, id_column: Option<&str>) -> Selection {
        let entity = self
            .version
            .contract
            .as_ref()
            .map(|contract| contract.model.entity.clone());
        let has = |name: &str| table.columns().iter().any(|column| column == name);
        let feature = |name: &str| self.inputs().iter().any(|input| input.contract.name == name);
        let named_like_id = || {
            table
                .columns()
                .iter()
                .find(|name| is_id(name) && !feature(name))
                .cloned()
        };
        let id = id_column
            .map(str::to_owned)
            .or_else(|| entity.filter(|name| has(name)))
            .or_else(named_like_id);
        // The store's name, which serving reads, or the model's name if the table has only that.
        let column = |slot: &FeatureContract| {
            if has(slot.column()) {
                slot.column().to_owned()
            } else {
                slot.name.clone()
            }
        };
        let mut columns: Vec<String> = id.iter().cloned().collect();
        let mut add = |name: String| {
            columns.push(name);
            columns.len() - 1
        };
        let needs_as_of = self.version.derived.iter().any(Option::is_some) && has(AS_OF);
        let as_of = needs_as_of.then(|| add(AS_OF.to_owned()));
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

    /// Returns whether an unknown category is an error. With a contract, its policy decides. Without one, LightGBM
    /// treats it as missing, and the other libraries refuse it.
    fn refuses_unknown_categories(&self) -> bool {
        self.version.contract.is_none() && self.version.forest.summary().format != Format::LightGbm
    }

    /// Builds the input rows of a batch, row-major. A row that the contract rejects is all NaN, and `rejected` is
    /// called with its position in the batch.
    ///
    /// # Errors
    /// A cell cannot be converted to the feature's type.
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
            let slots = self.slot_values(batch, selection, row, now)?;
            let mut issues = FeatureIssues::default();
            let start = rows.len();
            let mut inputs = self.inputs().iter().enumerate();
            let accepted = inputs.try_for_each(|(position, input)| {
                let value = apply_contract(input, position, slots[position], false, &mut issues)?;
                rows.push(value);
                Ok(())
            });
            let enough = accepted.and_then(|()| self.version.known.check(&issues, &self.version.inputs));
            if let Err(error) = enough {
                rejected(row, &error);
                rows.truncate(start);
                rows.resize(start + width, f64::NAN);
            }
        }
        Ok(rows)
    }

    /// Reads the value of each slot of a row. Derived features are computed as of the row's `as_of`, if it has one.
    fn slot_values(
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
        let mut values = Vec::with_capacity(selection.slots.len());
        for (slot, column) in selection.slots.iter().enumerate() {
            let Some(column) = *column else {
                values.push(SlotValue::Absent);
                continue;
            };
            let encoded = self.encode(slot, batch.columns[column].cell(row));
            values.push(match encoded.map_err(|message| fail(column, message))? {
                EncodedCell::Value(value) => SlotValue::Value(value),
                EncodedCell::Null => SlotValue::Null,
                EncodedCell::UnknownCategory if self.refuses_unknown_categories() => {
                    return Err(fail(
                        column,
                        "unknown category; expected one of the model's".to_owned(),
                    ));
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
                let operands: Vec<SlotValue> = derived.slots().iter().map(|&slot| values[slot]).collect();
                values[position] = derived.value(&operands, as_of.unwrap_or(now));
            }
        }
        Ok(values)
    }

    fn encode(&self, slot: usize, cell: Cell<'_>) -> Result<EncodedCell, String> {
        match self.bare.get(slot) {
            Some(input) => input.encode(cell),
            None => self.version.slot_encode(slot, cell),
        }
    }
}

/// Returns whether a column is named like an id: `id`, `customer_id`, `customerID`, `CustomerId`.
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
    fn recognises_id_columns_by_name() {
        for name in ["id", "ID", "customer_id", "customerID", "CustomerId", "row.id"] {
            assert!(is_id(name), "{name}");
        }
        for name in ["paid", "grid", "d", "", "idle", "łid", "VALID"] {
            assert!(!is_id(name), "{name}");
        }
    }
}
