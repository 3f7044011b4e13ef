//! JSON lines: one object per line; a missing key is null.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::column::{JsonCell, Patch};
use super::limits::{RECORD_BYTES, check_columns};
use super::{
    BATCH_ROWS, BatchReader, BrokenRecords, BrokenRow, Column, TableBatch, TableError, TextColumn, open_text,
};
use crate::values::json;
use crate::values::json::Scalar;

/// Lines whose keys define the columns, because JSON lines have no header.
const HEADER_LINES: usize = 100_000;

pub(super) struct JsonFile {
    path: Arc<PathBuf>,
    reader: BufReader<Box<dyn Read>>,
    /// Positions among the chosen columns, by name: one column may be chosen twice, such as a feature that is the id too.
    chosen: FxHashMap<String, Vec<usize>>,
    /// How many columns are chosen.
    width: usize,
    line: Vec<u8>,
    row: u64,
    position: u64,
    broken: BrokenRecords,
}

pub(super) fn columns(path: &Path) -> Result<Vec<String>, TableError> {
    // A broken line has no keys; whether it is an error is decided where rows are read.
    let mut file = JsonFile::open(path, &[], BrokenRecords::Keep)?;
    let mut names: Vec<String> = Vec::new();
    let mut first_error = None;
    for _ in 0..HEADER_LINES {
        if !file.read_line()? {
            break;
        }
        let object = file.object().unwrap_or_else(|error| {
            first_error.get_or_insert(error);
            Vec::new()
        });
        for (name, _) in object {
            if !names.contains(&name) {
                names.push(name);
                check_columns(names.len()).map_err(|error| TableError::file(path, error))?;
            }
        }
    }
    if names.is_empty() {
        Err(first_error.unwrap_or_else(|| TableError::file(path, "no JSON object in the file")))
    } else {
        Ok(names)
    }
}

impl JsonFile {
    pub(super) fn open(path: &Path, chosen: &[String], broken: BrokenRecords) -> Result<Self, TableError> {
        let width = chosen.len();
        let mut positions: FxHashMap<String, Vec<usize>> = FxHashMap::default();
        for (position, name) in chosen.iter().enumerate() {
            positions.entry(name.clone()).or_default().push(position);
        }
        Ok(Self {
            path: Arc::new(path.to_owned()),
            reader: BufReader::with_capacity(1 << 16, open_text(path)?),
            chosen: positions,
            width,
            line: Vec::new(),
            row: 0,
            position: 0,
            broken,
        })
    }

    /// Reads the next line that is not blank; `false` at the end.
    fn read_line(&mut self) -> Result<bool, TableError> {
        loop {
            self.line.clear();
            let mut limited = std::io::Read::take(&mut self.reader, RECORD_BYTES as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| TableError::row(&self.path, self.row + 1, error))?;
            if read > RECORD_BYTES {
                return Err(TableError::row(
                    &self.path,
                    self.row + 1,
                    "expected a line of at most 16 MiB",
                ));
            }
            self.position += read as u64;
            if read == 0 {
                return Ok(false);
            }
            if !std::str::from_utf8(&self.line).is_ok_and(|line| line.trim().is_empty()) {
                self.row += 1;
                return Ok(true);
            }
        }
    }

    fn object(&self) -> Result<Vec<(String, Scalar)>, TableError> {
        // As in CSV, bytes that are no text break their line only.
        let line = std::str::from_utf8(&self.line)
            .map_err(|_| TableError::row(&self.path, self.row, "not UTF-8 text"))?;
        if !line.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            let message = "expected a JSON object on each line";
            return Err(TableError::row(&self.path, self.row, message));
        }
        let parsed = json::object_of_scalars(line);
        parsed.map_err(|error| TableError::row(&self.path, self.row, error))
    }
}

/// The cells of a column.
#[derive(Default)]
struct JsonColumn {
    cells: Vec<JsonCell>,
    texts: TextColumn,
    patches: Vec<Patch>,
}

impl JsonColumn {
    /// Sets the cell of a row.
    fn set(&mut self, row: usize, value: &Scalar) {
        self.cells[row] = match value {
            Scalar::Null | Scalar::Other(_) => JsonCell::Null,
            Scalar::Bool(value) => JsonCell::Bool(*value),
            Scalar::Int(value) => JsonCell::Int(*value),
            Scalar::Float(value) => JsonCell::Float(*value),
            Scalar::Text(text) => {
                self.texts.push(Some(text));
                JsonCell::Text(self.texts.len() - 1)
            }
            Scalar::Digits(digits) => {
                self.patches.push(Patch::digits(row, digits.clone()));
                JsonCell::Null
            }
        };
    }

    fn into_column(self) -> Column {
        Column::Mixed(self.cells, self.texts).patched(self.patches)
    }
}

impl JsonFile {
    /// Puts the values of the present line into the cells of a row.
    ///
    /// # Errors
    /// The line is no object; or a value is no cell, and such ones are refused.
    fn fill(&self, columns: &mut [JsonColumn], row: usize) -> Result<(), TableError> {
        let mut seen = vec![false; columns.len()];
        for (name, value) in self.object()? {
            let Some(positions) = self.chosen.get(&name) else {
                continue;
            };
            for &position in positions {
                let column = &mut columns[position];
                match (&value, std::mem::replace(&mut seen[position], true)) {
                    (_, true) => column.patches.push(self.unfit(row, &name, "a duplicate key")?),
                    (Scalar::Other(what), false) => column.patches.push(self.unfit(row, &name, what)?),
                    (value, false) => column.set(row, value),
                }
            }
        }
        Ok(())
    }

    /// The cell of a value that nothing can take.
    ///
    /// # Errors
    /// Such values are refused.
    fn unfit(&self, row: usize, name: &str, what: &'static str) -> Result<Patch, TableError> {
        if self.broken == BrokenRecords::Refuse {
            let message = format!("expected one value, found {what}");
            return Err(TableError::cell(&self.path, self.row, name, message));
        }
        let line = std::str::from_utf8(&self.line).unwrap_or_default();
        let shown = json::raw_value(line, name).unwrap_or_default();
        Ok(Patch::unfit(row, shown, what))
    }
}

impl BatchReader for JsonFile {
    fn next(&mut self) -> Result<Option<TableBatch>, TableError> {
        let first_row = self.row + 1;
        let mut columns: Vec<JsonColumn> = (0..self.width).map(|_| JsonColumn::default()).collect();
        let mut broken = Vec::new();
        let mut rows = 0;
        while rows < BATCH_ROWS && self.read_line()? {
            columns
                .iter_mut()
                .for_each(|column| column.cells.push(JsonCell::Null));
            if let Err(error) = self.fill(&mut columns, rows) {
                if self.broken == BrokenRecords::Refuse {
                    return Err(error);
                }
                let message = error.message;
                broken.push(BrokenRow { row: rows, message });
            }
            rows += 1;
        }
        let columns = columns.into_iter().map(JsonColumn::into_column).collect();
        let batch = TableBatch {
            path: self.path.clone(),
            first_row,
            rows,
            columns,
            position: self.position,
            broken,
        };
        Ok((rows > 0).then_some(batch))
    }
}
