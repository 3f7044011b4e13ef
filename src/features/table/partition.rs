//! Tables that are partitioned as by Hive: folders such as `day=2026-11-29/region=eu`, whose names hold columns.

use std::path::{Path, PathBuf};

use super::folder::{Entry, entries, sorted};
use super::{Column, FileKind, TableError, TextColumn};

/// The name of a folder for null, as Hive and Spark write it.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column whose value is the same in a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// Its name.
    pub(super) name: String,
    /// Its value; `None` for null.
    value: Option<String>,
}

impl Partition {
    /// The column that a folder's name holds; `None` if it holds none.
    fn of(folder: &str) -> Option<Self> {
        let (name, value) = folder.split_once('=')?;
        (!name.is_empty()).then(|| Self {
            name: unescaped(name),
            value: Some(unescaped(value)).filter(|value| value != NULL),
        })
    }

    /// The column for so many rows.
    pub(super) fn column(&self, rows: usize) -> Column {
        let mut texts = TextColumn::default();
        (0..rows).for_each(|_| texts.push(self.value.as_deref()));
        Column::Untyped(texts)
    }
}

/// Whether a folder inside of a table is one of its partitions, by its name.
pub(crate) fn is_partition(folder: &str) -> bool {
    Partition::of(folder).is_some()
}

/// The table files of a folder and of the partitions inside, in the order of their paths.
pub(super) fn files(path: &Path) -> Result<Vec<(PathBuf, FileKind, Vec<Partition>)>, TableError> {
    let mut files = Vec::new();
    add(path, &[], &mut files)?;
    sorted(path, files, |(path, ..)| path)
}

fn add(
    path: &Path,
    partitions: &[Partition],
    files: &mut Vec<(PathBuf, FileKind, Vec<Partition>)>,
) -> Result<(), TableError> {
    for entry in entries(path, is_partition)? {
        match entry {
            Entry::File(file, kind) => files.push((file, kind, partitions.to_vec())),
            Entry::Folder(folder) => {
                let name = folder.file_name().map(|name| name.to_string_lossy());
                let own = name.as_deref().and_then(Partition::of);
                let all: Vec<Partition> = partitions.iter().cloned().chain(own).collect();
                add(&folder, &all, files)?;
            }
        }
    }
    Ok(())
}

/// A name with its escapes (`%3A`) resolved, as Hive and Spark write characters that a path cannot have.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%');
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_hold_columns() {
        let partition = |folder| Partition::of(folder).map(|partition| (partition.name, partition.value));
        let some = |name: &str, value: &str| Some((name.to_owned(), Some(value.to_owned())));
        assert_eq!(partition("day=2026-11-29"), some("day", "2026-11-29"));
        assert_eq!(partition("at=10%3A00%2F%"), some("at", "10:00/%"));
        assert_eq!(partition("a=b=c"), some("a", "b=c"));
        assert_eq!(
            partition("x=__HIVE_DEFAULT_PARTITION__"),
            Some(("x".to_owned(), None))
        );
        assert_eq!(partition("plain"), None);
        assert_eq!(partition("=x"), None);
    }
}
