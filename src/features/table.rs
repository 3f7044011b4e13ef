//! Tables in files, read in batches: Parquet, CSV with a header, and JSON lines; one file or a folder. Memory is bounded by
//! the batch, not by the size of the table.

mod column;
mod csv;
mod json;
mod parquet;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use column::{Column, TableBatch, TextColumn};

use crate::suggest::hint;

/// Rows in a batch.
const BATCH_ROWS: usize = 4096;

/// An error in a table.
#[derive(Debug, thiserror::Error)]
pub struct TableError {
    /// The file.
    pub path: PathBuf,
    /// The row, counted from 1 without the header.
    pub row: Option<u64>,
    /// The column.
    pub column: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl TableError {
    pub(crate) fn file(path: &Path, message: impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            row: None,
            column: None,
            message: message.to_string(),
        }
    }

    pub(crate) fn row(path: &Path, row: u64, message: impl ToString) -> Self {
        Self {
            row: Some(row),
            ..Self::file(path, message)
        }
    }

    pub(crate) fn cell(path: &Path, row: u64, column: &str, message: impl ToString) -> Self {
        Self {
            column: Some(column.to_owned()),
            ..Self::row(path, row, message)
        }
    }

    fn column(path: &Path, column: &str, message: impl ToString) -> Self {
        Self {
            column: Some(column.to_owned()),
            ..Self::file(path, message)
        }
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Apache Parquet, flat columns.
    Parquet,
    /// Comma-separated values with a header line, UTF-8.
    Csv,
    /// One JSON object per line.
    JsonLines,
}

/// File name extensions and their formats.
const ENDINGS: [(&str, FileKind); 4] = [
    ("parquet", FileKind::Parquet),
    ("csv", FileKind::Csv),
    ("jsonl", FileKind::JsonLines),
    ("ndjson", FileKind::JsonLines),
];

impl FileKind {
    /// The format by the extension of `path`.
    ///
    /// # Errors
    /// The extension is unknown; the message lists the known ones.
    pub fn of(path: &Path) -> Result<Self, TableError> {
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .map(str::to_ascii_lowercase);
        let known = ENDINGS
            .iter()
            .find(|(known, _)| Some(*known) == ending.as_deref());
        known.map(|&(_, kind)| kind).ok_or_else(|| {
            let known: Vec<String> = ENDINGS.iter().map(|(known, _)| format!(".{known}")).collect();
            TableError::file(
                path,
                format!("unknown file extension; expected one of {}", known.join(", ")),
            )
        })
    }
}

/// Reads one file in batches.
trait BatchReader {
    /// The next batch of the chosen columns; `None` at the end.
    fn next(&mut self) -> Result<Option<TableBatch>, TableError>;
}

/// A table: one file, or the files of a folder in the order of their names.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    files: Vec<(PathBuf, FileKind)>,
    columns: Vec<String>,
}

impl Table {
    /// Finds the files of `path`, and the columns of the first one.
    ///
    /// # Errors
    /// The file does not exist, the folder has no table, or the header cannot be read.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let files = if path.is_dir() {
            folder(path)?
        } else {
            vec![(path.to_owned(), FileKind::of(path)?)]
        };
        let columns = columns(&files[0].0, files[0].1)?;
        Ok(Self {
            path: path.to_owned(),
            files,
            columns,
        })
    }

    /// The location of the table.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the columns. For JSON lines: the keys of the first lines.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Bytes of all files, the unit of [`TableBatches::position`].
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .filter_map(|(path, _)| path.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Reads the named columns, in that order.
    ///
    /// # Errors
    /// Columns are missing; the message lists them.
    pub fn batches(&self, chosen: &[String]) -> Result<TableBatches<'_>, TableError> {
        let missing: Vec<String> = chosen
            .iter()
            .filter(|name| !self.columns.contains(name))
            .map(|name| format!("`{name}`{}", hint(name, self.columns.iter().map(String::as_str))))
            .collect();
        if !missing.is_empty() {
            return Err(TableError::file(
                &self.path,
                format!("missing columns: {}", missing.join(", ")),
            ));
        }
        Ok(TableBatches {
            table: self,
            chosen: chosen.to_vec(),
            file: 0,
            open: None,
            before: 0,
        })
    }
}

/// The batches of a table.
pub struct TableBatches<'a> {
    table: &'a Table,
    chosen: Vec<String>,
    file: usize,
    open: Option<Box<dyn BatchReader>>,
    /// Bytes of the files that are done.
    before: u64,
}

impl TableBatches<'_> {
    /// The next batch, with its file and the number of its first row in that file; `None` at the end.
    ///
    /// # Errors
    /// A value cannot be read; the message names the file, row and column.
    pub fn next_batch(&mut self) -> Result<Option<TableBatch>, TableError> {
        loop {
            let Some((path, kind)) = self.table.files.get(self.file) else {
                return Ok(None);
            };
            let source = match &mut self.open {
                Some(source) => source,
                None => self.open.insert(open(path, *kind, &self.chosen)?),
            };
            if let Some(batch) = source.next()? {
                return Ok(Some(batch));
            }
            self.before += path.metadata().map_or(0, |metadata| metadata.len());
            self.open = None;
            self.file += 1;
        }
    }

    /// Bytes read so far, out of [`Table::bytes`], as of `batch`.
    pub fn position(&self, batch: &TableBatch) -> u64 {
        self.before + batch.position
    }
}

fn open(path: &Path, kind: FileKind, chosen: &[String]) -> Result<Box<dyn BatchReader>, TableError> {
    Ok(match kind {
        FileKind::Parquet => Box::new(parquet::ParquetFile::open(path, chosen)?),
        FileKind::Csv => Box::new(csv::CsvFile::open(path, chosen)?),
        FileKind::JsonLines => Box::new(json::JsonFile::open(path, chosen)?),
    })
}

fn columns(path: &Path, kind: FileKind) -> Result<Vec<String>, TableError> {
    match kind {
        FileKind::Parquet => parquet::columns(path),
        FileKind::Csv => csv::columns(path),
        FileKind::JsonLines => json::columns(path),
    }
}

fn open_file(path: &Path) -> Result<File, TableError> {
    File::open(path).map_err(|error| TableError::file(path, error))
}

/// The table files of a folder. Names that start with `_` or `.` are markers and checksums of the job that wrote it.
fn folder(path: &Path) -> Result<Vec<(PathBuf, FileKind)>, TableError> {
    let entries = path.read_dir().map_err(|error| TableError::file(path, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| TableError::file(path, error))?.path();
        let hidden = file
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with(['_', '.']));
        // A job may write empty parts.
        let empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if !hidden && !empty && file.is_file() {
            let kind = FileKind::of(&file)?;
            files.push((file, kind));
        }
    }
    if files.is_empty() {
        return Err(TableError::file(
            path,
            "no Parquet, CSV or JSON lines file in the folder",
        ));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}
