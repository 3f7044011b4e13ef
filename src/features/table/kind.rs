//! The formats of files, by the endings of their names.

use std::path::Path;

use super::compression::{Compression, ending};
use super::error::TableError;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Apache Parquet, flat columns.
    Parquet,
    /// Comma-separated values with a header line, UTF-8.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object per line.
    JsonLines,
}

/// File name extensions and their formats.
const ENDINGS: [(&str, FileKind); 6] = [
    ("parquet", FileKind::Parquet),
    ("csv", FileKind::Csv),
    ("tsv", FileKind::Tsv),
    ("jsonl", FileKind::JsonLines),
    ("ndjson", FileKind::JsonLines),
    // Spark's ending for JSON lines.
    ("json", FileKind::JsonLines),
];

impl FileKind {
    /// The format by the extension of `path`.
    ///
    /// # Errors
    /// The extension is unknown; the message lists the known ones.
    pub fn of(path: &Path) -> Result<Self, TableError> {
        let compressed = Compression::of(path);
        let inner = match compressed {
            Some(_) => path.with_extension(""),
            None => path.to_owned(),
        };
        let ending = ending(&inner);
        let known = ENDINGS
            .iter()
            .find(|(known, _)| Some(*known) == ending.as_deref())
            .map(|&(_, kind)| kind);
        match known {
            Some(Self::Parquet) if compressed.is_some() => Err(TableError::file(
                path,
                "a Parquet file is compressed inside; expected it without .gz or .zst",
            )),
            Some(kind) => Ok(kind),
            None => {
                let known: Vec<String> = ENDINGS.iter().map(|(known, _)| format!(".{known}")).collect();
                Err(TableError::file(
                    path,
                    format!(
                        "unknown file extension; expected one of {}, or .gz or .zst after the last five",
                        known.join(", ")
                    ),
                ))
            }
        }
    }
}
