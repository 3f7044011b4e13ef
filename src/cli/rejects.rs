//! The rows that `evergreen score` leaves without a score, as a CSV file.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::offline::RowRejection;
use crate::features::table::TableBatch;
use crate::storage::temporary_name;

/// A file of rejected rows: file, row, column and reason.
pub(super) struct Rejects {
    path: PathBuf,
    /// Path of the file until it is complete.
    temporary: PathBuf,
    writer: csv::Writer<File>,
}

impl Rejects {
    /// Creates the file, with its header.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        let temporary = path.with_file_name(temporary_name(".rejects"));
        let file = File::create_new(&temporary).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut rejects = Self {
            path: path.to_owned(),
            temporary,
            writer: csv::Writer::from_writer(file),
        };
        rejects.record(["file", "row", "column", "reason"])?;
        Ok(rejects)
    }

    /// Adds a row, with its number in its file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(
        &mut self,
        batch: &TableBatch,
        row: u64,
        rejection: &RowRejection,
    ) -> Result<(), String> {
        let file = batch.path.display().to_string();
        let column = rejection.column.as_deref().unwrap_or_default();
        self.record([&file, &row.to_string(), column, &rejection.reason])
    }

    /// Completes the file, under its name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(mut self) -> Result<(), String> {
        let done = self
            .writer
            .flush()
            .and_then(|()| std::fs::rename(&self.temporary, &self.path));
        done.map_err(|error| self.fail(&error))
    }

    fn record(&mut self, fields: [&str; 4]) -> Result<(), String> {
        self.writer
            .write_record(fields)
            .map_err(|error| self.fail(&error))
    }

    fn fail(&self, error: &dyn std::fmt::Display) -> String {
        format!("{}: {error}", self.path.display())
    }
}

impl Drop for Rejects {
    fn drop(&mut self) {
        // Removes the partial file after a failure; after `finish` it no longer exists.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

impl RowRejection {
    /// The rejection as a sentence, with the number of the row.
    pub(super) fn at(&self, row: u64) -> String {
        match &self.column {
            Some(column) => format!("row {row}, column `{column}`: {}", self.reason),
            None => format!("row {row}: {}", self.reason),
        }
    }
}
