//! Copies an input from object storage.

use std::path::{Path, PathBuf};

use super::DATA;
use super::complete::{SUCCESS, refuse_unfinished};
use super::identity::{InputFile, change, changed};
use crate::cli::score::error::JobError;
use crate::cli::sink::OutputFormat;
use crate::config::StorageSection;
use crate::features::table::{HUDI_LOG, is_part_of_table, is_partition, managed, nested};
use crate::storage::{FileStat, Listing, Storage};

/// Copies an object, or a prefix with its partitions, to `folder`. Returns the copy, and the identities of its files.
///
/// # Errors
/// There is nothing, it is not complete or changes meanwhile, or the storage cannot be read.
pub(super) fn copy_objects(
    location: &Path,
    folder: &Path,
    needs_success: bool,
    settings: &StorageSection,
) -> Result<(PathBuf, Vec<InputFile>), JobError> {
    let storage = Storage::open(location, settings)?;
    let found = find_objects(&storage)?;
    let path = match &found {
        Objects::One(file) => {
            let format = OutputFormat::of(Path::new(&file.name))?;
            let path = folder.join(format!("{DATA}{}", format.ending()));
            copy_object(&storage, "", file, &path).map_err(JobError::Output)?;
            path
        }
        Objects::Prefix(files) => {
            let names = files.iter();
            let names = names.filter(|(path, file)| path.is_empty() || file.name != SUCCESS);
            let names: Vec<String> = names.map(|(_, file)| file.name.clone()).collect();
            if needs_success {
                refuse_unfinished(location, &names)
                    .map_err(|error| format!("{error}, or use --no-success-file"))?;
            }
            let root = folder.join(DATA);
            copy_prefix(&storage, files, &root).map_err(JobError::Output)?;
            root
        }
    };
    let files = found.identities();
    // Copying may take long: a job that replaced some of the objects meanwhile would give rows of two states.
    match change(&files, &find_objects(&storage)?.identities()) {
        Some(change) => Err(JobError::Output(changed(location, &change))),
        None => Ok((path, files)),
    }
}

/// What object storage has at a location.
enum Objects {
    One(FileStat),
    /// The files of a prefix and of the partitions inside, each with its folder.
    Prefix(Vec<(String, FileStat)>),
}

impl Objects {
    /// The identities of the files that are read.
    fn identities(&self) -> Vec<InputFile> {
        let identity = |path: &str, file: &FileStat| InputFile {
            name: join(path, &file.name),
            size: file.size,
            tag: file.tag.clone(),
        };
        match self {
            Self::One(file) => vec![identity("", file)],
            Self::Prefix(files) => {
                let files = files.iter().filter(|(_, file)| is_read(file));
                files.map(|(path, file)| identity(path, file)).collect()
            }
        }
    }
}

/// Whether a file of a folder has rows, by its name.
fn is_read(file: &FileStat) -> bool {
    !file.name.starts_with(['_', '.'])
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}/{name}"),
    }
}

fn find_objects(storage: &Storage) -> Result<Objects, JobError> {
    match storage.stat("").map_err(JobError::Output)? {
        Some(Listing::File(file)) => Ok(Objects::One(file)),
        _ => list_objects(storage).map(Objects::Prefix),
    }
}

fn list_objects(storage: &Storage) -> Result<Vec<(String, FileStat)>, JobError> {
    let location = storage.location().display();
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(path) = folders.pop() {
        let insides = storage.folders(&path).map_err(JobError::Output)?;
        let log = storage.stat(&join(&path, HUDI_LOG)).map_err(JobError::Output)?;
        let log = log.map(|_| HUDI_LOG);
        if let Some(reason) = managed(insides.iter().map(String::as_str).chain(log)) {
            return Err(format!("{}: {reason}", storage.location().join(&path).display()).into());
        }
        for inside in &insides {
            if is_partition(inside) {
                folders.push(join(&path, inside));
            } else if is_part_of_table(inside) {
                return Err(format!("{location}: {}", nested(inside)).into());
            }
        }
        match storage.stat(&path).map_err(JobError::Output)? {
            Some(Listing::Folder(files)) => found.extend(files.into_iter().map(|file| (path.clone(), file))),
            _ if !insides.is_empty() => {}
            _ if path.is_empty() => return Err(format!("{location}: no such object or prefix").into()),
            // It was listed, so something is there: to go on would lose its rows.
            _ => {
                let reason = "expected files in this folder, found none";
                return Err(format!("{}: {reason}", join(&location.to_string(), &path)).into());
            }
        }
    }
    Ok(found)
}

fn copy_prefix(storage: &Storage, files: &[(String, FileStat)], root: &Path) -> Result<(), String> {
    for (path, file) in files.iter().filter(|(_, file)| is_read(file)) {
        let place = root.join(path);
        std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        copy_object(storage, &join(path, &file.name), file, &place.join(&file.name))?;
    }
    Ok(())
}

fn copy_object(storage: &Storage, object: &str, file: &FileStat, to: &Path) -> Result<(), String> {
    let fetched = storage.fetch(object, &Listing::File(file.clone()))?;
    std::fs::rename(fetched.path(), to).map_err(|error| format!("{}: {error}", to.display()))
}
