//! A batch of rows, column by column.

use std::path::PathBuf;
use std::sync::Arc;

use crate::values::cell::Cell;

/// Some rows of a table.
#[derive(Debug)]
pub struct TableBatch {
    /// The file they come from.
    pub path: Arc<PathBuf>,
    /// Number of the first row in that file, counted from 1.
    pub first_row: u64,
    /// Number of rows.
    pub rows: usize,
    /// The requested columns, in their order; each has `rows` cells.
    pub columns: Vec<Column>,
    /// Bytes of the file read when the batch was complete.
    pub position: u64,
}

/// The cells of one column.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is the Cell of that name")]
pub enum Column {
    Bool(Vec<Option<bool>>),
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Text(TextColumn),
    Untyped(TextColumn),
    Time(Vec<Option<i64>>),
    /// Cells of several kinds (JSON): `Text` cells hold an index into the texts.
    Mixed(Vec<JsonCell>, TextColumn),
}

/// A cell of [`Column::Mixed`].
#[derive(Clone, Copy, Debug)]
pub enum JsonCell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Position in the column's texts.
    Text(usize),
}

/// Texts end to end in one allocation.
#[derive(Debug, Default)]
pub struct TextColumn {
    bytes: String,
    /// Where each text ends; `None` is null.
    ends: Vec<(usize, bool)>,
}

impl TextColumn {
    pub(super) fn push(&mut self, text: Option<&str>) {
        self.bytes.push_str(text.unwrap_or_default());
        self.ends.push((self.bytes.len(), text.is_some()));
    }

    /// The text of a row.
    pub fn get(&self, row: usize) -> Option<&str> {
        let &(end, present) = self.ends.get(row)?;
        let start = row
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .map_or(0, |&(end, _)| end);
        present.then(|| self.bytes.get(start..end)).flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl Column {
    /// The cell of a row; null beyond the end.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        fn at<T: Copy>(values: &[Option<T>], row: usize) -> Option<T> {
            values.get(row).copied().flatten()
        }
        let cell = match self {
            Self::Bool(values) => at(values, row).map(Cell::Bool),
            Self::Int(values) => at(values, row).map(Cell::Int),
            Self::Float(values) => at(values, row).map(Cell::Float),
            Self::Time(values) => at(values, row).map(Cell::Time),
            Self::Text(texts) => texts.get(row).map(Cell::Text),
            Self::Untyped(texts) => texts.get(row).map(Cell::Untyped),
            Self::Mixed(cells, texts) => cells.get(row).and_then(|cell| match *cell {
                JsonCell::Null => None,
                JsonCell::Bool(value) => Some(Cell::Bool(value)),
                JsonCell::Int(value) => Some(Cell::Int(value)),
                JsonCell::Float(value) => Some(Cell::Float(value)),
                JsonCell::Text(index) => texts.get(index).map(Cell::Text),
            }),
        };
        cell.unwrap_or(Cell::Null)
    }
}
