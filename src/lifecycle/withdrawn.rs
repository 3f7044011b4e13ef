//! Versions that were withdrawn from service, and how their files are recognised.

use serde::{Deserialize, Serialize};

use crate::models::repository::VersionFiles;
use crate::storage::{E_TAG, FileStat};

/// A version that was rolled back or unloaded, and must not be loaded again by itself while its files are the same.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(super) struct Withdrawn {
    /// Its files when it was withdrawn.
    files: Vec<FileFingerprint>,
    pub(super) rolled_back: bool,
    pub(super) reason: String,
}

/// A file's name, size, and modification time or entity tag. Without the inode, which a new mount may change.
type FileFingerprint = (String, u64, String);

impl Withdrawn {
    /// Withdraws a version with these files; `None` if they cannot be listed.
    pub(super) fn new(found: Option<&VersionFiles>, rolled_back: bool, reason: &str) -> Option<Self> {
        Some(Self {
            files: fingerprints(found?)?,
            rolled_back,
            reason: reason.to_owned(),
        })
    }

    /// Whether its files are still the same; `None` if they cannot be listed now.
    pub(super) fn has_files(&self, found: &VersionFiles) -> Option<bool> {
        Some(fingerprints(found)? == self.files)
    }
}

fn fingerprints(found: &VersionFiles) -> Option<Vec<FileFingerprint>> {
    let files = found.as_ref().ok()?.files().iter();
    let fingerprint = |file: &FileStat| {
        // An entity tag as a whole; of a local file the time without device and inode.
        let changed = match file.tag.split_once(' ') {
            Some((time, _)) if !file.tag.starts_with(E_TAG) => time,
            _ => &file.tag,
        };
        (file.name.clone(), file.size, changed.to_owned())
    };
    Some(files.map(fingerprint).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Listing;

    fn files(tag: &str) -> VersionFiles {
        Ok(Listing::Folder(vec![FileStat {
            name: "model.ubj".to_owned(),
            size: 5,
            tag: tag.to_owned(),
        }]))
    }

    #[test]
    fn changed_content_is_recognised_in_folders_and_in_object_storage() {
        for (tag, same, other) in [
            ("12.5 8:1", "12.5 9:2", "13.5 8:1"),
            ("etag \"a\"", "etag \"a\"", "etag \"b\""),
        ] {
            let withdrawn = Withdrawn::new(Some(&files(tag)), true, "wrong").unwrap();
            assert_eq!(withdrawn.has_files(&files(same)), Some(true), "{tag}");
            assert_eq!(withdrawn.has_files(&files(other)), Some(false), "{tag}");
        }
    }
}
