//! Deletes old files of a local log.

use std::io::Result;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::folder::{CompleteFile, complete_files, remove};

/// The limits of a local log; 0 means none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) days: u32,
    pub(super) bytes: u64,
}

impl Retention {
    /// Deletes the files that are too old, then the oldest until the others fit. Returns the number of deleted files.
    ///
    /// # Errors
    /// The folder cannot be read, or a file cannot be deleted.
    pub(super) fn apply(self, root: &Path, now: SystemTime) -> Result<usize> {
        if self.days == 0 && self.bytes == 0 {
            return Ok(0);
        }
        let files = complete_files(root)?;
        let beyond = self.beyond(&files, now);
        files
            .iter()
            .take(beyond)
            .try_for_each(|file| remove(root, file))?;
        Ok(beyond)
    }

    /// How many of the files, the oldest first, are beyond the limits.
    fn beyond(self, files: &[CompleteFile], now: SystemTime) -> usize {
        let age = Duration::from_secs(u64::from(self.days) * 24 * 3600);
        let old = |file: &&CompleteFile| now.duration_since(file.modified).is_ok_and(|own| own > age);
        let too_old = match self.days {
            0 => 0,
            _ => files.iter().take_while(old).count(),
        };
        if self.bytes == 0 {
            return too_old;
        }
        let mut total = 0u64;
        let fitting = files.iter().rev().take_while(|file| {
            total = total.saturating_add(file.bytes);
            total <= self.bytes
        });
        too_old.max(files.len() - fitting.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_go_by_age_and_by_size() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 24 * 3600);
        let file = |days: u64, bytes| CompleteFile {
            modified: now - Duration::from_secs(days * 24 * 3600 + 1),
            name: String::new(),
            path: Default::default(),
            bytes,
        };
        let files = [file(9, 10), file(5, 10), file(1, 10), file(0, 10)];
        for (days, bytes, beyond) in [
            (0, 0, 0),
            (5, 0, 2),
            (6, 0, 1),
            (0, 40, 0),
            (0, 39, 1),
            (0, 5, 4),
            (1, 1000, 3),
            (9, 20, 2),
        ] {
            assert_eq!(
                Retention { days, bytes }.beyond(&files, now),
                beyond,
                "{days} {bytes}"
            );
        }
    }
}
