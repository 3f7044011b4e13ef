//! CSV with a header line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::{Reader, ReaderBuilder, StringRecord};

use super::limits::{BoundedRecords, RecordBudget, check_columns};
use super::{
    BATCH_ROWS, BatchReader, BrokenRecords, BrokenRow, Column, FileKind, TableBatch, TableError, TextColumn,
    open_text,
};

type BoundedReader = Reader<BoundedRecords<Box<dyn Read>>>;

pub(super) struct CsvFile {
    path: Arc<PathBuf>,
    reader: BoundedReader,
    budget: RecordBudget,
    record: StringRecord,
    /// Position in the record of each chosen column.
    chosen: Vec<usize>,
    row: u64,
    broken: BrokenRecords,
}

pub(super) fn columns(path: &Path, kind: FileKind) -> Result<Vec<String>, TableError> {
    let (mut reader, budget) = reader(path, kind)?;
    header(path, &mut reader, &budget)
}

fn reader(path: &Path, kind: FileKind) -> Result<(BoundedReader, RecordBudget), TableError> {
    let delimiter = if kind == FileKind::Tsv { b'\t' } else { b',' };
    let (text, budget) = BoundedRecords::new(open_text(path)?);
    let reader = ReaderBuilder::new()
        .buffer_capacity(1 << 16)
        .delimiter(delimiter)
        .from_reader(text);
    Ok((reader, budget))
}

/// The message of a quote that makes all that follows one cell, in which rows would be lost.
const OPEN_QUOTE: &str =
    "a quote opens and does not close until the end of the file; expected \"…\", and \"\" for a quote inside";

fn header(path: &Path, reader: &mut BoundedReader, budget: &RecordBudget) -> Result<Vec<String>, TableError> {
    let header = reader
        .headers()
        .map_err(|error| TableError::file(path, describe(&error)))?;
    check_columns(header.len()).map_err(|error| TableError::file(path, error))?;
    // Spreadsheets write a byte order mark, which is not part of a name.
    let names: Vec<String> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    if names.iter().all(String::is_empty) {
        return Err(TableError::file(
            path,
            "the file is empty; expected a header line with column names",
        ));
    }
    if budget.has_ended() {
        return Err(TableError::file(path, format!("in the header {OPEN_QUOTE}")));
    }
    match names.as_slice() {
        [only] if only.contains([';', '\t', '|']) => Err(TableError::file(
            path,
            "expected columns separated by commas, found a header without commas; write commas, or .tsv for tabs",
        )),
        _ => Ok(names),
    }
}

fn describe(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("expected {expected_len} fields as in the header, found {len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// Whether the reader has gone past a record that it could not read.
fn is_past(error: &csv::Error) -> bool {
    matches!(
        error.kind(),
        csv::ErrorKind::UnequalLengths { .. } | csv::ErrorKind::Utf8 { .. }
    )
}

impl CsvFile {
    pub(super) fn open(
        path: &Path,
        kind: FileKind,
        chosen: &[String],
        broken: BrokenRecords,
    ) -> Result<Self, TableError> {
        let (mut reader, budget) = reader(path, kind)?;
        let names = header(path, &mut reader, &budget)?;
        let chosen = chosen
            .iter()
            .map(|name| {
                let found = names.iter().position(|known| known == name);
                found.ok_or_else(|| TableError::column(path, name, "no such column in the file"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            reader,
            budget,
            record: StringRecord::new(),
            chosen,
            row: 0,
            broken,
        })
    }
}

impl BatchReader for CsvFile {
    fn next(&mut self) -> Result<Option<TableBatch>, TableError> {
        let first_row = self.row + 1;
        let mut columns: Vec<TextColumn> = self.chosen.iter().map(|_| TextColumn::default()).collect();
        let mut broken = Vec::new();
        let mut rows = 0;
        while rows < BATCH_ROWS {
            self.budget.renew();
            let read = self.reader.read_record(&mut self.record);
            if !matches!(read, Ok(false)) && self.budget.has_ended() {
                return Err(TableError::row(&self.path, self.row + 1, OPEN_QUOTE));
            }
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let message = describe(&error);
                    if self.broken == BrokenRecords::Refuse || !is_past(&error) {
                        return Err(TableError::row(&self.path, self.row + 1, message));
                    }
                    broken.push(BrokenRow { row: rows, message });
                    self.record.clear();
                }
            }
            for (column, &position) in columns.iter_mut().zip(&self.chosen) {
                column.push(self.record.get(position));
            }
            rows += 1;
            self.row += 1;
        }
        let position = self.reader.position().byte();
        let columns = columns.into_iter().map(Column::Untyped).collect();
        let batch = TableBatch {
            path: self.path.clone(),
            first_row,
            rows,
            columns,
            position,
            broken,
        };
        Ok((rows > 0).then_some(batch))
    }
}
