//! Writes one group of rows as a file.

use std::path::PathBuf;
use std::time::Instant;

use super::columns::{RowContext, encode};
use super::folder::{complete_files, name_of, write};
use super::group::LogGroup;
use super::hash::Hasher;
use super::schema::Policies;
use super::upload::UploadHandle;
use crate::config::PredictionLogSection;
use crate::log::Pace;

/// Writes the files of one writer.
#[derive(Debug)]
pub(super) struct FileWriter {
    pub(super) settings: PredictionLogSection,
    pub(super) root: PathBuf,
    /// The id of the writer in rows and file names, new for each start.
    pub(super) id: String,
    pub(super) hasher: Hasher,
    pub(super) uploads: Option<UploadHandle>,
}

/// Why a group was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Too many files wait for their upload.
    Full,
    /// The rows cannot be encoded.
    Rows(String),
    /// The disk cannot be written.
    Disk(String),
}

impl FileWriter {
    /// Writes a group as the file with this number, which appears complete or not at all.
    ///
    /// # Errors
    /// There is no file then.
    pub(super) fn write(&self, group: &LogGroup, number: u64) -> Result<(), WriteError> {
        if self.uploads.is_some() && self.spool_is_full() {
            return Err(WriteError::Full);
        }
        let start = Instant::now();
        let policies = Policies::of(&group.model, self.settings.entity, &self.hasher);
        if policies.lacks_key {
            warn_of_no_key(&group.model.name);
        }
        let context = RowContext {
            writer: &self.id,
            hasher: &self.hasher,
        };
        let bytes =
            encode(group, &policies, &context).map_err(|error| WriteError::Rows(error.to_string()))?;
        let name = name_of(group, &self.id, number);
        write(&self.root, &name, &bytes)
            .map_err(|error| WriteError::Disk(format!("{}: {error}", self.root.join(&name).display())))?;
        if let Some(uploads) = &self.uploads {
            uploads.new_file();
        }
        let (rows, size, seconds) = (group.rows, bytes.len(), start.elapsed().as_secs_f64());
        tracing::debug!(rows, bytes = size, seconds, "prediction log: file written");
        Ok(())
    }

    fn spool_is_full(&self) -> bool {
        // A folder that cannot be listed cannot be written either, which says why.
        let files = complete_files(&self.root).unwrap_or_default();
        files.iter().map(|file| file.bytes).sum::<u64>() >= self.settings.spool_bytes
    }
}

fn warn_of_no_key(model: &str) {
    static PACE: Pace = Pace::new();
    if PACE.count().is_some() {
        tracing::warn!(
            model,
            "prediction log: values that the contract wants hashed are left out; set prediction_log.key_file"
        );
    }
}
