//! Which files an input has, and what changes between two looks at them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A file of the input, as it was when the job began. Equal values mean the same content, as far as the storage can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputFile {
    /// Its name in the input.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Modification time, entity tag, or SHA-256 of standard input.
    pub(super) tag: String,
}

/// The files of an input in a checkpoint, which a list of them would make as large as the input has files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli::score) struct InputIdentity {
    /// Their number.
    files: usize,
    /// Over their names, sizes and tags, in their order.
    sha256: String,
}

impl InputIdentity {
    /// Identifies files, in their order.
    pub(super) fn of(files: &[InputFile]) -> Self {
        let mut hash = Sha256::new();
        for file in files {
            for text in [&file.name, &file.tag] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            hash.update(file.size.to_le_bytes());
        }
        Self {
            files: files.len(),
            sha256: hex(hash),
        }
    }

    /// What differs in another input, in words; `None` if nothing does.
    pub(in crate::cli::score) fn difference(&self, then: &Self) -> Option<String> {
        let (before, now) = (then.files, self.files);
        if before != now {
            return Some(format!("it had {before} files, and now it has {now}"));
        }
        let differs = "of them has another name, content or time";
        (self != then).then(|| format!("it has {now} files as before, but at least one {differs}"))
    }
}

/// A SHA-256 in hexadecimal digits.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first change from some files to others, in words; `None` if there is none.
pub(super) fn change(then: &[InputFile], now: &[InputFile]) -> Option<String> {
    if then == now {
        return None;
    }
    let by_name = |files: &[InputFile]| -> BTreeMap<String, InputFile> {
        let files = files.iter().map(|file| (file.name.clone(), file.clone()));
        files.collect()
    };
    let (before, after) = (by_name(then), by_name(now));
    let old = before.iter().find_map(|(name, file)| match after.get(name) {
        None => Some(format!("{name} is gone")),
        Some(other) => (other != file).then(|| format!("{name} has another content or time")),
    });
    let new = after.keys().find(|name| !before.contains_key(*name));
    old.or_else(|| new.map(|name| format!("{name} is new")))
        .or_else(|| Some("the files have another order".to_owned()))
}

/// The message of a change.
pub(super) fn changed(location: &Path, change: &str) -> String {
    let location = location.display();
    format!("{location}: the input has changed while the job read it: {change}")
}

/// The identities of local files; names are relative to `root`.
///
/// # Errors
/// A file is gone.
pub(super) fn local_files<'a>(
    files: impl Iterator<Item = &'a Path>,
    root: &Path,
) -> Result<Vec<InputFile>, String> {
    files.map(|file| local_file(file, root)).collect()
}

fn local_file(path: &Path, root: &Path) -> Result<InputFile, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let metadata = path.metadata().map_err(fail)?;
    let changed = metadata.modified().map_err(fail)?;
    let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = path
        .strip_prefix(root)
        .ok()
        .filter(|name| !name.as_os_str().is_empty());
    let name = name.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
    Ok(InputFile {
        name: name.to_string_lossy().into_owned(),
        size: metadata.len(),
        tag: format!("{}.{:09}", since.as_secs(), since.subsec_nanos()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size: u64) -> InputFile {
        let (name, tag) = (name.to_owned(), "1.0".to_owned());
        InputFile { name, size, tag }
    }

    #[test]
    fn a_change_is_said_in_words() {
        let then = [file("a", 1), file("b", 1)];
        let words = |now: &[InputFile]| change(&then, now).unwrap_or_default();
        assert_eq!(words(&then), "");
        assert_eq!(words(&then[..1]), "b is gone");
        assert_eq!(
            words(&[file("a", 2), file("b", 1)]),
            "a has another content or time"
        );
        assert_eq!(words(&[file("a", 1), file("b", 1), file("c", 1)]), "c is new");
        assert_eq!(
            words(&[file("b", 1), file("a", 1)]),
            "the files have another order"
        );
    }

    #[test]
    fn a_checkpoint_does_not_grow_with_the_number_of_files() {
        let files: Vec<InputFile> = (0..100_000)
            .map(|number| file(&number.to_string(), number))
            .collect();
        let identity = InputIdentity::of(&files);
        assert!(serde_json::to_vec(&identity).unwrap().len() < 200);
        assert_eq!(identity.difference(&InputIdentity::of(&files)), None);
        let fewer = InputIdentity::of(&files[1..]);
        let words = fewer.difference(&identity).unwrap();
        assert_eq!(words, "it had 100000 files, and now it has 99999");
        let mut others = files;
        others.swap(0, 1);
        let words = InputIdentity::of(&others).difference(&identity).unwrap();
        assert!(words.contains("100000 files as before"), "{words}");
    }
}
