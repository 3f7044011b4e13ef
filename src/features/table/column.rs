//! A batch of rows, column by column.

use std::path::PathBuf;
use std::sync::Arc;

use crate::values::cell::Cell;
use crate::words::shorten::shorten;

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
    /// The rows that no row could be read from; their cells are null. In the order of the rows.
    pub broken: Vec<BrokenRow>,
}

/// A record of a file that is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRow {
    /// Its position in the batch.
    pub row: usize,
    /// What is wrong.
    pub message: String,
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
    /// A column with other cells in some of its rows.
    Patched(Box<Column>, Vec<Patch>),
}

/// A cell that its column has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Its row in the batch.
    row: usize,
    text: String,
    /// What it is, if nothing can take it; `None` for the digits of a number.
    unfit: Option<&'static str>,
}

impl Patch {
    /// A number as digits, which are rounded once as those of a CSV file are.
    pub(super) fn digits(row: usize, text: String) -> Self {
        let unfit = None;
        Self { row, text, unfit }
    }

    /// A value that nothing can take, and what it is.
    pub(super) fn unfit(row: usize, text: &str, what: &'static str) -> Self {
        Self {
            row,
            text: shorten(text),
            unfit: Some(what),
        }
    }

    /// The row and the message of a value that nothing can take, where such ones are refused.
    pub(super) fn refusal(&self) -> Option<(usize, String)> {
        let what = self.unfit?;
        Some((self.row, format!("expected one value, found {what}")))
    }

    fn cell(&self) -> Cell<'_> {
        match self.unfit {
            None => Cell::Untyped(&self.text),
            Some(what) => Cell::Unfit {
                shown: &self.text,
                what,
            },
        }
    }
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
    /// The column with other cells in some rows, which are in their order.
    pub(super) fn patched(self, patches: Vec<Patch>) -> Self {
        match patches.is_empty() {
            true => self,
            false => Self::Patched(Box::new(self), patches),
        }
    }

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
            Self::Patched(column, patches) => {
                Some(match patches.binary_search_by_key(&row, |patch| patch.row) {
                    Ok(found) => patches[found].cell(),
                    Err(_) => column.cell(row),
                })
            }
        };
        cell.unwrap_or(Cell::Null)
    }
}
