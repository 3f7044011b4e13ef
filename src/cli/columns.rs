//! From an input table's columns to the inputs of a model, for offline scoring.

use std::path::{Path, PathBuf};

use super::check::identity;
use crate::error::Error;
use crate::features::row::{Found, Notes, settle};
use crate::features::table::{Batch, Table, TableError};
use crate::forest::{Forest, LoadOptions};
use crate::models::bundle::Bundle;
use crate::models::contract::Contract;
use crate::models::gate;
use crate::models::input::{Encoded, Input};
use crate::models::registry;

/// A model ready for offline scoring.
pub(super) struct Offline {
    pub(super) forest: Forest,
    pub(super) contract: Option<Contract>,
    inputs: Vec<Input>,
}

impl Offline {
    /// Loads a bundle (through the gate), a bare model file, or the newest good version of a model in `models`.
    pub(super) fn load(model: &str, models: &Path) -> Result<Self, String> {
        let path = PathBuf::from(model);
        if !path.exists() {
            return Self::named(model, models);
        }
        let bundle = Bundle::find(&path)?;
        if bundle.contract.is_none() {
            return Self::bare(&bundle);
        }
        let (name, version) = identity(&path);
        let judged = gate::admit(&path, &name, version).map_err(|report| {
            let reason = report.failure().map_or("", |step| step.detail.as_str());
            format!("{}: {reason}", path.display())
        })?;
        Ok(Self {
            forest: judged.forest,
            contract: judged.contract,
            inputs: judged.inputs,
        })
    }

    fn named(name: &str, models: &Path) -> Result<Self, String> {
        let folder = models.join(name);
        if !folder.is_dir() {
            return Err(format!(
                "{name}: neither a file or folder, nor a model in {}",
                models.display()
            ));
        }
        let version = registry::newest_path(&folder)?;
        Self::load(&version.to_string_lossy(), models)
    }

    fn bare(bundle: &Bundle) -> Result<Self, String> {
        let files = bundle.read(None)?;
        let fail = |message: String| format!("{}: {message}", bundle.path.display());
        let forest =
            Forest::from_bytes(&files.model, &LoadOptions::default()).map_err(|e| fail(e.to_string()))?;
        let inputs = forest
            .features()
            .iter()
            .map(|feature| Input::bare(feature, forest.precision()))
            .collect();
        Ok(Self {
            forest,
            contract: None,
            inputs,
        })
    }

    /// The columns of `table` to read: the id's first, if there is one, then one per input.
    pub(super) fn columns(&self, table: &Table) -> Result<(Option<String>, Vec<String>), TableError> {
        let entity = self
            .contract
            .as_ref()
            .map(|contract| contract.model.entity.as_str());
        let has = |name: &str| table.columns().iter().any(|column| column == name);
        let id = entity
            .into_iter()
            .chain(["id", "customer_id"])
            .find(|name| has(name))
            .map(str::to_owned);
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
        columns.extend(self.inputs.iter().map(column));
        Ok((id, columns))
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
        let mut rows = Vec::with_capacity(batch.rows * self.inputs.len());
        for row in 0..batch.rows {
            let mut notes = Notes::default();
            let start = rows.len();
            for (position, (input, column)) in self.inputs.iter().zip(cells).enumerate() {
                let fail = |message: String| {
                    let name = names.get(first_input + position).map_or("", String::as_str);
                    TableError::cell(&batch.path, batch.first_row + row as u64, name, message)
                };
                let found = match input.encode(column.cell(row)).map_err(fail)? {
                    Encoded::Value(value) => Found::Value(value),
                    Encoded::Null => Found::Null,
                    Encoded::UnknownCategory => Found::UnknownCategory,
                };
                match settle(input, position, found, None, &mut notes) {
                    Ok(value) => rows.push(value),
                    Err(error) => {
                        rejected(row, &error);
                        rows.resize(start + self.inputs.len(), f64::NAN);
                        break;
                    }
                }
            }
        }
        Ok(rows)
    }
}
