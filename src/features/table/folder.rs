//! The files of a table that is a folder.

use std::path::{Path, PathBuf};

use super::{Compression, FileKind, TableError, open_text};

/// What belongs to a table in a folder.
pub(super) enum Entry {
    /// A file.
    File(PathBuf, FileKind),
    /// A folder inside that is part of the table.
    Folder(PathBuf),
}

/// The table files of a folder.
pub(super) fn files(path: &Path) -> Result<Vec<(PathBuf, FileKind)>, TableError> {
    let file = |entry| match entry {
        Entry::File(path, kind) => Some((path, kind)),
        Entry::Folder(_) => None,
    };
    let files = entries(path, |_| false)?.into_iter().filter_map(file).collect();
    sorted(path, files, |(path, _)| path)
}

/// The files of a folder, and the folders inside that `is_part` accepts by their names; other folders would not be read, so
/// they are refused. Names that start with `_` or `.` are markers and checksums of the job that wrote it.
pub(super) fn entries(path: &Path, is_part: fn(&str) -> bool) -> Result<Vec<Entry>, TableError> {
    let mut found = Vec::new();
    let all = named_entries(path).map_err(|error| TableError::file(path, error))?;
    if let Some(reason) = managed(all.iter().map(|(name, _)| name.as_str())) {
        return Err(TableError::file(path, reason));
    }
    for (name, file) in all {
        let hidden = name.is_empty() || name.starts_with(['_', '.']);
        if !hidden && file.is_dir() && is_part(&name) {
            found.push(Entry::Folder(file));
            continue;
        }
        if !hidden && file.is_dir() {
            return Err(TableError::file(path, nested(&name)));
        }
        if hidden {
            continue;
        }
        if let Some(reason) = refused_entry(&file) {
            return Err(TableError::file(&file, reason));
        }
        if let Some(kind) = kind_with_rows(&file)? {
            found.push(Entry::File(file, kind));
        }
    }
    Ok(found)
}

/// The entries of a folder, with their names.
fn named_entries(path: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let named = |entry: std::fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path());
    path.read_dir()?.map(|entry| entry.map(named)).collect()
}

/// Why an entry that a folder shows cannot be read; `None` for a file. To pass it over would lose its rows without a word.
fn refused_entry(path: &Path) -> Option<String> {
    let found = match path.metadata() {
        Ok(metadata) if metadata.is_file() => return None,
        Ok(_) => "a pipe, a socket or a device".to_owned(),
        Err(error) => format!("what cannot be reached, such as a link to a file that is gone ({error})"),
    };
    Some(format!(
        "expected a file, found {found}; remove it, or give it a name that begins with _ or ."
    ))
}

/// The kind of a file; `None` if it has no rows, because a job may write empty parts of text.
fn kind_with_rows(path: &Path) -> Result<Option<FileKind>, TableError> {
    if !is_empty(path) {
        return FileKind::of(path).map(Some);
    }
    match FileKind::of(path) {
        // Without rows it still has a schema, and more bytes than none.
        Ok(FileKind::Parquet) => Err(TableError::file(
            path,
            "the file is empty; expected Parquet: its writer was probably stopped",
        )),
        _ => Ok(None),
    }
}

/// The files of a table in the order of their paths.
///
/// # Errors
/// There are none.
pub(super) fn sorted<T>(
    path: &Path,
    mut files: Vec<T>,
    key: fn(&T) -> &PathBuf,
) -> Result<Vec<T>, TableError> {
    if files.is_empty() {
        return Err(TableError::file(
            path,
            "no Parquet, CSV or JSON lines file in the folder",
        ));
    }
    files.sort_by(|a, b| key(a).cmp(key(b)));
    Ok(files)
}

/// Why a folder with files of these names is not complete: a job of Spark or Hadoop writes parts, and `_SUCCESS` at the end.
pub(crate) fn unfinished<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    let parts = names.clone().any(is_part);
    let done = names.any(|name| name == "_SUCCESS");
    (parts && !done)
        .then_some("the folder has part files but no _SUCCESS: the job that writes it is still running")
}

/// Whether a file is named as Spark and Hadoop name parts: `part-00000-…`, `part-r-00000`. Other writers (`part-0.parquet`)
/// write no `_SUCCESS`.
fn is_part(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("part-") else {
        return false;
    };
    let rest = rest
        .strip_prefix("r-")
        .or_else(|| rest.strip_prefix("m-"))
        .unwrap_or(rest);
    rest.len() >= 5 && rest.bytes().take(5).all(|byte| byte.is_ascii_digit())
}

/// Whether a file has no content, compressed or not.
fn is_empty(path: &Path) -> bool {
    if Compression::of(path).is_some() {
        return open_text(path).is_ok_and(|mut text| matches!(text.read(&mut [0]), Ok(0)));
    }
    path.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

/// Whether a folder inside of a table's folder would have to be read, by its name: not a marker or checksum of a job.
pub(crate) fn is_part_of_table(name: &str) -> bool {
    !name.starts_with(['_', '.'])
}

/// Why a folder with the folder `name` inside is no table.
pub(crate) fn nested(name: &str) -> String {
    format!(
        "the folder {name} inside would not be read; name that folder itself, or write the table without partitions"
    )
}

/// The folder with the log of an Apache Hudi table.
pub(crate) const HUDI_LOG: &str = ".hoodie";

/// Why a folder with entries of these names is no plain table: its log says which of its files are valid, and the others have rows
/// that are outdated or deleted.
pub(crate) fn managed<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let has = |wanted: &str| names.clone().any(|name| name == wanted);
    let (table, format) = if has("_delta_log") {
        ("a Delta table", "delta")
    } else if has(HUDI_LOG) || has(".hoodie_partition_metadata") {
        ("an Apache Hudi table", "hudi")
    } else if has("metadata") && has("data") {
        ("an Apache Iceberg table", "iceberg")
    } else {
        return None;
    };
    Some(format!(
        "{table}, some of whose files may be outdated; expected plain Parquet files: write a copy, such as \
         spark.read.format(\"{format}\").load(…).write.parquet(…)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_of_spark_and_hadoop_wait_for_success() {
        for (names, waits) in [
            (&["part-00000-5e1c-c000.snappy.parquet"][..], true),
            (&["part-r-00001"], true),
            (&["part-00000.csv", "_SUCCESS"], false),
            (&["part-0.parquet", "part-12.parquet"], false),
            (&["customers.csv"], false),
        ] {
            assert_eq!(unfinished(names.iter().copied()).is_some(), waits, "{names:?}");
        }
    }
}
