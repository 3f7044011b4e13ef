//! Opens files that others have put there. Only regular files are read: a FIFO or a device could block for ever or never end.
//! The size is checked when the file is open, and no more than the limit is read, whatever the file becomes meanwhile.
//!
//! Links are followed: whoever may write a folder that Evergreen reads from may also name other regular files in it.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Limit of small files, such as settings, keys and certificates, in bytes.
pub(crate) const SMALL: u64 = 1 << 20;

/// Limit of files with an entry per customer, model or feature: ids, the state file, Feast's registry.
pub(crate) const LISTS: u64 = 256 << 20;

/// Opens a regular file for reading, with its metadata.
///
/// # Errors
/// It cannot be opened or is not a regular file. The message does not name the path.
pub(crate) fn open(path: &Path) -> Result<(File, Metadata)> {
    // Before it is opened: to open some devices is to use them.
    check(&path.metadata()?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // Another file may be there by now.
    let metadata = file.metadata()?;
    check(&metadata)?;
    Ok((file, metadata))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; or the file is larger, or cannot be read. The message does not name the path.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    if metadata.len() > limit {
        return Err(too_large(limit, metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size > limit => Err(too_large(limit, size)),
        _ => Ok(bytes),
    }
}

/// Reads a regular text file of at most `limit` bytes.
///
/// # Errors
/// As [`read`]; or the file is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| invalid("expected UTF-8 text, found other bytes"))
}

/// Checks that a file is a regular one.
///
/// # Errors
/// It is not; the message says what it is.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(invalid(&format!(
        "expected a regular file, found {}",
        noun(metadata.file_type())
    )))
}

fn noun(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn too_large(limit: u64, found: u64) -> Error {
    Error::new(
        ErrorKind::FileTooLarge,
        format!("expected at most {limit} bytes, found {found}"),
    )
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_within_the_limit_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 4).unwrap(), b"four");
        let error = read(&path, 3).unwrap_err().to_string();
        assert_eq!(error, "expected at most 3 bytes, found 4");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path, 4).unwrap_err().to_string().contains("UTF-8"));
        let missing = read(&folder.path().join("b"), 4).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_could_block_or_never_end_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let zero = folder.path().join("zero");
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        for (path, found) in [
            (folder.path(), "a folder"),
            (&socket, "a socket"),
            (&zero, "a device"),
        ] {
            let error = read(path, SMALL).unwrap_err().to_string();
            assert_eq!(error, format!("expected a regular file, found {found}"));
        }
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(8 << 30).unwrap();
        assert!(read(&large, SMALL).is_err());
    }
}
