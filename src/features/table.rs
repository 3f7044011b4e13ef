//! Tables in files, read in batches: Parquet, CSV with a header, and JSON lines; one file or a folder. Memory is bounded by
//! the batch, not by the size of the table.

mod column;
mod csv;
mod folder;
mod json;
mod limits;
mod parquet;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use column::{Column, TableBatch, TextColumn};
use flate2::read::MultiGzDecoder;
pub(crate) use folder::{is_part_of_table, nested, unfinished};

use crate::files;
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

    pub(crate) fn column(path: &Path, column: &str, message: impl ToString) -> Self {
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
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object per line.
    JsonLines,
}

/// File name extensions and their formats.
const ENDINGS: [(&str, FileKind); 6] = [
    ("parquet", FileKind::Parquet),
    ("csv", FileKind::Csv),
    ("tsv", FileKind::Tsv),
    ("jsonl", FileKind::JsonLines),
    ("ndjson", FileKind::JsonLines),
    // Spark's ending for JSON lines.
    ("json", FileKind::JsonLines),
];

/// The ending of a file compressed with gzip, after the ending of its format.
const GZIP: &str = "gz";

impl FileKind {
    /// The format by the extension of `path`.
    ///
    /// # Errors
    /// The extension is unknown; the message lists the known ones.
    pub fn of(path: &Path) -> Result<Self, TableError> {
        let inner = if is_gzip(path) {
            path.with_extension("")
        } else {
            path.to_owned()
        };
        let ending = ending(&inner);
        let known = ENDINGS
            .iter()
            .find(|(known, _)| Some(*known) == ending.as_deref())
            .map(|&(_, kind)| kind);
        match known {
            Some(Self::Parquet) if is_gzip(path) => Err(TableError::file(
                path,
                "a Parquet file is compressed inside; expected it without .gz",
            )),
            Some(kind) => Ok(kind),
            None => {
                let known: Vec<String> = ENDINGS.iter().map(|(known, _)| format!(".{known}")).collect();
                Err(TableError::file(
                    path,
                    format!(
                        "unknown file extension; expected one of {}, or .gz after the last five",
                        known.join(", ")
                    ),
                ))
            }
        }
    }
}

fn ending(path: &Path) -> Option<String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.map(str::to_ascii_lowercase)
}

/// Whether a file is compressed with gzip, by its ending.
pub(crate) fn is_gzip(path: &Path) -> bool {
    ending(path).as_deref() == Some(GZIP)
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
    files: Vec<TableFile>,
    columns: Vec<String>,
}

/// A file of a table.
#[derive(Debug)]
struct TableFile {
    path: PathBuf,
    kind: FileKind,
    columns: FileColumns,
}

/// The columns of a file.
#[derive(Debug, Default)]
struct FileColumns {
    /// Columns that can be read.
    names: Vec<String>,
    /// Columns that cannot be read, and why.
    unreadable: Vec<(String, &'static str)>,
}

impl FileColumns {
    /// Sorts out names that occur twice: no one can say which is meant.
    fn of(all: Vec<String>) -> Self {
        let mut columns = Self::default();
        for name in &all {
            if all.iter().filter(|other| *other == name).count() == 1 {
                columns.names.push(name.clone());
            } else if columns.unreadable.iter().all(|(known, _)| known != name) {
                columns
                    .unreadable
                    .push((name.clone(), "occurs twice; rename one of the columns"));
            }
        }
        columns
    }
}

impl Table {
    /// Finds the files of `path`, and the columns of all of them: a part may lack columns that others have, because writers
    /// leave out what is null.
    ///
    /// # Errors
    /// The file does not exist, the folder has no table, or the header cannot be read.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let files = if path.is_dir() {
            folder::files(path)?
        } else {
            vec![(path.to_owned(), FileKind::of(path)?)]
        };
        let mut columns: Vec<String> = Vec::new();
        let files = files
            .into_iter()
            .map(|(path, kind)| {
                let own = columns_of(&path, kind)?;
                let new = own.names.iter().filter(|name| !columns.contains(name)).cloned();
                let new: Vec<String> = new.collect();
                columns.extend(new);
                Ok(TableFile {
                    path,
                    kind,
                    columns: own,
                })
            })
            .collect::<Result<_, TableError>>()?;
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
            .filter_map(|file| file.path.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Reads the named columns, in that order.
    ///
    /// # Errors
    /// Columns are missing; the message lists them.
    pub fn batches(&self, chosen: &[String]) -> Result<TableBatches<'_>, TableError> {
        for file in &self.files {
            let found = |name: &&String| file.columns.unreadable.iter().find(|(known, _)| known == *name);
            if let Some((name, reason)) = chosen.iter().find_map(|name| found(&name)) {
                return Err(TableError::column(&file.path, name, reason));
            }
        }
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
            let Some(file) = self.table.files.get(self.file) else {
                return Ok(None);
            };
            // The keys of JSON lines are known of the first lines only; any line may have any of them.
            let present =
                |name: &&String| file.kind == FileKind::JsonLines || file.columns.names.contains(name);
            let source = match &mut self.open {
                Some(source) => source,
                None => {
                    let chosen: Vec<String> = self.chosen.iter().filter(present).cloned().collect();
                    self.open.insert(open(&file.path, file.kind, &chosen)?)
                }
            };
            if let Some(mut batch) = source.next()? {
                let mut read = std::mem::take(&mut batch.columns).into_iter();
                let column = |name: &String| match present(&name) {
                    true => read.next(),
                    false => Some(Column::Int(vec![None; batch.rows])),
                };
                batch.columns = self.chosen.iter().filter_map(column).collect();
                return Ok(Some(batch));
            }
            self.before += file.path.metadata().map_or(0, |metadata| metadata.len());
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
        FileKind::Csv | FileKind::Tsv => Box::new(csv::CsvFile::open(path, kind, chosen)?),
        FileKind::JsonLines => Box::new(json::JsonFile::open(path, chosen)?),
    })
}

fn columns_of(path: &Path, kind: FileKind) -> Result<FileColumns, TableError> {
    match kind {
        FileKind::Parquet => parquet::columns(path),
        FileKind::Csv | FileKind::Tsv => csv::columns(path, kind).map(FileColumns::of),
        FileKind::JsonLines => json::columns(path).map(FileColumns::of),
    }
}

fn open_file(path: &Path) -> Result<File, TableError> {
    let (file, _) = files::open(path).map_err(|error| TableError::file(path, error))?;
    Ok(file)
}

/// Opens a text file, through gzip if its name says so.
fn open_text(path: &Path) -> Result<Box<dyn Read>, TableError> {
    let file = open_file(path)?;
    Ok(if is_gzip(path) {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::values::cell::Cell;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    /// The numbers of a column, in the order of the rows.
    fn numbers(path: &Path, column: &str) -> Vec<Option<f64>> {
        let table = Table::open(path).unwrap();
        let mut batches = table.batches(&["id".to_owned(), column.to_owned()]).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = batches.next_batch().unwrap() {
            let cells = (0..batch.rows).map(|row| batch.columns[1].cell(row));
            found.extend(cells.map(|cell: Cell<'_>| {
                cell.number(crate::values::feature_type::FeatureType::Float)
                    .unwrap()
            }));
        }
        found
    }

    #[test]
    fn a_column_of_any_part_is_a_column_and_null_in_the_others() {
        for files in [
            [
                ("part-0.jsonl", "{\"id\": 1}\n"),
                ("part-1.jsonl", "{\"id\": 2, \"x\": 5}\n"),
            ],
            [("part-0.csv", "id\n1\n"), ("part-1.csv", "x,id\n5,2\n")],
        ] {
            let folder = folder_with(&files);
            assert_eq!(numbers(folder.path(), "x"), [None, Some(5.0)], "{files:?}");
        }
    }

    #[test]
    fn a_late_key_of_one_part_is_read_and_an_ambiguous_column_of_one_part_is_an_error() {
        let filler = "{\"id\": 1}\n".repeat(100_001);
        let late = format!("{filler}{{\"id\": 2, \"x\": 7}}\n");
        let folder = folder_with(&[("a.jsonl", "{\"id\": 0, \"x\": 5}\n"), ("b.jsonl", &late)]);
        assert_eq!(numbers(folder.path(), "x").last(), Some(&Some(7.0)));
        let folder = folder_with(&[("a.csv", "id,x,x\n1,2,3\n"), ("b.csv", "id,x\n4,5\n")]);
        let table = Table::open(folder.path()).unwrap();
        let error = table
            .batches(&["x".to_owned()])
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.csv") && error.contains("occurs twice"),
            "{error}"
        );
        assert!(table.batches(&["id".to_owned()]).is_ok());
    }

    #[test]
    fn a_folder_inside_is_refused_by_name_and_a_marker_is_not() {
        let folder = folder_with(&[("a.csv", "id,x\n1,2\n"), ("_temporary/b.csv", ""), (".crc/c", "")]);
        assert_eq!(numbers(folder.path(), "x"), [Some(2.0)]);
        for (name, part) in [
            ("dt=2026-01-02", "the folder dt=2026-01-02 inside"),
            ("_delta_log", "a Delta table"),
        ] {
            let folder = folder_with(&[
                ("a.csv", "id,x\n1,2\n"),
                (&format!("{name}/b.csv"), "id,x\n3,4\n"),
            ]);
            let error = Table::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn tabs_and_gzip_are_read_by_the_ending() {
        let folder = folder_with(&[("a.tsv", "id\tx\n1\t5\n"), ("b.json", "{\"id\": 2, \"x\": 6}")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"id,x\n3,7\n").unwrap();
        std::fs::write(folder.path().join("c.csv.gz"), gzip.finish().unwrap()).unwrap();
        assert_eq!(numbers(folder.path(), "x"), [Some(5.0), Some(6.0), Some(7.0)]);
    }
}
