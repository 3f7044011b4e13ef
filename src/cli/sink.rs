//! Writes tables as CSV, JSON lines or Parquet. A file appears complete or not at all: it is written under a temporary name
//! in the same folder and renamed at the end.

mod parquet;
mod target;
mod text;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::features::table::{Column, Compression, FileKind};
use crate::values::cell::Cell;
pub(super) use target::Target;

/// The columns of the output.
#[derive(Clone, Debug)]
pub(super) struct OutputHeader {
    /// Name of the id column, if any.
    pub(super) id: Option<String>,
    /// Names and types of the other columns.
    pub(super) columns: Vec<(String, ColumnType)>,
}

impl OutputHeader {
    fn names(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().map(|(name, _)| name.as_str());
        self.id.as_deref().into_iter().chain(columns)
    }

    /// Refuses duplicate column names, which readers cannot tell apart.
    ///
    /// # Errors
    /// A name occurs twice.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        let duplicate = self.names().find(|name| !seen.insert(*name));
        duplicate.map_or(Ok(()), |name| {
            Err(format!(
                "duplicate output column `{name}`; rename it in the input"
            ))
        })
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    /// 32-bit whole numbers.
    Whole,
    /// 64-bit whole numbers.
    Long,
    /// 32-bit floats.
    Single,
    /// 64-bit floats.
    Double,
    /// Moments.
    Time,
    /// Texts.
    Text,
}

/// The values of a column, of the type of the same name; `None` is null.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Whole(Vec<Option<i32>>),
    Long(Vec<Option<i64>>),
    Single(Vec<Option<f32>>),
    Double(Vec<Option<f64>>),
    /// Microseconds since the Unix epoch; in text by RFC 3339.
    Time(Vec<Option<i64>>),
    Text(Vec<Option<Arc<str>>>),
}

impl Values {
    /// No values of a type.
    pub(super) fn none(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Whole => Self::Whole(Vec::new()),
            ColumnType::Long => Self::Long(Vec::new()),
            ColumnType::Single => Self::Single(Vec::new()),
            ColumnType::Double => Self::Double(Vec::new()),
            ColumnType::Time => Self::Time(Vec::new()),
            ColumnType::Text => Self::Text(Vec::new()),
        }
    }

    /// Adds a number, as the nearest of the type. A column of texts or moments gets null.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "classes, leaves and counts are small, and other numbers were widened from the type"
    )]
    pub(super) fn push_number(&mut self, value: Option<f64>) {
        match self {
            Self::Whole(values) => values.push(value.map(|value| value as i32)),
            Self::Long(values) => values.push(value.map(|value| value as i64)),
            Self::Single(values) => values.push(value.map(|value| value as f32)),
            Self::Double(values) => values.push(value),
            Self::Time(values) => values.push(None),
            Self::Text(values) => values.push(None),
        }
    }

    /// Moves the values of `other`, which has the same type, to the end.
    fn append(&mut self, other: &mut Self) {
        match (self, other) {
            (Self::Whole(values), Self::Whole(more)) => values.append(more),
            (Self::Long(values), Self::Long(more)) => values.append(more),
            (Self::Single(values), Self::Single(more)) => values.append(more),
            (Self::Double(values), Self::Double(more)) => values.append(more),
            (Self::Time(values), Self::Time(more)) => values.append(more),
            (Self::Text(values), Self::Text(more)) => values.append(more),
            (one, other) => debug_assert!(false, "{one:?} and {other:?} have different types"),
        }
    }
}

/// Some rows of the output.
#[derive(Debug)]
pub(super) struct OutputBatch {
    /// Their number.
    pub(super) rows: usize,
    /// Their ids.
    pub(super) ids: Option<Column>,
    /// The columns of the header, each with a value per row.
    pub(super) columns: Vec<Values>,
}

/// The type of ids in Parquet, which the first ones determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IdType {
    /// Texts, and everything else that has no type of its own.
    Text,
    /// 64-bit whole numbers.
    Int,
    /// 64-bit floats.
    Double,
}

/// Why rows cannot be written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// They do not fit into the file: to try again does not help.
    Rows(String),
    /// The file cannot be written.
    File(String),
}

/// A file format of the output.
trait Writer: Send {
    /// Writes the rows of a batch.
    fn write(&mut self, batch: OutputBatch) -> Result<(), WriteError>;
    /// Writes buffered rows and completes the file; gives it back, and the type of its ids if the format has types.
    fn finish(self: Box<Self>) -> Result<(Target, Option<IdType>), String>;
}

/// The format of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputFormat {
    /// The format of the rows.
    pub(super) kind: FileKind,
    /// How the file is compressed, if it is text.
    pub(super) compression: Option<Compression>,
}

impl OutputFormat {
    /// The format by the ending of a name.
    ///
    /// # Errors
    /// The ending is unknown.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        Ok(Self {
            kind: FileKind::of(path).map_err(|error| error.to_string())?,
            compression: Compression::of(path),
        })
    }

    /// The ending of names of this format, with its dot.
    pub(super) fn ending(self) -> String {
        let kind = match self.kind {
            FileKind::Parquet => ".parquet",
            FileKind::Csv => ".csv",
            FileKind::Tsv => ".tsv",
            FileKind::JsonLines => ".jsonl",
        };
        let compressed = self
            .compression
            .map(|compression| format!(".{}", compression.ending()));
        format!("{kind}{}", compressed.unwrap_or_default())
    }
}

/// An output in progress.
pub(super) struct Sink(Box<dyn Writer>);

impl Sink {
    /// Begins an output. `ids` is the type of ids in other parts of it.
    ///
    /// # Errors
    /// A column name is a duplicate, or the header cannot be written.
    pub(super) fn new(
        format: OutputFormat,
        target: Target,
        header: OutputHeader,
        ids: Option<IdType>,
    ) -> Result<Self, String> {
        header.check().map_err(|error| target.fail(&error))?;
        let target = target.compressed(format.compression)?;
        Ok(Self(match format.kind {
            FileKind::Csv => Box::new(text::Csv::new(target, b',', &header)?),
            FileKind::Tsv => Box::new(text::Csv::new(target, b'\t', &header)?),
            FileKind::JsonLines => Box::new(text::JsonLines::new(target, header)),
            FileKind::Parquet => Box::new(parquet::Parquet::new(target, header, ids)),
        }))
    }

    /// Writes the rows of a batch.
    ///
    /// # Errors
    /// See [`WriteError`]; the message names the file.
    pub(super) fn write(&mut self, batch: OutputBatch) -> Result<(), WriteError> {
        self.0.write(batch)
    }

    /// Completes the file, under its name. Returns the type of its ids, if its format has types.
    ///
    /// # Errors
    /// The file cannot be written; the message names it.
    pub(super) fn finish(self) -> Result<Option<IdType>, String> {
        let (target, ids) = self.0.finish()?;
        target.finish()?;
        Ok(ids)
    }
}

/// Converts an id to text; `None` is null.
pub(super) fn id_text(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Null | Cell::Unfit { .. } => None,
        Cell::Text(id) | Cell::Untyped(id) => Some(id.to_owned()).filter(|id| !id.is_empty()),
        Cell::Int(id) => Some(id.to_string()),
        Cell::Float(id) => Some(id.to_string()).filter(|_| !id.is_nan()),
        Cell::Bool(id) => Some(id.to_string()),
        Cell::Time(micros) => time_text(micros),
    }
}

/// A moment by RFC 3339; `None` if it is beyond the calendar.
fn time_text(micros: i64) -> Option<String> {
    let time = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(time.to_string())
}
