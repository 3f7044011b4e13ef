//! The files of the log in a local folder: the log itself, or the spool in front of object storage.

use std::fs::File;
use std::io::{Result, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::group::LogGroup;

/// The ending of complete files.
pub(super) const ENDING: &str = ".parquet";

/// The ending of a file in the making, whose name begins with a dot.
const PART_ENDING: &str = ".parquet.part";

/// Before the name of the model in a path.
pub(super) const MODEL_PART: &str = "model=";

/// Folders between the root and a file.
const DEPTH: usize = 3;

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CompleteFile {
    pub(super) modified: SystemTime,
    /// The path below the root, with `/`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// The path of a group's file below the root. Numbers of one writer rise.
pub(super) fn name_of(group: &LogGroup, writer: &str, number: u64) -> String {
    let (model, version) = (encoded(&group.model.name), group.model.version);
    let date = &group.date;
    format!("{MODEL_PART}{model}/version={version}/date={date}/{writer}-{number:06}{ENDING}")
}

/// A name as part of a path: letters, digits, `.`, `_` and `-` stay, other bytes are `%XX`, as Hive and Spark write them.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let byte = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

/// The name behind a part of a path; `None` if no name is written like this.
pub(super) fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Writes a file under a hidden name and renames it when it is on the disk, so that it appears complete or not at all.
pub(super) fn write(root: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = root.join(name);
    let folder = path.parent().unwrap_or(root);
    std::fs::create_dir_all(folder)?;
    let part = part_of(&path);
    let attempt = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)
    };
    attempt().inspect_err(|_| {
        // Best effort: the disk may be full or away.
        let _ = std::fs::remove_file(&part);
    })?;
    // The entry lasts through a loss of power; without it the rename still holds while the system runs.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

/// Whether a path below the root is as [`name_of`] makes it: files of others in the same folder are neither deleted nor moved.
fn is_of_log(below: &str) -> bool {
    let parts: Vec<&str> = below.split('/').collect();
    let [model, version, date, file] = parts[..] else {
        return false;
    };
    let writer_and_number = file.strip_suffix(ENDING).and_then(|name| name.rsplit_once('-'));
    model.starts_with(MODEL_PART)
        && version.starts_with("version=")
        && date.starts_with("date=")
        && writer_and_number.is_some_and(|(writer, number)| {
            !writer.is_empty() && number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Every complete file, the oldest first.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn complete_files(root: &Path) -> Result<Vec<CompleteFile>> {
    let mut files = Vec::new();
    walk(root, DEPTH, &mut |path, name| {
        let below = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        if name.starts_with('.') || !is_of_log(&below) {
            return;
        }
        // A file may have disappeared since the folder was listed.
        let Ok(metadata) = path.metadata() else { return };
        files.push(CompleteFile {
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            name: below.into_owned(),
            path: path.to_owned(),
            bytes: metadata.len(),
        });
    })?;
    files.sort();
    Ok(files)
}

/// Removes the files that a writer left incomplete. Returns their number.
pub(super) fn remove_parts(root: &Path, writer: &str) -> Result<usize> {
    let start = format!(".{writer}-");
    let mut removed = 0;
    walk(root, DEPTH, &mut |path, name| {
        if name.starts_with(&start) && name.ends_with(PART_ENDING) && std::fs::remove_file(path).is_ok() {
            removed += 1;
        }
    })?;
    Ok(removed)
}

/// Calls `found` for each file with its name. Links to folders are not followed, so that the walk ends.
fn walk(folder: &Path, depth: usize, found: &mut dyn FnMut(&Path, &str)) -> Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let Some(name) = name.to_str() else { continue };
        if kind.is_file() {
            found(&entry.path(), name);
        } else if kind.is_dir() && depth > 0 && !name.starts_with('.') {
            match walk(&entry.path(), depth - 1, found) {
                // Another process may have removed the folder.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Removes a file, and its folders below the root if they are empty.
pub(super) fn remove(root: &Path, file: &CompleteFile) -> Result<()> {
    match std::fs::remove_file(&file.path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut folder = file.path.parent();
    while let Some(empty) = folder.filter(|folder| *folder != root && folder.starts_with(root)) {
        // Fails while something is in it.
        if std::fs::remove_dir(empty).is_err() {
            break;
        }
        folder = empty.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_complete_and_its_folders_go_with_the_last() {
        let root = tempfile::tempdir().unwrap();
        let name = "model=m/version=1/date=2026-11-29/w-000001.parquet";
        write(root.path(), name, b"x").unwrap();
        let part = root
            .path()
            .join("model=m/version=1/date=2026-11-29/.w-000002.parquet.part");
        std::fs::write(&part, "half").unwrap();
        for other in [
            "customers.parquet",
            "model=m/version=1/x.parquet",
            "model=m/version=1/date=2026-11-29/part-0.parquet",
        ] {
            std::fs::write(root.path().join(other), "of others").unwrap();
        }
        let files = complete_files(root.path()).unwrap();
        assert_eq!(
            (files.len(), files[0].name.as_str(), files[0].bytes),
            (1, name, 1)
        );
        assert_eq!(remove_parts(root.path(), "other").unwrap(), 0);
        assert_eq!(remove_parts(root.path(), "w").unwrap(), 1);
        assert!(!part.exists());
        for other in ["customers.parquet", "model=m/version=1/x.parquet"] {
            std::fs::remove_file(root.path().join(other)).unwrap();
        }
        let folder = files[0].path.parent().unwrap();
        std::fs::remove_file(folder.join("part-0.parquet")).unwrap();
        remove(root.path(), &files[0]).unwrap();
        remove(root.path(), &files[0]).unwrap();
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        assert_eq!(encoded("churn-2.b_c"), "churn-2.b_c");
        assert_eq!(encoded("a/b=c %é"), "a%2Fb%3Dc%20%25%C3%A9");
        for name in ["churn", "a/b=c %é", ""] {
            assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
        }
        assert_eq!(
            (decoded("%4"), decoded("%zz"), decoded("%ff")),
            (None, None, None)
        );
    }
}
