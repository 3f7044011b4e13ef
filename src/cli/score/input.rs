//! The rows to score: a file, a folder, object storage, or standard input.

mod complete;
mod identity;
mod objects;
mod standard;

use std::path::{Path, PathBuf};

use super::error::JobError;
use crate::config::StorageSection;
use crate::config::location::is_remote;
use crate::features::table::{FileKind, Table};
use crate::storage::Temporary;
pub(super) use complete::SUCCESS;
pub(in crate::cli) use complete::check_complete;
pub(super) use identity::InputIdentity;
use identity::{InputFile, change, changed, local_files};
use objects::copy_objects;
use standard::copy_standard_input;

/// The name of standard input and output.
pub(super) const STANDARD: &str = "-";

/// The name of a copy in its temporary folder; endings follow.
const DATA: &str = "data";

/// The input of a job.
pub(super) struct Input {
    pub(super) table: Table,
    files: Vec<InputFile>,
    /// What the user calls it.
    location: PathBuf,
    /// The path that is read.
    path: PathBuf,
    /// The folder with the copy that is read, if the input is not local.
    copy: Option<Temporary>,
}

impl Input {
    /// Finds the files of an input. Object storage and standard input are copied into a temporary folder.
    ///
    /// # Errors
    /// There is no input, it is not complete, or it cannot be copied.
    pub(super) fn open(
        location: &Path,
        format: Option<FileKind>,
        needs_success: bool,
        storage: &StorageSection,
    ) -> Result<Self, JobError> {
        let (copy, path, files) = if location.as_os_str() == STANDARD {
            let copy = Temporary::folder(&storage.cache()).map_err(JobError::Output)?;
            let (path, file) = copy_standard_input(copy.path(), format)?;
            (Some(copy), path, vec![file])
        } else if is_remote(location) {
            let copy = Temporary::folder(&storage.cache()).map_err(JobError::Output)?;
            let (path, files) = copy_objects(location, copy.path(), needs_success, storage)?;
            (Some(copy), path, files)
        } else {
            if needs_success {
                check_complete(location).map_err(|error| format!("{error}, or use --no-success-file"))?;
            }
            (None, location.to_owned(), Vec::new())
        };
        let table =
            Table::open_partitioned(&path).map_err(|error| shown(&error.to_string(), &path, location))?;
        let files = match copy {
            Some(_) => files,
            None => local_files(table.files(), &path)?,
        };
        Ok(Self {
            table,
            files,
            location: location.to_owned(),
            path,
            copy,
        })
    }

    /// The files, as they were when the job began.
    pub(super) fn identity(&self) -> InputIdentity {
        InputIdentity::of(&self.files)
    }

    /// Checks that the files are still those with which the job began. A copy stays as it is.
    ///
    /// # Errors
    /// They are not: the job may have read some rows of the old files, and others of the new ones.
    pub(super) fn check_unchanged(&self) -> Result<(), String> {
        if self.copy.is_some() {
            return Ok(());
        }
        let found = self.table.files_now().map_err(|error| error.to_string());
        let now = found.and_then(|files| local_files(files.iter().map(PathBuf::as_path), &self.path));
        let change = match now {
            Ok(now) => change(&self.files, &now),
            Err(error) => Some(error),
        };
        match change {
            Some(change) => Err(changed(&self.location, &change)),
            None => Ok(()),
        }
    }

    /// A text with the names of temporary copies as the user knows the files.
    pub(super) fn shown(&self, text: &str) -> String {
        shown(text, &self.path, &self.location)
    }
}

fn shown(text: &str, path: &Path, location: &Path) -> String {
    if path == location {
        return text.to_owned();
    }
    let name = match location.to_string_lossy() {
        name if name == STANDARD => "standard input".to_owned(),
        name => name.trim_end_matches('/').to_owned(),
    };
    text.replace(&path.display().to_string(), &name)
}
