//! Writes offline scores as CSV, JSON lines or Parquet. A file appears complete or not at all: it is written under a
//! temporary name in the same folder and renamed at the end.

mod parquet;
mod text;

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::features::table::{Column, FileKind, is_gzip};
use crate::values::cell::Cell;

/// The columns of the output.
#[derive(Debug)]
pub(super) struct OutputHeader {
    /// Name of the id column, if any.
    pub(super) id: Option<String>,
    /// Names of the number columns.
    pub(super) columns: Vec<String>,
    /// Type of the numbers.
    pub(super) numbers: Numbers,
}

impl OutputHeader {
    /// Refuses duplicate column names, which readers cannot tell apart.
    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        let duplicate = self
            .id
            .iter()
            .chain(&self.columns)
            .find(|name| !seen.insert(name.as_str()));
        duplicate.map_or(Ok(()), |name| {
            Err(format!(
                "duplicate output column `{name}`; rename it in the input"
            ))
        })
    }
}

/// The type of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Whole,
    Single,
    Double,
}

/// A file format of the output.
trait Writer {
    /// Writes the rows of a batch. `values` is row-major; a row with `skip` gets an id and no values.
    fn write(
        &mut self,
        header: &OutputHeader,
        ids: Option<&Column>,
        values: &[f64],
        skip: &[bool],
    ) -> Result<(), String>;
    /// Writes buffered rows and completes the file.
    fn finish(self: Box<Self>, header: &OutputHeader) -> Result<(), String>;
}

/// An output file in progress.
pub(super) struct Sink {
    header: OutputHeader,
    writer: Option<Box<dyn Writer>>,
    path: PathBuf,
    /// Path of the file until it is complete.
    temporary: PathBuf,
}

/// Opens an output file; its ending sets the format.
///
/// # Errors
/// The ending is unknown, a column name is a duplicate, or the file cannot be created.
pub(super) fn create(path: &Path, header: OutputHeader) -> Result<Sink, String> {
    let kind = FileKind::of(path).map_err(|error| error.to_string())?;
    if is_gzip(path) {
        return Err(format!(
            "{}: expected an ending without .gz: output is not compressed",
            path.display()
        ));
    }
    header
        .check()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let file = File::create(&temporary).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = BufWriter::new(file);
    let mut sink = Sink {
        header,
        writer: None,
        path: path.to_owned(),
        temporary,
    };
    sink.writer = Some(match kind {
        FileKind::Csv => Box::new(text::Csv::new(file, b',', &sink.header)?),
        FileKind::Tsv => Box::new(text::Csv::new(file, b'\t', &sink.header)?),
        FileKind::JsonLines => Box::new(text::JsonLines::new(file)),
        FileKind::Parquet => Box::new(parquet::Parquet::new(file)),
    });
    Ok(sink)
}

impl Sink {
    /// Writes the rows of a batch.
    pub(super) fn write(
        &mut self,
        ids: Option<&Column>,
        values: &[f64],
        skip: &[bool],
    ) -> Result<(), String> {
        let path = self.path.display();
        match &mut self.writer {
            Some(writer) => writer
                .write(&self.header, ids, values, skip)
                .map_err(|error| format!("{path}: {error}")),
            None => Err(format!("{path}: file already finished")),
        }
    }

    /// Completes the file and renames it to its final path.
    pub(super) fn finish(mut self) -> Result<(), String> {
        let path = self.path.clone();
        let fail = |error: String| format!("{}: {error}", path.display());
        if let Some(writer) = self.writer.take() {
            writer.finish(&self.header).map_err(fail)?;
        }
        std::fs::rename(&self.temporary, &self.path).map_err(|error| fail(error.to_string()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Removes the partial file after a failure; after `finish` it no longer exists.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Converts an id to text; `None` is null.
fn id_text(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Text(id) | Cell::Untyped(id) => Some(id.to_owned()).filter(|id| !id.is_empty()),
        Cell::Int(id) => Some(id.to_string()),
        Cell::Float(id) => Some(id.to_string()).filter(|_| !id.is_nan()),
        Cell::Bool(id) => Some(id.to_string()),
        Cell::Time(micros) => jiff::Timestamp::from_microsecond(micros)
            .ok()
            .map(|time| time.to_string()),
    }
}
