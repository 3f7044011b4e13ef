//! Which column of a snapshot feeds which input of a model: worked out once, when either of the two changes.

use std::sync::Arc;

use super::row::Found;
use super::snapshot::{ColumnSpec, IdRef, Snapshot, SnapshotSpec};
use crate::forest::Precision;
use crate::models::ModelVersion;
use crate::models::contract::FeatureType;

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

/// What a snapshot must hold to serve `models`.
///
/// # Errors
/// The models disagree about what a row is about.
pub fn spec<'a>(
    models: impl IntoIterator<Item = &'a ModelVersion>,
    as_of: Option<&str>,
) -> Result<Option<SnapshotSpec>, String> {
    let mut spec: Option<SnapshotSpec> = None;
    for model in models {
        let Some(contract) = &model.contract else { continue };
        let entity = contract.model.entity.as_str();
        let spec = spec.get_or_insert_with(|| SnapshotSpec {
            entity: entity.to_owned(),
            as_of: as_of.map(str::to_owned),
            columns: Vec::new(),
        });
        if spec.entity != entity {
            return Err(format!(
                "one snapshot cannot serve both `{}` and `{entity}` (model {})",
                spec.entity, model.name
            ));
        }
        let single = model.forest.precision() == Precision::F32;
        for feature in contract.features() {
            let known = spec
                .columns
                .iter_mut()
                .find(|c| c.column == feature.column() && c.kind == feature.kind);
            match known {
                Some(column) => column.single &= single,
                None => {
                    spec.columns.push(ColumnSpec {
                        column: feature.column().to_owned(),
                        kind: feature.kind,
                        single,
                    });
                }
            }
        }
    }
    Ok(spec)
}

impl Plan {
    /// Plans how `snapshot` feeds `model`.
    ///
    /// # Errors
    /// The snapshot was read for other models: it lacks a column.
    pub fn new(snapshot: &Arc<Snapshot>, model: &ModelVersion) -> Result<Self, String> {
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
