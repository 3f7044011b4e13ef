//! Storage of models and snapshots: a local folder, or a prefix in object storage (S3 and compatible servers, Google Cloud
//! Storage, Azure). Local folders are used in place; objects are copied into a temporary folder first.
//!
//! Every call blocks: only threads that load may use it, never one that answers requests.

mod local;
#[cfg(feature = "object-store")]
mod object;
mod temporary;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::StorageSection;
use crate::config::location::is_remote;
pub(crate) use temporary::{Temporary, remove_all, temporary_name};

/// A listed file. Equal values mean the same content, as far as the storage can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileStat {
    /// The name in its folder.
    pub name: String,
    /// The size in bytes.
    pub size: u64,
    /// A tag that changes with the content: modification time and inode of the file behind any link, or the object's entity
    /// tag.
    pub tag: String,
}

/// A file or folder at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A file.
    File(FileStat),
    /// A folder with these files, by name; without the folders inside.
    Folder(Vec<FileStat>),
}

impl Listing {
    /// The file itself, or the files of the folder.
    pub fn files(&self) -> &[FileStat] {
        match self {
            Self::File(file) => std::slice::from_ref(file),
            Self::Folder(files) => files,
        }
    }
}

/// A local folder or a prefix in object storage.
#[derive(Debug)]
pub struct Storage {
    location: PathBuf,
    place: Backend,
}

#[derive(Debug)]
enum Backend {
    Local(local::Folder),
    #[cfg(feature = "object-store")]
    Object(object::Bucket),
}

/// A file or folder that can be read by its path. A copy made for that is removed on drop.
#[derive(Debug)]
pub struct LocalCopy {
    path: PathBuf,
    _copy: Option<Temporary>,
}

impl LocalCopy {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Storage {
    /// Opens a location: a path, or a URL such as `s3://bucket/prefix`. The storage is not contacted yet.
    ///
    /// # Errors
    /// The URL or its settings are not valid, or this build has no object storage.
    pub fn open(location: &Path, settings: &StorageSection) -> Result<Self, String> {
        let place = if is_remote(location) {
            remote(location, settings)?
        } else {
            Backend::Local(local::Folder::new(location))
        };
        let location = location.to_owned();
        Ok(Self { location, place })
    }

    /// The location as it was given.
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// Lists the folders at `path` (`""` for the location itself), sorted, without hidden ones (`.`).
    ///
    /// # Errors
    /// The storage cannot be reached or read; a local folder does not exist.
    pub fn folders(&self, path: &str) -> Result<Vec<String>, String> {
        match &self.place {
            Backend::Local(folder) => folder.folders(path),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.folders(path),
        }
    }

    /// Lists what is at `path`, following symbolic links; `None` if there is nothing.
    ///
    /// # Errors
    /// The storage cannot be reached or read.
    pub fn stat(&self, path: &str) -> Result<Option<Listing>, String> {
        match &self.place {
            Backend::Local(folder) => folder.stat(path),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.stat(path),
        }
    }

    /// Makes what [`Storage::stat`] returned for `path` readable as local files. A local path is used in place with its
    /// symbolic links resolved, so that a swap of a link does not mix two states.
    ///
    /// # Errors
    /// It is gone or has changed since, or the copy does not fit on the disk.
    pub fn fetch(&self, path: &str, entry: &Listing) -> Result<LocalCopy, String> {
        match (&self.place, entry) {
            (Backend::Local(folder), _) => folder.resolve(path),
            #[cfg(feature = "object-store")]
            (Backend::Object(bucket), entry) => bucket.fetch(path, entry),
        }
    }

    /// Reads a small file; `None` if it does not exist.
    ///
    /// # Errors
    /// The storage cannot be reached or read, or the file is larger than 1 MiB.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match &self.place {
            Backend::Local(folder) => folder.read(path),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.read(path),
        }
    }

    /// Replaces a small file: a reader finds the old content or the new one.
    ///
    /// # Errors
    /// The storage cannot be reached or written.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        match &self.place {
            Backend::Local(folder) => folder.write(path, bytes),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.write(path, bytes),
        }
    }

    /// Copies a local file to the location, under its own name: a reader finds the whole file or none.
    ///
    /// # Errors
    /// The file cannot be read, or the storage not written.
    pub fn upload(&self, file: &Path) -> Result<(), String> {
        match &self.place {
            Backend::Local(folder) => folder.upload(file),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.upload("", file, &mut |_| {}),
        }
    }

    /// Removes a file, if it exists.
    ///
    /// # Errors
    /// The storage cannot be reached, or the file not removed.
    pub fn remove(&self, path: &str) -> Result<(), String> {
        match &self.place {
            Backend::Local(folder) => folder.remove(path),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.remove(path),
        }
    }

    /// Checks that files can be made in a folder; false if that cannot be told without leaving something there, as in
    /// object storage.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn check_writable(&self, path: &str) -> Result<bool, String> {
        match &self.place {
            Backend::Local(folder) => folder.check_writable(path).map(|()| true),
            #[cfg(feature = "object-store")]
            Backend::Object(_) => Ok(false),
        }
    }

    /// Publishes the files of a bundle in `folder` as a new version: the first free number from `at_least`. The version
    /// appears as a whole, with `manifest` last. `progress` receives the bytes written.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub fn publish(
        &self,
        folder: &str,
        at_least: u64,
        files: &[PathBuf],
        manifest: Option<&Path>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, String> {
        match &self.place {
            Backend::Local(place) => place.publish(folder, at_least, files, manifest, progress),
            #[cfg(feature = "object-store")]
            Backend::Object(bucket) => bucket.publish(folder, at_least, files, manifest, progress),
        }
    }
}

#[cfg(feature = "object-store")]
fn remote(location: &Path, settings: &StorageSection) -> Result<Backend, String> {
    object::Bucket::open(location, settings).map(Backend::Object)
}

#[cfg(not(feature = "object-store"))]
fn remote(location: &Path, _: &StorageSection) -> Result<Backend, String> {
    Err(format!(
        "{}: this build has no object storage; build with --features object-store",
        location.display()
    ))
}

/// Before an entity tag in [`FileStat::tag`].
pub(crate) const E_TAG: &str = "etag ";

#[cfg(feature = "object-store")]
fn too_large(path: &str, bytes: u64) -> String {
    format!(
        "{path}: expected at most {} bytes, found {bytes}",
        crate::files::SMALL
    )
}

fn file_name(path: &Path) -> Result<&str, String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| format!("{}: not a file name", path.display()))
}

/// The version number of a folder name: an integer without leading zeros.
pub(crate) fn version_number(name: &str) -> Option<u64> {
    name.parse()
        .ok()
        .filter(|number: &u64| number.to_string() == name)
}
