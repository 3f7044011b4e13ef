//! From an input table's columns to the inputs of a model, for offline scoring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::identity;
use crate::error::Error;
use crate::features::row::{Found, Notes, settle};
use crate::features::table::{Batch, Table, TableError};
use crate::forest::Format;
use crate::models::ModelVersion;
use crate::models::gate;
use crate::models::input::{Encoded, Input};
use crate::models::repository;

/// A model ready for offline scoring.
pub(super) struct Offline {
    pub(super) version: Arc<ModelVersion>,
    /// The inputs of a model without a contract.
    bare: Vec<Input>,
}

impl Offline {
    /// Takes a bundle or a bare model file through the gate, or the newest good version of a model in `models`.
    pub(super) fn load(model: &str, models: &Path) -> Result<Self, String> {
        let (path, folder) = (PathBuf::from(model), models.join(model));
        let version = if path.exists() {
            let (name, version) = identity(&path);
            let judged = gate::admit(&path, &name, version).map_err(|report| {
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
                .map(|feature| Input::bare(feature, version.forest.precision()))
                .collect(),
        };
        Ok(Self { version, bare })
    }

    /// The model's inputs.
    fn inputs(&self) -> &[Input] {
        if self.version.contract.is_some() {
            &self.version.inputs
        } else {
            &self.bare
        }
    }

    /// The columns of `table` to read: the id's first (the one `asked` for, if any), then one per input.
    pub(super) fn columns(
        &self,
        table: &Table,
        asked: Option<&str>,
    ) -> Result<(Option<String>, Vec<String>), TableError> {
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
        let column = |input: &Input| {
            let (name, stored) = (&input.contract.name, input.contract.column());
            if has(name) || !has(stored) {
                name.clone()
            } else {
                stored.to_owned()
            }
        };
        let mut columns: Vec<String> = id.iter().cloned().collect();
        columns.extend(self.inputs().iter().map(column));
        Ok((id, columns))
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
        batch: &Batch,
        first_input: usize,
        names: &[String],
        rejected: &mut dyn FnMut(usize, &Error),
    ) -> Result<Vec<f64>, TableError> {
        let cells = batch.columns.get(first_input..).unwrap_or_default();
        let mut rows = Vec::with_capacity(batch.rows * self.inputs().len());
        for row in 0..batch.rows {
            let mut notes = Notes::default();
            let start = rows.len();
            for (position, (input, column)) in self.inputs().iter().zip(cells).enumerate() {
                let fail = |message: String| -> TableError {
                    let name = names.get(first_input + position).map_or("", String::as_str);
                    TableError::cell(&batch.path, batch.first_row + row as u64, name, message)
                };
                let found = match input.encode(column.cell(row)).map_err(fail)? {
                    Encoded::Value(value) => Found::Value(value),
                    Encoded::Null => Found::Null,
                    Encoded::UnknownCategory if self.knows_all_categories() => {
                        return Err(fail("not one of the model's categories".to_owned()));
                    }
                    Encoded::UnknownCategory => Found::UnknownCategory,
                };
                match settle(input, position, found, None, &mut notes) {
                    Ok(value) => rows.push(value),
                    Err(error) => {
                        rejected(row, &error);
                        rows.resize(start + self.inputs().len(), f64::NAN);
                        break;
                    }
                }
            }
        }
        Ok(rows)
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
