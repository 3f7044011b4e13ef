//! `[features.watch]`: replacement of the snapshot while the server runs.

use serde::{Deserialize, Serialize};

/// Replacement of the snapshot while the server runs. A new snapshot is read beside the present one and swapped as a
/// whole. One that differs too much from the present snapshot is refused, and the present one stays in use.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotWatchSection {
    /// Seconds between two polls for a new snapshot; 0: no polls.
    pub seconds: f64,
    /// Wait for the file `_SUCCESS` in a folder with the part files of a Spark or Hadoop job, such as `part-00000-….parquet`.
    /// `false` for jobs that do not write it.
    pub success_file: bool,
    /// Keep the previous snapshot in memory, to say what changed in a score since then.
    pub previous: bool,
    /// Maximum share of rows that may disappear, 0 to 1.
    pub fewer_rows: f64,
    /// Maximum growth of the number of rows; 2.0 allows three times as many.
    pub more_rows: f64,
    /// Maximum rise of the share of nulls in a column, 0 to 1.
    pub more_nulls: f64,
    /// Maximum rise of the share of values outside a feature's range, or of unknown categories, 0 to 1.
    pub more_out_of_range: f64,
}

impl Default for SnapshotWatchSection {
    fn default() -> Self {
        Self {
            seconds: 30.0,
            success_file: true,
            previous: true,
            fewer_rows: 0.3,
            more_rows: 2.0,
            more_nulls: 0.1,
            more_out_of_range: 0.05,
        }
    }
}

impl SnapshotWatchSection {
    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        let numbers = [
            ("seconds", self.seconds),
            ("fewer_rows", self.fewer_rows),
            ("more_rows", self.more_rows),
            ("more_nulls", self.more_nulls),
            ("more_out_of_range", self.more_out_of_range),
        ];
        match numbers
            .into_iter()
            .find(|(_, value)| !(0.0..=86_400.0).contains(value))
        {
            Some((key, value)) => Err(format!(
                "features.watch.{key}: expected 0 to 86400, found {value}"
            )),
            None => Ok(()),
        }
    }
}
