//! Where offline scores go: CSV, JSON lines or Parquet. The file appears whole or not at all: it is written beside
//! its place and moved there at the end.

mod parquet;
mod text;

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::features::table::{Column, FileKind};
use crate::values::cell::Cell;

/// The columns of the output.
#[derive(Debug)]
pub(super) struct OutputHeader {
    /// The id's column, if there is one.
    pub(super) id: Option<String>,
    /// The columns of numbers.
    pub(super) columns: Vec<String>,
    /// What kind of numbers they hold.
    pub(super) numbers: Numbers,
}

impl OutputHeader {
    /// Refuses two columns of one name: no reader could tell them apart.
    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        let twice = self
            .id
            .iter()
            .chain(&self.columns)
            .find(|name| !seen.insert(name.as_str()));
        twice.map_or(Ok(()), |name| {
            Err(format!(
                "two columns would be named `{name}`; rename the one of the input"
            ))
        })
    }
}

/// A kind of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Whole,
    Single,
    Double,
}

/// A file format of the output.
trait Writer {
    /// Writes the rows of a batch: `values` row-major; a row of `skip` has an id and no values.
    fn write(
        &mut self,
        header: &OutputHeader,
        ids: Option<&Column>,
        values: &[f64],
        skip: &[bool],
    ) -> Result<(), String>;
    /// Writes what is still to be written.
    fn finish(self: Box<Self>, header: &OutputHeader) -> Result<(), String>;
}

/// An output file under way.
pub(super) struct Sink {
    header: OutputHeader,
    writer: Option<Box<dyn Writer>>,
    path: PathBuf,
    /// Where the file is until it is complete.
    temporary: PathBuf,
}

/// Opens an output file; its ending says the format.
pub(super) fn create(path: &Path, header: OutputHeader) -> Result<Sink, String> {
    let kind = FileKind::of(path).map_err(|error| error.to_string())?;
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
        FileKind::Csv => Box::new(text::Csv::new(file, &sink.header)?),
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
            None => Err(format!("{path}: already finished")),
        }
    }

    /// Completes the file and moves it to its place.
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
        // After `finish` there is nothing left to remove; after a failure the part must not stay.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// An id that is no number, as text; `None` is null.
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
