//! JSON lines: one object per line; a missing key is null.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::column::JsonCell;
use super::limits::{RECORD_BYTES, check_columns};
use super::{BATCH_ROWS, BatchReader, Column, TableBatch, TableError, TextColumn, open_text};
use crate::values::json;
use crate::values::json::Scalar;

/// Lines whose keys define the columns, because JSON lines have no header.
const HEADER_LINES: usize = 100_000;

pub(super) struct JsonFile {
    path: Arc<PathBuf>,
    reader: BufReader<Box<dyn Read>>,
    /// Position among the chosen columns, by name.
    chosen: FxHashMap<String, usize>,
    line: String,
    row: u64,
    position: u64,
}

pub(super) fn columns(path: &Path) -> Result<Vec<String>, TableError> {
    let mut file = JsonFile::open(path, &[])?;
    let mut names: Vec<String> = Vec::new();
    for _ in 0..HEADER_LINES {
        if !file.read_line()? {
            break;
        }
        for (name, _) in file.object()? {
            if !names.contains(&name) {
                names.push(name);
                check_columns(names.len()).map_err(|error| TableError::file(path, error))?;
            }
        }
    }
    if names.is_empty() {
        Err(TableError::file(path, "no JSON object in the file"))
    } else {
        Ok(names)
    }
}

impl JsonFile {
    pub(super) fn open(path: &Path, chosen: &[String]) -> Result<Self, TableError> {
        let chosen = chosen
            .iter()
            .enumerate()
            .map(|(position, name)| (name.clone(), position))
            .collect();
        Ok(Self {
            path: Arc::new(path.to_owned()),
            reader: BufReader::with_capacity(1 << 16, open_text(path)?),
            chosen,
            line: String::new(),
            row: 0,
            position: 0,
        })
    }

    /// Reads the next line that is not blank; `false` at the end.
    fn read_line(&mut self) -> Result<bool, TableError> {
        loop {
            self.line.clear();
            let read =
                std::io::Read::take(&mut self.reader, RECORD_BYTES as u64 + 1).read_line(&mut self.line);
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
            if !self.line.trim().is_empty() {
                self.row += 1;
                return Ok(true);
            }
        }
    }

    fn object(&self) -> Result<Vec<(String, Scalar)>, TableError> {
        if !self
            .line
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('{')
        {
            let message = "expected a JSON object on each line";
            return Err(TableError::row(&self.path, self.row, message));
        }
        let parsed = json::object_of_scalars(&self.line);
        parsed.map_err(|error| TableError::row(&self.path, self.row, error))
    }
}

impl BatchReader for JsonFile {
    fn next(&mut self) -> Result<Option<TableBatch>, TableError> {
        let first_row = self.row + 1;
        let mut columns: Vec<(Vec<JsonCell>, TextColumn)> = self
            .chosen
            .iter()
            .map(|_| (Vec::new(), TextColumn::default()))
            .collect();
        let mut rows = 0;
        while rows < BATCH_ROWS && self.read_line()? {
            columns
                .iter_mut()
                .for_each(|(cells, _)| cells.push(JsonCell::Null));
            let mut seen = vec![false; columns.len()];
            for (name, value) in self.object()? {
                let position = self.chosen.get(&name).copied();
                if let Some(seen) = position.and_then(|position| seen.get_mut(position))
                    && std::mem::replace(seen, true)
                {
                    return Err(TableError::cell(&self.path, self.row, &name, "duplicate key"));
                }
                let column = self
                    .chosen
                    .get(&name)
                    .and_then(|&position| columns.get_mut(position));
                let Some((cells, texts)) = column else { continue };
                cells[rows] = match value {
                    Scalar::Null => JsonCell::Null,
                    Scalar::Bool(value) => JsonCell::Bool(value),
                    Scalar::Int(value) => JsonCell::Int(value),
                    Scalar::Float(value) => JsonCell::Float(value),
                    Scalar::Text(text) => {
                        texts.push(Some(&text));
                        JsonCell::Text(texts.len() - 1)
                    }
                    Scalar::Other(what) => {
                        let message = format!("expected one value, found {what}");
                        return Err(TableError::cell(&self.path, self.row, &name, message));
                    }
                };
            }
            rows += 1;
        }
        let columns = columns
            .into_iter()
            .map(|(cells, texts)| Column::Mixed(cells, texts))
            .collect();
        let batch = TableBatch {
            path: self.path.clone(),
            first_row,
            rows,
            columns,
            position: self.position,
        };
        Ok((rows > 0).then_some(batch))
    }
}
