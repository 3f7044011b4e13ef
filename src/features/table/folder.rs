//! The files of a table that is a folder.

use std::path::{Path, PathBuf};

use super::{FileKind, TableError, is_gzip, open_text};

/// The table files of a folder. Names that start with `_` or `.` are markers and checksums of the job that wrote it. Folders
/// inside would not be read, so they are refused.
pub(super) fn files(path: &Path) -> Result<Vec<(PathBuf, FileKind)>, TableError> {
    let entries = path.read_dir().map_err(|error| TableError::file(path, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| TableError::file(path, error))?.path();
        let hidden = file
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with(['_', '.']));
        // A job may write empty parts.
        let empty = !hidden && file.is_file() && is_empty(&file);
        if let Some(reason) = refused_folder(&file, hidden) {
            return Err(TableError::file(path, reason));
        }
        if !hidden && !empty && file.is_file() {
            let kind = FileKind::of(&file)?;
            files.push((file, kind));
        }
    }
    if files.is_empty() {
        return Err(TableError::file(
            path,
            "no Parquet, CSV or JSON lines file in the folder",
        ));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
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
    if is_gzip(path) {
        return open_text(path).is_ok_and(|mut text| matches!(text.read(&mut [0]), Ok(0)));
    }
    path.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

/// Why a folder inside of a table's folder is refused; `None` for a file, or a marker.
fn refused_folder(path: &Path, hidden: bool) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    (path.is_dir() && (!hidden || is_part_of_table(&name))).then(|| nested(&name))
}

/// Whether a folder inside of a table's folder would have to be read, by its name: not a marker or checksum of a job.
pub(crate) fn is_part_of_table(name: &str) -> bool {
    name == DELTA_LOG || !name.starts_with(['_', '.'])
}

/// The log of a Delta table, which says which of its files are valid.
const DELTA_LOG: &str = "_delta_log";

/// Why a folder with the folder `name` inside is no table.
pub(crate) fn nested(name: &str) -> String {
    if name == DELTA_LOG {
        return "a Delta table, some of whose files may be outdated; expected plain Parquet files: write a copy, such as \
                spark.read.format(\"delta\").load(…).write.parquet(…)"
            .to_owned();
    }
    format!(
        "the folder {name} inside would not be read; name that folder itself, or write the table without partitions"
    )
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
