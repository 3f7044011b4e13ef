//! The marker of a running writer: a locked hidden file that counts its rows. The system releases the lock when the process
//! ends, however it ends, and keeps what was written to the file: so the next start can tell that a writer was killed, and
//! how many rows it had in memory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

const START: &str = ".writer-";
const END: &str = ".open";

/// Length of a marker's text: each update replaces all of it.
const LENGTH: usize = 64;

/// The marker of this process.
#[derive(Debug)]
pub(super) struct Marker {
    file: File,
    path: PathBuf,
    last: RowCounts,
}

/// The rows of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowCounts {
    /// Rows that got a sequence number.
    pub(super) numbered: u64,
    /// Those of them that are in complete files or known to be dropped.
    pub(super) settled: u64,
}

impl RowCounts {
    /// Rows that are in memory only.
    pub(super) fn open(self) -> u64 {
        self.numbered.saturating_sub(self.settled)
    }

    fn text(self) -> String {
        let text = format!("numbered {} settled {}", self.numbered, self.settled);
        format!("{text:LENGTH$}")
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let ["numbered", numbered, "settled", settled] = words[..] else {
            return None;
        };
        Some(Self {
            numbered: numbered.parse().ok()?,
            settled: settled.parse().ok()?,
        })
    }
}

impl Marker {
    /// Makes the marker of a writer.
    pub(super) fn create(root: &Path, writer: &str) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        let path = root.join(format!("{START}{writer}{END}"));
        let file = File::create_new(&path)?;
        let last = RowCounts::default();
        let begun = file.try_lock().map_err(Error::from);
        let begun = begun.and_then(|()| file.write_all_at(last.text().as_bytes(), 0));
        if let Err(error) = begun {
            // An empty file that stays would make every later attempt fail.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self { file, path, last })
    }

    /// Writes the counts if they have changed: one call to the system, without waiting for the disk.
    pub(super) fn update(&mut self, counts: RowCounts) -> Result<()> {
        if counts != self.last {
            self.file.write_all_at(counts.text().as_bytes(), 0)?;
            self.last = counts;
        }
        Ok(())
    }

    /// Removes the marker: the writer has ended and its rows are settled.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// A writer that ended without removing its marker.
#[derive(Debug)]
pub(super) struct KilledWriter {
    pub(super) writer: String,
    /// `None` if the marker cannot be read.
    pub(super) counts: Option<RowCounts>,
    path: PathBuf,
    /// Keeps other processes from counting the same writer.
    _lock: File,
}

impl KilledWriter {
    /// Removes the marker.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// The writers in a folder that were killed.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn killed_writers(root: &Path) -> Result<Vec<KilledWriter>> {
    let mut found = Vec::new();
    for entry in root.read_dir()? {
        let name = entry?.file_name();
        let writer = name
            .to_str()
            .and_then(|name| name.strip_prefix(START)?.strip_suffix(END));
        if let Some(writer) = writer {
            found.extend(killed(root.join(&name), writer)?);
        }
    }
    Ok(found)
}

/// The writer of a marker, if it was killed.
fn killed(path: PathBuf, writer: &str) -> Result<Option<KilledWriter>> {
    // Another process may have removed it.
    let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&path) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => {}
        // It still runs.
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Another process may have counted and removed it before this one got the lock.
    let same = path.metadata().is_ok_and(|present| {
        file.metadata()
            .is_ok_and(|own| (own.dev(), own.ino()) == (present.dev(), present.ino()))
    });
    if !same {
        return Ok(None);
    }
    let mut text = String::new();
    let counts = match (&mut file).take(LENGTH as u64).read_to_string(&mut text) {
        Ok(_) => RowCounts::parse(&text),
        Err(_) => None,
    };
    Ok(Some(KilledWriter {
        writer: writer.to_owned(),
        counts,
        path,
        _lock: file,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_killed_if_its_marker_is_there_and_not_locked() {
        let root = tempfile::tempdir().unwrap();
        let mut marker = Marker::create(root.path(), "a").unwrap();
        let counts = RowCounts {
            numbered: 120,
            settled: 100,
        };
        marker.update(counts).unwrap();
        assert!(killed_writers(root.path()).unwrap().is_empty(), "it runs");
        // As when its process ends.
        drop(marker.file);
        let mut killed = killed_writers(root.path()).unwrap();
        let writer = killed.pop().unwrap();
        assert_eq!((writer.writer.as_str(), writer.counts), ("a", Some(counts)));
        assert_eq!(writer.counts.unwrap().open(), 20);
        assert!(
            killed_writers(root.path()).unwrap().is_empty(),
            "it is being counted"
        );
        writer.remove().unwrap();
        assert!(killed_writers(root.path()).unwrap().is_empty());
    }

    #[test]
    fn a_failed_attempt_leaves_nothing_in_the_way_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("log");
        std::fs::write(&root, "in the way").unwrap();
        assert!(Marker::create(&root, "a").is_err());
        assert_eq!(std::fs::read(&root).unwrap(), b"in the way");
        std::fs::remove_file(&root).unwrap();
        let marker = Marker::create(&root, "a").unwrap();
        // Another writer's marker, or a folder, is never replaced.
        assert!(Marker::create(&root, "a").is_err());
        assert!(marker.path.is_file());
        let occupied = root.join(format!("{START}b{END}"));
        std::fs::create_dir(&occupied).unwrap();
        assert!(Marker::create(&root, "b").is_err());
        std::fs::remove_dir(&occupied).unwrap();
        let mut marker = Marker::create(&root, "b").unwrap();
        marker
            .update(RowCounts {
                numbered: 1,
                settled: 0,
            })
            .unwrap();
        assert!(killed_writers(&root).unwrap().is_empty(), "both run");
    }

    #[test]
    fn a_shorter_text_replaces_a_longer_one() {
        let root = tempfile::tempdir().unwrap();
        let mut marker = Marker::create(root.path(), "a").unwrap();
        for (numbered, settled) in [(u64::MAX, u64::MAX), (7, 3)] {
            let counts = RowCounts { numbered, settled };
            marker.update(counts).unwrap();
            let text = std::fs::read_to_string(&marker.path).unwrap();
            assert_eq!((RowCounts::parse(&text), text.len()), (Some(counts), LENGTH));
        }
        assert_eq!(RowCounts::parse(""), None);
        let path = marker.path.clone();
        marker.remove().unwrap();
        assert!(!path.exists());
    }
}
