//! Tables in files, read in batches: Parquet, CSV with a header, and JSON lines; one file or a folder. Memory is bounded by
//! the batch, not by the size of the table.

mod column;
mod compression;
mod csv;
mod error;
mod folder;
mod json;
mod kind;
mod limits;
mod parquet;
mod partition;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use column::{BrokenRow, Column, TableBatch, TextColumn};
pub(crate) use compression::{Compression, FinishWrite};
pub use error::TableError;
pub(crate) use folder::{HUDI_LOG, is_part_of_table, managed, nested, unfinished};
pub use kind::FileKind;
pub use parquet::decimals;
use partition::Partition;
pub(crate) use partition::is_partition;

use crate::files;
use crate::suggest::hint;

/// Rows in a batch.
const BATCH_ROWS: usize = 4096;

/// Reads one file in batches.
trait BatchReader {
    /// The next batch of the chosen columns; `None` at the end.
    fn next(&mut self) -> Result<Option<TableBatch>, TableError>;

    /// Skips batches until so many rows are skipped. Returns how many are: more if no batch ends there, fewer if there are
    /// fewer.
    fn skip(&mut self, rows: u64) -> Result<u64, TableError> {
        let mut skipped = 0;
        while skipped < rows {
            let Some(batch) = self.next()? else { break };
            skipped += batch.rows as u64;
        }
        Ok(skipped)
    }
}

/// What a reader does with a record that is no row of the table (too few fields, no JSON), and with a value that no cell
/// holds (a list).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokenRecords {
    /// It is an error.
    #[default]
    Refuse,
    /// The record is a row of nulls, and [`TableBatch::broken`] has the reason; the value is a `Cell::Unfit`.
    Keep,
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
    /// Columns that the names of its folders give, with their values.
    partitions: Vec<Partition>,
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

    /// Adds the columns of the folders' names. One that the file has too cannot be read: the two could differ.
    fn add_partitions(&mut self, partitions: &[Partition]) {
        for Partition { name, .. } in partitions {
            if self.names.contains(name) {
                self.names.retain(|known| known != name);
                let reason = "occurs in the file and in the name of a folder; rename one of them";
                self.unreadable.push((name.clone(), reason));
            } else if self.unreadable.iter().all(|(known, _)| known != name) {
                self.names.push(name.clone());
            }
        }
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
        let plain = |(path, kind)| (path, kind, Vec::new());
        Self::of(path, files.into_iter().map(plain).collect())
    }

    /// As [`Self::open`]; folders such as `day=2026-11-29` inside belong to the table, and their names are columns.
    ///
    /// # Errors
    /// As [`Self::open`]; or another folder is inside.
    pub fn open_partitioned(path: &Path) -> Result<Self, TableError> {
        if path.is_dir() {
            Self::of(path, partition::files(path)?)
        } else {
            Self::open(path)
        }
    }

    fn of(path: &Path, files: Vec<(PathBuf, FileKind, Vec<Partition>)>) -> Result<Self, TableError> {
        let mut columns: Vec<String> = Vec::new();
        let files = files
            .into_iter()
            .map(|(path, kind, partitions)| {
                let mut own = columns_of(&path, kind)?;
                own.add_partitions(&partitions);
                let new = own.names.iter().filter(|name| !columns.contains(name)).cloned();
                let new: Vec<String> = new.collect();
                columns.extend(new);
                Ok(TableFile {
                    path,
                    kind,
                    columns: own,
                    partitions,
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

    /// Whether a file has a column of this name that cannot be read.
    pub(crate) fn has_unreadable(&self, name: &str) -> bool {
        let mut unreadable = self.files.iter().flat_map(|file| &file.columns.unreadable);
        unreadable.any(|(known, _)| known == name)
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The files that are at the location now, as [`Self::open_partitioned`] finds them.
    ///
    /// # Errors
    /// The folder cannot be read, or has no table any more.
    pub(crate) fn files_now(&self) -> Result<Vec<PathBuf>, TableError> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let files = partition::files(&self.path)?;
        Ok(files.into_iter().map(|(path, ..)| path).collect())
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
            broken: BrokenRecords::Refuse,
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
    broken: BrokenRecords,
}

impl TableBatches<'_> {
    /// Sets what happens to records that are no rows.
    #[must_use]
    pub fn with_broken(mut self, broken: BrokenRecords) -> Self {
        self.broken = broken;
        self
    }

    /// The position of the file of the latest batch among the table's files.
    pub fn file(&self) -> usize {
        self.file
    }

    /// Goes to the batch after row `row` of a file, at which a batch has ended. For batches of which none has been read.
    ///
    /// # Errors
    /// The file cannot be read up to there, or no batch ends there.
    pub fn go_to(&mut self, file: usize, row: u64) -> Result<(), TableError> {
        let done = self.table.files.iter().take(file);
        self.before = done
            .map(|file| file.path.metadata().map_or(0, |metadata| metadata.len()))
            .sum();
        self.file = file;
        match self.table.files.get(file) {
            Some(file) if row > 0 => {
                let mut source = self.open_file(file)?;
                let skipped = source.skip(row)?;
                if skipped != row {
                    let reason = format!("expected to go on after row {row}, found row {skipped}");
                    return Err(TableError::file(&file.path, reason));
                }
                self.open = Some(source);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a reader of `file` has a column. The keys of JSON lines are known of the first lines only; any line may have
    /// any of them.
    fn reads(file: &TableFile, name: &String) -> bool {
        let of_folder = file.partitions.iter().any(|partition| partition.name == *name);
        !of_folder && (file.kind == FileKind::JsonLines || file.columns.names.contains(name))
    }

    fn open_file(&self, file: &TableFile) -> Result<Box<dyn BatchReader>, TableError> {
        let chosen = self.chosen.iter().filter(|name| Self::reads(file, name));
        open(
            &file.path,
            file.kind,
            &chosen.cloned().collect::<Vec<_>>(),
            self.broken,
        )
    }

    /// The next batch, with its file and the number of its first row in that file; `None` at the end.
    ///
    /// # Errors
    /// A value cannot be read; the message names the file, row and column.
    pub fn next_batch(&mut self) -> Result<Option<TableBatch>, TableError> {
        loop {
            let Some(file) = self.table.files.get(self.file) else {
                return Ok(None);
            };
            if self.open.is_none() {
                self.open = Some(self.open_file(file)?);
            }
            let Some(source) = &mut self.open else { continue };
            if let Some(mut batch) = source.next()? {
                let mut read = std::mem::take(&mut batch.columns).into_iter();
                let column = |name: &String| {
                    if Self::reads(file, name) {
                        return read.next();
                    }
                    let partition = file.partitions.iter().find(|partition| partition.name == *name);
                    Some(match partition {
                        Some(partition) => partition.column(batch.rows),
                        None => Column::Int(vec![None; batch.rows]),
                    })
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

fn open(
    path: &Path,
    kind: FileKind,
    chosen: &[String],
    broken: BrokenRecords,
) -> Result<Box<dyn BatchReader>, TableError> {
    Ok(match kind {
        FileKind::Parquet => Box::new(parquet::ParquetFile::open(path, chosen, broken)?),
        FileKind::Csv | FileKind::Tsv => Box::new(csv::CsvFile::open(path, kind, chosen, broken)?),
        FileKind::JsonLines => Box::new(json::JsonFile::open(path, chosen, broken)?),
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

/// Opens a text file, decompressed as its name says.
fn open_text(path: &Path) -> Result<Box<dyn Read>, TableError> {
    let file = open_file(path)?;
    match Compression::of(path) {
        Some(compression) => compression
            .reader(file)
            .map_err(|error| TableError::file(path, error)),
        None => Ok(Box::new(file)),
    }
}

#[cfg(test)]
mod tests;
