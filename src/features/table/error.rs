//! Errors in tables, with their place.

use std::path::{Path, PathBuf};

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
