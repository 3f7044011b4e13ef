//! The rows that `evergreen score` leaves without a score, as CSV: one line per reason.

use super::offline::RowRejection;
use super::sink::Target;

/// The columns.
const HEADER: [&str; 6] = ["file", "row", "id", "column", "value", "reason"];

/// A file of rejected rows.
pub(super) struct Rejects {
    writer: csv::Writer<Target>,
    name: String,
}

impl Rejects {
    /// Begins the file, with its header.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn new(target: Target) -> Result<Self, String> {
        let mut rejects = Self::without_header(target);
        rejects.record(HEADER)?;
        Ok(rejects)
    }

    /// Begins a part of the file that is not the first.
    pub(super) fn without_header(target: Target) -> Self {
        Self {
            name: target.fail(&""),
            writer: csv::Writer::from_writer(target),
        }
    }

    /// Adds the reasons of a row, with its number in its file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(
        &mut self,
        file: &str,
        row: u64,
        id: Option<&str>,
        reasons: &[RowRejection],
    ) -> Result<(), String> {
        let (row, id) = (row.to_string(), id.unwrap_or_default());
        reasons.iter().try_for_each(|rejection| {
            let column = rejection.column.as_deref().unwrap_or_default();
            let value = rejection.value.as_deref().unwrap_or_default();
            self.record([file, &row, id, column, value, &rejection.reason])
        })
    }

    /// Completes the file, under its name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(self) -> Result<(), String> {
        self.finish_with(|_| Ok(()))
    }

    /// As [`Self::finish`], after `more` has written what else the file is to have.
    ///
    /// # Errors
    /// As [`Self::finish`], and those of `more`.
    pub(super) fn finish_with(
        self,
        more: impl FnOnce(&mut Target) -> Result<(), String>,
    ) -> Result<(), String> {
        let name = self.name;
        let target = self.writer.into_inner();
        let mut target = target.map_err(|error| format!("{name}{}", error.error()))?;
        more(&mut target)?;
        target.finish()
    }

    fn record(&mut self, fields: [&str; 6]) -> Result<(), String> {
        let written = self.writer.write_record(fields);
        written.map_err(|error| format!("{}{error}", self.name))
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
