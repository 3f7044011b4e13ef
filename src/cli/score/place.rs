//! A folder that gets files one by one: local, or a prefix in object storage.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::error::JobError;
use crate::cli::sink::Target;
use crate::config::StorageSection;
use crate::config::location::is_remote;
use crate::storage::{Listing, Storage, Temporary};

/// A folder for the files of a job.
pub(super) struct Place {
    storage: Storage,
    location: PathBuf,
    /// Where files of object storage are until they are complete.
    scratch: Option<Temporary>,
    /// Kept open, because its end releases the lock.
    _lock: Option<File>,
}

/// The file whose lock a job holds while it runs.
const LOCK: &str = ".evergreen.lock";

impl Place {
    /// Opens a folder.
    ///
    /// # Errors
    /// The URL is not valid, or this build has no object storage.
    pub(super) fn open(location: &Path, settings: &StorageSection) -> Result<Self, JobError> {
        let location = match location.as_os_str().is_empty() {
            true => Path::new("."),
            false => location,
        };
        let remote = is_remote(location);
        Ok(Self {
            storage: Storage::open(location, settings)?,
            location: location.to_owned(),
            scratch: remote
                .then(|| Temporary::folder(&settings.cache()))
                .transpose()
                .map_err(JobError::Output)?,
            _lock: None,
        })
    }

    /// Checks that a local folder exists and can be written. Object storage shows that at the first file.
    ///
    /// # Errors
    /// It does not exist, or cannot be written.
    pub(super) fn check(&self) -> Result<(), JobError> {
        if self.scratch.is_none() && !self.location.is_dir() {
            let folder = self.location.display();
            return Err(format!("{folder}: no such folder; make it first").into());
        }
        self.storage
            .check_writable("")
            .map(drop)
            .map_err(JobError::Output)
    }

    /// Makes a local folder, if it does not exist, and keeps other jobs out of it. Object storage has no locks.
    ///
    /// # Errors
    /// Another job uses it, or it cannot be made.
    pub(super) fn lock(mut self) -> Result<Self, JobError> {
        if self.scratch.is_some() {
            return Ok(self);
        }
        let fail = |error: std::io::Error| JobError::Output(format!("{}: {error}", self.location.display()));
        std::fs::create_dir_all(&self.location).map_err(fail)?;
        let file = File::create(self.location.join(LOCK)).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => self._lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(JobError::Output(format!(
                    "{}: another evergreen score is writing this folder",
                    self.location.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        Ok(self)
    }

    /// Removes the file of the lock, when the job is complete.
    pub(super) fn unlock(self) {
        if self._lock.is_some() {
            // A file that is left is in nobody's way.
            let _ = std::fs::remove_file(self.location.join(LOCK));
        }
    }

    /// The location of a file, for messages.
    pub(super) fn shown(&self, name: &str) -> String {
        self.location.join(name).display().to_string()
    }

    /// Begins a file, replacing one that a job has left. It gets its name by [`Target`]'s end and [`Self::publish`].
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn target(&self, name: &str) -> Result<Target, String> {
        let folder = self
            .scratch
            .as_ref()
            .map_or(self.location.as_path(), Temporary::path);
        Target::file(&folder.join(name), folder.join(format!(".{name}.partial")))
    }

    /// Makes a complete file visible.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub(super) fn publish(&self, name: &str) -> Result<(), String> {
        let Some(scratch) = &self.scratch else {
            return sync(&self.location);
        };
        let file = scratch.path().join(name);
        self.storage.upload(&file)?;
        std::fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Reads a small file; `None` if there is none.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        self.storage.read(name)
    }

    /// Replaces a small file as a whole.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.storage.write(name, bytes)
    }

    /// Calls `read` with the path of a file, which is a copy in the case of object storage.
    ///
    /// # Errors
    /// There is no such file, or `read` fails.
    pub(super) fn with_file<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Path) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.scratch.is_none() {
            return read(&self.location.join(name));
        }
        match self.storage.stat(name)? {
            Some(entry @ Listing::File(_)) => read(self.storage.fetch(name, &entry)?.path()),
            _ => Err(format!("{}: no such object", self.shown(name))),
        }
    }

    /// The names of the files.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub(super) fn names(&self) -> Result<Vec<String>, String> {
        let found = self.storage.stat("")?;
        let files = match &found {
            Some(Listing::Folder(files)) => files.as_slice(),
            Some(Listing::File(_)) => return Err(format!("{}: expected a folder", self.location.display())),
            None => &[],
        };
        Ok(files.iter().map(|file| file.name.clone()).collect())
    }

    /// Whether a file is there.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub(super) fn has(&self, name: &str) -> Result<bool, String> {
        let found = self.storage.stat(name)?;
        Ok(matches!(found, Some(Listing::File(_))))
    }

    /// Removes a file, if it exists.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub(super) fn remove(&self, name: &str) -> Result<(), String> {
        self.storage.remove(name)
    }
}

/// Makes the names of a local folder last through a loss of power.
fn sync(folder: &Path) -> Result<(), String> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| format!("{}: {error}", folder.display()))
}
