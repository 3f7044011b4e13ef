//! Maps the columns of a table to the inputs of a model, for offline scoring (`evergreen score`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sink::id_text;
use crate::config::Config;
use crate::config::location::is_remote;
use crate::error::Error;
use crate::features::table::{Table, TableBatch, TableError};
use crate::lifecycle::version_for_servers;
use crate::models::ModelVersion;
use crate::models::apply::apply_contract;
use crate::models::bundle::identity;
use crate::models::contract::{FILE_NAME, FeatureContract};
use crate::models::derived::DerivedInput;
use crate::models::gate::{self, GateContext};
use crate::models::input::{EncodedCell, ModelInput};
use crate::models::repository::Repository;
use crate::models::signature::TrustedKeys;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use crate::values::issues::FeatureIssues;
use crate::values::slot_value::SlotValue;
use crate::values::time::now;
use crate::words::shorten::shorten;
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

/// Why a row has no score.
#[derive(Debug)]
pub(super) struct RowRejection {
    /// The kind of reason.
    pub(super) kind: RejectionKind,
    /// The column whose cell cannot be converted; `None` if the whole row is the reason.
    pub(super) column: Option<String>,
    /// What is in the cell, cut to a length that is fit to be read.
    pub(super) value: Option<String>,
    /// The reason, as a sentence.
    pub(super) reason: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RejectionKind {
    /// The record is no row: too few fields, no JSON.
    Broken,
    /// A cell has no value of the feature's type.
    Cell,
    /// A category that the model does not know.
    Category,
    /// The contract rejects the row.
    Contract,
    /// The score is infinite or NaN.
    NotFinite,
    /// The row has no id, and its score would be stored under that.
    NoId,
    /// The row has an id that a store cannot have as a key.
    UnfitId,
}

impl RejectionKind {
    /// The kind in words.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Broken => "no row can be read",
            Self::Cell => "a value of another type",
            Self::Category => "an unknown category",
            Self::Contract => "refused by the contract",
            Self::NotFinite => "a score that is not finite",
            Self::NoId => "no id",
            Self::UnfitId => "an id that a store refuses",
        }
    }
}

impl RowRejection {
    /// A reason that concerns the whole row.
    pub(super) fn of_row(kind: RejectionKind, reason: impl ToString) -> Self {
        Self {
            kind,
            column: None,
            value: None,
            reason: reason.to_string(),
        }
    }

    fn of_cell(kind: RejectionKind, column: &str, cell: Cell<'_>, reason: String) -> Self {
        Self {
            kind,
            column: Some(column.to_owned()),
            value: match cell {
                Cell::Unfit { shown, .. } => Some(shown.to_owned()),
                cell => id_text(cell).map(|text| shorten(&text)),
            },
            reason,
        }
    }

    /// The rejection as the error of a row of a batch.
    fn error(self, batch: &TableBatch, row: usize) -> TableError {
        let number = batch.first_row + row as u64;
        match &self.column {
            Some(column) => TableError::cell(&batch.path, number, column, self.reason),
            None => TableError::row(&batch.path, number, self.reason),
        }
    }
}

/// A model ready for offline scoring.
pub(super) struct OfflineModel {
    pub(super) version: Arc<ModelVersion>,
    /// The inputs, for a model without a contract.
    bare: Vec<ModelInput>,
    /// The time as of which derived features are computed, for rows without one, in seconds since the Unix epoch.
    pub(super) now: f64,
}

impl OfflineModel {
    /// Validates a bundle or a model file, or finds the version that servers use of the model in `models`.
    ///
    /// # Errors
    /// There is no such file or model, or the gate refused it.
    pub(super) fn load(model: &str, models: &Path) -> Result<Self, String> {
        Self::load_from(model, models, &Config::default())
    }

    /// As [`Self::load`]; `config` says how to reach `models` in object storage, and whose signatures versions need.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(super) fn load_from(model: &str, models: &Path, config: &Config) -> Result<Self, String> {
        let trusted = TrustedKeys::read(&config.models.trusted_keys)?;
        let (path, folder) = (PathBuf::from(model), models.join(model));
        // `--model churn/3 --models DIR` names a version, as a path would.
        let path = if !path.exists() && folder.join(FILE_NAME).is_file() {
            folder.clone()
        } else {
            path
        };
        let version = if path.exists() {
            let (name, version) = identity(&path);
            let mut context = GateContext {
                trusted: Some(&trusted),
                ..GateContext::default()
            };
            let validated = gate::validate_with(&path, &name, version, &mut context).map_err(|report| {
                let reason = report.failure().map_or("", |step| step.detail.as_str());
                format!("{}: {reason}", path.display())
            })?;
            Arc::new(validated)
        } else if folder.is_dir() || is_remote(models) {
            version_for_servers(&Repository::open(models, &config.storage)?, model, &trusted)?
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
        let now = now();
        Ok(Self { version, bare, now })
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

    /// Builds the input rows of a batch, row-major. A row that the contract rejects is all NaN, and `rejected` is called with
    /// its position in the batch and every reason. With `skip` that includes broken records, and rows with a cell that cannot
    /// be converted. `accepted` is called with the position of each other row and its issues.
    ///
    /// # Errors
    /// A cell cannot be converted to the feature's type.
    pub(super) fn rows(
        &self,
        batch: &TableBatch,
        selection: &Selection,
        skip: bool,
        rejected: &mut dyn FnMut(usize, Vec<RowRejection>),
        accepted: &mut dyn FnMut(usize, FeatureIssues),
    ) -> Result<Vec<f64>, TableError> {
        let mut broken = batch.broken.iter().peekable();
        let width = self.inputs().len();
        let mut rows = Vec::with_capacity(batch.rows * width);
        for row in 0..batch.rows {
            let start = rows.len();
            let slots = match broken.next_if(|broken| broken.row == row) {
                Some(broken) => Err(vec![RowRejection::of_row(RejectionKind::Broken, &broken.message)]),
                None => self.slot_values(batch, selection, row),
            };
            let slots = match slots {
                Ok(slots) => slots,
                Err(reasons) if skip => {
                    rejected(row, reasons);
                    rows.resize(start + width, f64::NAN);
                    continue;
                }
                Err(reasons) => {
                    let first = reasons.into_iter().next();
                    let first =
                        first.unwrap_or_else(|| RowRejection::of_row(RejectionKind::Broken, "no row"));
                    return Err(first.error(batch, row));
                }
            };
            let mut issues = FeatureIssues::default();
            let mut inputs = self.inputs().iter().enumerate();
            let complete: Result<(), Error> = inputs.try_for_each(|(position, input)| {
                let value = apply_contract(input, position, slots[position], false, &mut issues)?;
                rows.push(value);
                Ok(())
            });
            let enough = complete.and_then(|()| self.version.known.check(&issues, &self.version.inputs));
            if let Err(error) = enough {
                rejected(row, vec![RowRejection::of_row(RejectionKind::Contract, error)]);
                rows.truncate(start);
                rows.resize(start + width, f64::NAN);
            } else {
                accepted(row, issues);
            }
        }
        Ok(rows)
    }

    /// Reads the value of each slot of a row. Derived features are computed as of the row's `as_of`, if it has one.
    ///
    /// # Errors
    /// Every cell that cannot be converted.
    fn slot_values(
        &self,
        batch: &TableBatch,
        selection: &Selection,
        row: usize,
    ) -> Result<Vec<SlotValue>, Vec<RowRejection>> {
        let mut values = Vec::with_capacity(selection.slots.len());
        let mut rejections = Vec::new();
        for (slot, column) in selection.slots.iter().enumerate() {
            let Some(column) = *column else {
                values.push(SlotValue::Absent);
                continue;
            };
            let cell = batch.columns[column].cell(row);
            let name = &selection.columns[column];
            values.push(match self.encode(slot, cell) {
                Ok(EncodedCell::Value(value)) => SlotValue::Value(value),
                Ok(EncodedCell::Null) => SlotValue::Null,
                Ok(EncodedCell::UnknownCategory) => {
                    if self.refuses_unknown_categories() {
                        let reason = "unknown category; expected one of the model's".to_owned();
                        rejections.push(RowRejection::of_cell(RejectionKind::Category, name, cell, reason));
                    }
                    SlotValue::UnknownCategory
                }
                Err(reason) => {
                    rejections.push(RowRejection::of_cell(RejectionKind::Cell, name, cell, reason));
                    SlotValue::Invalid
                }
            });
        }
        let as_of = selection.as_of.map(|column| {
            let cell = batch.columns[column].cell(row);
            let time = cell.number(FeatureType::Timestamp);
            time.unwrap_or_else(|reason| {
                rejections.push(RowRejection::of_cell(RejectionKind::Cell, AS_OF, cell, reason));
                None
            })
        });
        rejections.extend(unfit_id(batch, selection, row));
        if !rejections.is_empty() {
            return Err(rejections);
        }
        let as_of = as_of.flatten().unwrap_or(self.now);
        for position in 0..self.inputs().len() {
            if let (Some(derived), None) = (self.derived(position), selection.slots[position]) {
                let operands: Vec<SlotValue> = derived.slots().iter().map(|&slot| values[slot]).collect();
                values[position] = derived.value(&operands, as_of);
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

/// Why the id of a row cannot be one: a score without its id is of no use.
fn unfit_id(batch: &TableBatch, selection: &Selection, row: usize) -> Option<RowRejection> {
    let name = selection.id.as_ref()?;
    let cell = batch.columns.first()?.cell(row);
    let Cell::Unfit { what, .. } = cell else {
        return None;
    };
    let reason = format!("expected an id, such as \"C-1042\" or 1042, found {what}");
    Some(RowRejection::of_cell(RejectionKind::Cell, name, cell, reason))
}

/// Returns whether a column is named like an id: `id`, `customer_id`, `customerID`, `CustomerId`.
pub(super) fn is_id(name: &str) -> bool {
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
