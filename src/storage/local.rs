//! A local or mounted folder.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FileStat, Listing, LocalCopy, file_name, temporary_name, version_number};
use crate::files;

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

fn fail(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.root.clone()
        } else {
            self.root.join(path)
        }
    }

    /// Includes symbolic links to folders, which Kubernetes uses for mounts.
    pub(super) fn folders(&self, path: &str) -> Result<Vec<String>, String> {
        let path = self.path(path);
        let mut names = Vec::new();
        for entry in path.read_dir().map_err(|error| fail(&path, &error))? {
            let entry = entry.map_err(|error| fail(&path, &error))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('.') && entry.path().is_dir() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn stat(&self, path: &str) -> Result<Option<Listing>, String> {
        let path = self.path(path);
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(&path, &error)),
        };
        if metadata.is_file() {
            let name = file_name(&path)?.to_owned();
            return Ok(Some(Listing::File(stat(name, &metadata))));
        }
        if !metadata.is_dir() {
            files::check(&metadata).map_err(|error| fail(&path, &error))?;
        }
        let mut files = Vec::new();
        for entry in path.read_dir().map_err(|error| fail(&path, &error))? {
            let entry = entry.map_err(|error| fail(&path, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The file may have disappeared since the folder was listed; a broken link may not exist yet.
            match entry.path().metadata() {
                Ok(metadata) if metadata.is_file() => files.push(stat(name, &metadata)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(fail(&entry.path(), &error)),
            }
        }
        files.sort();
        Ok(Some(Listing::Folder(files)))
    }

    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let path = self.path(path);
        match files::read(&path, files::SMALL) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(&path, &error)),
        }
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.path(path);
        let new = path.with_file_name(temporary_name(STAGING));
        let attempt = || {
            let mut file = File::create_new(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        attempt().map_err(|error| {
            // Best-effort cleanup: the temporary file may not exist.
            let _ = std::fs::remove_file(&new);
            fail(&path, &error)
        })
    }

    pub(super) fn upload(&self, file: &Path) -> Result<(), String> {
        let to = self.path(file_name(file)?);
        let new = to.with_file_name(temporary_name(STAGING));
        let copied = copy(file, &new, &mut |_| {})
            .and_then(|()| std::fs::rename(&new, &to).map_err(|error| fail(&to, &error)));
        if copied.is_err() {
            // Best-effort cleanup: the temporary file may not exist.
            let _ = std::fs::remove_file(&new);
        }
        copied
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), String> {
        let path = self.path(path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(fail(&path, &error)),
            _ => Ok(()),
        }
    }

    /// Makes a hidden folder as a publisher does, and removes it.
    pub(super) fn check_writable(&self, path: &str) -> Result<(), String> {
        Staging::new(&self.path(path)).map(drop)
    }

    pub(super) fn resolve(&self, path: &str) -> Result<LocalCopy, String> {
        let path = self.path(path);
        let path = path.canonicalize().map_err(|error| fail(&path, &error))?;
        Ok(LocalCopy { path, _copy: None })
    }

    /// Writes everything into a hidden folder beside the versions, which then gets its number in one step. A
    /// rename onto a version of another publisher fails, and the next number is tried.
    pub(super) fn publish(
        &self,
        folder: &str,
        at_least: u64,
        files: &[PathBuf],
        manifest: Option<&Path>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, String> {
        let folder = self.path(folder);
        std::fs::create_dir_all(&folder).map_err(|error| fail(&folder, &error))?;
        remove_leftovers(&folder);
        let staging = Staging::new(&folder)?;
        for file in files.iter().map(PathBuf::as_path).chain(manifest) {
            copy(file, &staging.path.join(file_name(file)?), progress)?;
        }
        sync(&staging.path)?;
        let mut version = self.next(&folder)?.max(at_least);
        loop {
            let target = folder.join(version.to_string());
            match std::fs::rename(&staging.path, &target) {
                Ok(()) => {
                    sync(&folder)?;
                    return Ok(version);
                }
                Err(error) if taken(&error) => version += 1,
                Err(error) => return Err(fail(&target, &error)),
            }
        }
    }

    fn next(&self, folder: &Path) -> Result<u64, String> {
        let entries = folder.read_dir().map_err(|error| fail(folder, &error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names
            .filter_map(|name| version_number(&name))
            .max()
            .map_or(1, |newest| newest + 1))
    }
}

/// Whether a rename failed because something is there: a folder with files, or a file.
fn taken(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory
    )
}

/// Beginning of the name of a hidden folder for what is being published.
const STAGING: &str = ".publishing";

/// A hidden folder for what is being written; removed unless it was renamed. One that a killed publisher left behind
/// is no version, for its name begins with a dot.
struct Staging {
    path: PathBuf,
}

impl Staging {
    fn new(folder: &Path) -> Result<Self, String> {
        let path = folder.join(temporary_name(STAGING));
        std::fs::create_dir(&path).map_err(|error| fail(&path, &error))?;
        Ok(Self { path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Publishers that run longer than this have been killed.
const LEFTOVER: Duration = Duration::from_secs(24 * 3600);

/// Removes old staging folders of publishers that were killed.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry.file_name().to_string_lossy().starts_with(STAGING);
        let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = changed.and_then(|changed| changed.elapsed().ok());
        if ours && age.is_some_and(|age| age > LEFTOVER) {
            // Best effort: the next publish tries again.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn stat(name: String, metadata: &Metadata) -> FileStat {
    let (device, inode) = (metadata.dev(), metadata.ino());
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    FileStat {
        name,
        size: metadata.size(),
        tag: format!("{seconds}.{nanoseconds:09} {device}:{inode}"),
    }
}

/// Bytes copied between two words about progress.
const CHUNK: usize = 1 << 20;

fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), String> {
    let (mut source, _) = files::open(from).map_err(|error| fail(from, &error))?;
    let mut target = File::create_new(to).map_err(|error| fail(to, &error))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = source.read(&mut buffer).map_err(|error| fail(from, &error))?;
        if count == 0 {
            break;
        }
        target
            .write_all(&buffer[..count])
            .map_err(|error| fail(to, &error))?;
        progress(count as u64);
    }
    target.sync_all().map_err(|error| fail(to, &error))
}

/// Makes a folder's entries last through a loss of power.
fn sync(folder: &Path) -> Result<(), String> {
    let done = File::open(folder).and_then(|folder| folder.sync_all());
    done.map_err(|error| fail(folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_takes_the_next_free_number_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("model.json");
        let manifest = root.path().join("bundle.toml");
        std::fs::write(&file, "x").unwrap();
        std::fs::write(&manifest, "y").unwrap();
        let folder = Folder::new(&root.path().join("models"));
        std::fs::create_dir_all(root.path().join("models/churn/7")).unwrap();
        std::fs::write(root.path().join("models/churn/7/model.json"), "old").unwrap();
        let publish = |at_least| {
            folder.publish(
                "churn",
                at_least,
                std::slice::from_ref(&file),
                Some(&manifest),
                &mut |_| {},
            )
        };
        assert_eq!((publish(1), publish(1), publish(20)), (Ok(8), Ok(9), Ok(20)));
        assert_eq!(folder.folders("churn").unwrap(), ["20", "7", "8", "9"]);
        let entries = root.path().join("models/churn").read_dir().unwrap().count();
        assert_eq!(entries, 4, "no staging folder is left");
        let Some(Listing::Folder(files)) = folder.stat("churn/8").unwrap() else {
            panic!("a folder");
        };
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["bundle.toml", "model.json"]);
        assert_eq!(folder.stat("churn/10").unwrap(), None);
    }

    #[test]
    fn a_changed_file_has_another_tag() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        std::fs::write(root.path().join("a"), "1").unwrap();
        let before = folder.stat("").unwrap();
        std::fs::write(root.path().join("b"), "2").unwrap();
        std::fs::rename(root.path().join("b"), root.path().join("a")).unwrap();
        assert_ne!(folder.stat("").unwrap(), before);
    }
}
