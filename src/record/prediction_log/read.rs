//! Reads the prediction log: which files there are, and which version each belongs to.

use std::path::Path;

use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::folder::{ENDING, MODEL_PART, decoded};
use super::meta::FileMeta;
use super::schema;
use crate::config::StorageSection;
use crate::config::location::is_remote;
use crate::files;
use crate::storage::{Listing, LocalCopy, Storage};

/// Folders between the location and a file.
const DEPTH: usize = 3;

/// The files of a log.
#[derive(Debug)]
pub struct LogFiles {
    storage: Storage,
    files: Vec<LogFile>,
}

/// A file that can be fetched.
#[derive(Debug)]
struct LogFile {
    path: String,
    listing: Listing,
    bytes: u64,
}

impl LogFiles {
    /// Lists a log: a file, a folder, or a URL in object storage; files in folders inside are found, hidden ones are not.
    ///
    /// # Errors
    /// There is nothing, or it cannot be read.
    pub fn find(location: &Path, storage: &StorageSection) -> Result<Self, String> {
        let single = !is_remote(location) && location.is_file();
        let root = match (single, location.parent()) {
            (true, Some(parent)) if parent.as_os_str().is_empty() => Path::new("."),
            (true, Some(parent)) => parent,
            _ => location,
        };
        if !is_remote(location) && !location.exists() {
            return Err(format!(
                "{}: no such file or folder; expected the prediction_log.location of a server",
                location.display()
            ));
        }
        let storage = Storage::open(root, storage)?;
        let mut files = Vec::new();
        if single {
            let name = location.file_name().unwrap_or_default().to_string_lossy();
            add(&storage, &name, &mut files)?;
        } else {
            walk(&storage, "", DEPTH, &mut files)?;
        }
        if files.is_empty() {
            return Err(format!(
                "{}: no prediction log: expected files model=NAME/version=N/date=DAY/….parquet",
                location.display()
            ));
        }
        Ok(Self { storage, files })
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file; never so for a log that was found.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The bytes of the file at a position.
    pub fn file_bytes(&self, position: usize) -> u64 {
        self.files.get(position).map_or(0, |file| file.bytes)
    }

    /// The name of the model whose rows are in the file at a position: from its path, else from the file.
    ///
    /// # Errors
    /// It is gone or cannot be read.
    pub fn model(&self, position: usize) -> Result<String, String> {
        let file = self.files.get(position).ok_or("no such file")?;
        let mut parts = file.path.split('/');
        match parts
            .find_map(|part| part.strip_prefix(MODEL_PART))
            .and_then(decoded)
        {
            Some(name) => Ok(name),
            None => Ok(file_meta(self.fetch(position)?.path())?.model),
        }
    }

    /// Makes the file at a position readable by its path, for as long as the copy lives.
    ///
    /// # Errors
    /// It is gone or cannot be read.
    pub fn fetch(&self, position: usize) -> Result<LocalCopy, String> {
        let file = self.files.get(position).ok_or("no such file")?;
        self.storage.fetch(&file.path, &file.listing)
    }
}

fn walk(storage: &Storage, path: &str, depth: usize, files: &mut Vec<LogFile>) -> Result<(), String> {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}/{name}"),
    };
    if let Some(Listing::Folder(found)) = storage.stat(path)? {
        let complete = found
            .iter()
            .filter(|file| !file.name.starts_with('.') && file.name.ends_with(ENDING));
        for file in complete {
            let listing = Listing::File(file.clone());
            files.push(LogFile {
                path: below(&file.name),
                bytes: file.size,
                listing,
            });
        }
    }
    if depth == 0 {
        return Ok(());
    }
    for folder in storage.folders(path)? {
        walk(storage, &below(&folder), depth - 1, files)?;
    }
    Ok(())
}

fn add(storage: &Storage, name: &str, files: &mut Vec<LogFile>) -> Result<(), String> {
    if let Some(Listing::File(file)) = storage.stat(name)? {
        let bytes = file.size;
        files.push(LogFile {
            path: name.to_owned(),
            listing: Listing::File(file),
            bytes,
        });
    }
    Ok(())
}

/// Reads the description of a file of the log.
///
/// # Errors
/// It is not a Parquet file, or not one of a prediction log.
pub fn file_meta(path: &Path) -> Result<FileMeta, String> {
    let fail = |error: String| format!("{}: {error}", path.display());
    let (file, _) = files::open(path).map_err(|error| fail(error.to_string()))?;
    let reader = SerializedFileReader::new(file)
        .map_err(|error| fail(format!("not a complete Parquet file: {error}")))?;
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let pair = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == FileMeta::KEY));
    let Some(text) = pair.and_then(|pair| pair.value.as_deref()) else {
        return Err(fail(
            "no file of a prediction log: its footer does not describe the columns".to_owned(),
        ));
    };
    FileMeta::parse(text).map_err(fail)
}

/// The name of the column of an input.
pub fn input_column(name: &str) -> String {
    schema::input_column(name)
}
