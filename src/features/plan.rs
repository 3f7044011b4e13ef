//! Which column of a snapshot feeds which input of a model: worked out once, when either of the two changes.

use std::sync::Arc;

use super::row::Found;
use super::snapshot::{ColumnSpec, IdRef, Snapshot, SnapshotSpec};
use super::table::Table;
use crate::forest::Precision;
use crate::models::ModelVersion;
use crate::models::contract::{FeatureContract, FeatureType};
use crate::nearest::hint;

/// The columns that a model's inputs come from.
#[derive(Debug)]
pub struct Plan {
    snapshot: Arc<Snapshot>,
    columns: Vec<Planned>,
}

#[derive(Debug)]
enum Planned {
    Number(usize),
    /// The model's code for each code of the snapshot's dictionary; NaN where the model does not know the category.
    Category(usize, Vec<f64>),
}

/// Why `table` cannot feed `model`; `None` when it can, or when the model has no contract and takes tensors only.
pub fn unfed(model: &ModelVersion, table: &Table) -> Option<String> {
    let contract = model.contract.as_ref()?;
    let columns = contract.features().map(FeatureContract::column);
    let needed = columns.chain([contract.model.entity.as_str()]);
    let known = || table.columns().iter().map(String::as_str);
    let missing: Vec<String> = needed
        .filter(|name| !known().any(|column| column == *name))
        .map(|name| format!("`{name}`{}", hint(name, known())))
        .collect();
    let path = table.path().display();
    (!missing.is_empty()).then(|| format!("{path}: missing columns: {}", missing.join(", ")))
}

/// What a snapshot must hold to serve `models`; `None` when none of them has a contract. Models of another entity
/// than the first one's are left to be refused by [`Plan::new`].
pub fn spec<'a>(
    models: impl IntoIterator<Item = &'a ModelVersion>,
    as_of: Option<&str>,
) -> Option<SnapshotSpec> {
    let mut spec: Option<SnapshotSpec> = None;
    for model in models {
        let Some(contract) = &model.contract else { continue };
        let spec = spec.get_or_insert_with(|| SnapshotSpec {
            entity: contract.model.entity.clone(),
            as_of: as_of.map(str::to_owned),
            columns: Vec::new(),
        });
        let single = model.forest.precision() == Precision::F32;
        for feature in contract.features() {
            let known = spec
                .columns
                .iter_mut()
                .find(|c| c.column == feature.column() && c.kind == feature.kind);
            match known {
                Some(column) => column.single &= single,
                None => {
                    let column = feature.column().to_owned();
                    spec.columns.push(ColumnSpec {
                        column,
                        kind: feature.kind,
                        single,
                    });
                }
            }
        }
    }
    spec
}

impl Plan {
    /// Plans how `snapshot` feeds `model`.
    ///
    /// # Errors
    /// The snapshot was read for other models: it lacks a column.
    pub fn new(snapshot: &Arc<Snapshot>, model: &ModelVersion) -> Result<Self, String> {
        if snapshot.entity() != model.entity() {
            let (held, wanted) = (snapshot.entity(), model.entity());
            return Err(format!(
                "the snapshot is keyed by `{held}`, as another model wants it, and not by `{wanted}`"
            ));
        }
        let mut columns = Vec::with_capacity(model.inputs.len());
        for input in &model.inputs {
            let (name, kind) = (input.contract.column(), input.contract.kind);
            let column = snapshot.column(name, kind);
            let column =
                column.ok_or_else(|| format!("the snapshot was not read with the column `{name}`"))?;
            columns.push(if kind == FeatureType::Category {
                let codes = snapshot
                    .dictionary(column)
                    .iter()
                    .map(|text| input.code(text).unwrap_or(f64::NAN));
                Planned::Category(column, codes.collect())
            } else {
                Planned::Number(column)
            });
        }
        Ok(Self {
            snapshot: snapshot.clone(),
            columns,
        })
    }

    /// The row of an entity.
    pub fn find(&self, id: IdRef<'_>) -> Option<usize> {
        self.snapshot.find(id)
    }

    /// When a row was true: seconds since the Unix epoch.
    pub fn as_of(&self, row: usize) -> Option<f64> {
        self.snapshot.as_of(row)
    }

    /// What a row holds for one input.
    pub fn get(&self, row: usize, input: usize) -> Found {
        let (column, codes) = match &self.columns[input] {
            Planned::Number(column) => (*column, None),
            Planned::Category(column, codes) => (*column, Some(codes)),
        };
        let value = self.snapshot.value(row, column);
        if value.is_nan() {
            return Found::Null;
        }
        let Some(codes) = codes else {
            return Found::Value(value);
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position in the dictionary"
        )]
        let code = codes.get(value as usize).copied().unwrap_or(f64::NAN);
        if code.is_nan() {
            Found::UnknownCategory
        } else {
            Found::Value(code)
        }
    }
}
