//! The snapshot: a table in a compact in-memory form, looked up by id.
//!
//! A file is read twice. The first pass finds the smallest width that holds each column exactly; the second packs the rows
//! one after the other. Memory peaks at the packed size plus one batch, and a lookup reads the bytes of one row, not one
//! cache line per column.

mod ids;
mod pack;
mod survey;

use std::path::{Path, PathBuf};

use super::table::{Table, TableBatch, TableError};
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::entity_id::IdRef;
use crate::values::feature_type::FeatureType;
use crate::values::time::{now, rfc3339};
use ids::IdIndex;
use pack::PackedRows;
use survey::Survey;

/// A column that the contracts need.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnSpec {
    /// The name in the table.
    pub column: String,
    /// The type of its values. [`FeatureType::Category`] columns are held as codes of the snapshot's own dictionary.
    pub kind: FeatureType,
    /// Whether `f32` is enough, because every model that uses the column rounds its input to `f32`.
    pub single: bool,
}

/// What to read from a table.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    /// The column with the ids.
    pub entity: String,
    /// The column with the `as_of` time of a row, if there is one.
    pub as_of: Option<String>,
    /// The columns to read.
    pub columns: Vec<ColumnSpec>,
}

/// An immutable in-memory table.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    entity: String,
    specs: Vec<ColumnSpec>,
    ids: IdIndex,
    rows: PackedRows,
    /// Texts of each column's codes; empty for numbers.
    dictionaries: Vec<Vec<String>>,
    /// Position of the `as_of` column in `rows`.
    as_of: Option<usize>,
}

impl Snapshot {
    /// Reads `path`, a file or a folder. `progress` receives the bytes read, out of twice the bytes of the table.
    ///
    /// # Errors
    /// A column is missing, a value has the wrong type, an id is empty or duplicate, or the file is not complete; the message
    /// names the file, row and column.
    pub fn load(path: &Path, spec: &SnapshotSpec, progress: &mut dyn FnMut(u64)) -> Result<Self, TableError> {
        let table = Table::open(path)?;
        let mut columns = spec.columns.clone();
        let as_of = spec.as_of.as_ref().map(|column| {
            columns.push(ColumnSpec {
                column: column.clone(),
                kind: FeatureType::Timestamp,
                single: false,
            });
            columns.len() - 1
        });
        let mut chosen = vec![spec.entity.clone()];
        chosen.extend(columns.iter().map(|column| column.column.clone()));
        let mut surveys: Vec<Survey> = columns.iter().map(Survey::new).collect();
        let mut rows = 0;
        each_batch(&table, &chosen, 0, progress, |batch| {
            rows += batch.rows;
            for (survey, cells) in surveys.iter_mut().zip(&batch.columns[1..]) {
                for row in 0..batch.rows {
                    survey
                        .add(cells.cell(row))
                        .map_err(|message| at(batch, row, survey.column(), message))?;
                }
            }
            Ok(())
        })?;
        if let Some(survey) = as_of.and_then(|column| surveys.get(column)) {
            not_in_future(path, survey)?;
        }
        let mut ids = IdIndex::with_capacity(rows);
        let mut packed = PackedRows::new(surveys.iter().map(Survey::codec).collect(), rows);
        each_batch(&table, &chosen, table.bytes(), progress, |batch| {
            for row in 0..batch.rows {
                let id = id_of(batch.columns[0].cell(row))
                    .map_err(|message| at(batch, row, &spec.entity, message))?;
                ids.insert(id)
                    .map_err(|message| at(batch, row, &spec.entity, message))?;
                for (survey, cells) in surveys.iter_mut().zip(&batch.columns[1..]) {
                    let value = survey
                        .code(cells.cell(row))
                        .map_err(|message| at(batch, row, survey.column(), message))?;
                    packed
                        .push(value)
                        .map_err(|message| at(batch, row, survey.column(), message))?;
                }
            }
            Ok(())
        })?;
        let dictionaries = surveys.into_iter().map(Survey::into_dictionary).collect();
        Ok(Self {
            path: path.to_owned(),
            entity: spec.entity.clone(),
            specs: columns,
            ids,
            rows: packed,
            dictionaries,
            as_of,
        })
    }

    /// Sets the location that a copy was made from.
    pub fn at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The location it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The column with the ids.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of an entity. A text and an integer with the same digits are the same id.
    pub fn find(&self, id: IdRef<'_>) -> Option<usize> {
        self.ids.find(id)
    }

    /// The id in row `row`.
    pub fn id(&self, row: usize) -> Option<EntityId> {
        self.ids.get(row)
    }

    /// The id in row `row`, borrowed.
    pub fn id_ref(&self, row: usize) -> Option<IdRef<'_>> {
        self.ids.get_ref(row)
    }

    /// The position of a column of the specification.
    pub fn column(&self, column: &str, kind: FeatureType) -> Option<usize> {
        self.specs
            .iter()
            .position(|spec| spec.column == column && spec.kind == kind)
    }

    /// The number in a row and column: NaN for null; a code of [`Snapshot::dictionary`] for a category.
    pub fn value(&self, row: usize, column: usize) -> f64 {
        self.rows.get(row, column)
    }

    /// The texts of the codes of a category column.
    pub fn dictionary(&self, column: usize) -> &[String] {
        self.dictionaries.get(column).map_or(&[], Vec::as_slice)
    }

    /// The `as_of` time of a row in seconds since the Unix epoch.
    pub fn as_of(&self, row: usize) -> Option<f64> {
        self.as_of
            .map(|column| self.rows.get(row, column))
            .filter(|time| !time.is_nan())
    }

    /// Bytes held for the rows and for the ids.
    pub fn size_bytes(&self) -> (usize, usize) {
        (self.rows.size_bytes(), self.ids.size_bytes())
    }
}

/// Checks that no row is observed later than tomorrow: such rows would look fresh for ever.
fn not_in_future(path: &Path, as_of: &Survey) -> Result<(), TableError> {
    let latest = as_of.greatest();
    if latest <= now() + DAY {
        return Ok(());
    }
    let latest = rfc3339(latest).unwrap_or_else(|| latest.to_string());
    let message = format!("expected times of observation up to now, found {latest}");
    Err(TableError::column(path, as_of.column(), message))
}

/// Seconds of a day: clocks and time zones differ.
const DAY: f64 = 86_400.0;

fn at(batch: &TableBatch, row: usize, column: &str, message: String) -> TableError {
    TableError::cell(&batch.path, batch.first_row + row as u64, column, message)
}

fn each_batch(
    table: &Table,
    chosen: &[String],
    before: u64,
    progress: &mut dyn FnMut(u64),
    mut each: impl FnMut(&TableBatch) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let mut batches = table.batches(chosen)?;
    while let Some(batch) = batches.next_batch()? {
        each(&batch)?;
        progress(before + batches.position(&batch));
    }
    Ok(())
}

/// Converts a cell to an id.
fn id_of<'a>(cell: Cell<'a>) -> Result<IdRef<'a>, String> {
    match cell {
        Cell::Int(id) => Ok(IdRef::Int(id)),
        Cell::Text(id) | Cell::Untyped(id) if !id.is_empty() => Ok(IdRef::Text(id)),
        Cell::Null | Cell::Text(_) | Cell::Untyped(_) => Err("the id is empty".to_owned()),
        Cell::Bool(_) | Cell::Float(_) | Cell::Time(_) | Cell::Unfit { .. } => {
            Err("expected an id that is a text or a whole number".to_owned())
        }
    }
}
