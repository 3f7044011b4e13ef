//! `[prediction_log]`: the log of what was scored.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::location::is_remote;
use super::security::rebase;

/// The largest row group in bytes: it is built in memory.
const MOST_ROW_GROUP: usize = 1 << 30;

/// The least bytes of a row group and of the queue: a batch of a few hundred entities.
const LEAST_BYTES: usize = 64 << 10;

/// The prediction log: one row for each scored entity, in Parquet files. It never delays or fails a request: rows that it
/// cannot take are dropped and counted.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PredictionLogSection {
    /// Folder or URL (`s3://bucket/prefix`) of the log. Empty: no log.
    pub location: PathBuf,
    /// Share of the entities whose scores are logged, 0 to 1. A hash of the id decides, alike on every server, so that all
    /// scores of an entity are logged or none. Entities without an id are chosen by their request. Audits need 1.0.
    pub sample: f64,
    /// Rows per second above which a smaller share is logged, of some of the same entities, so that the log costs little under
    /// full load; 0: no limit. With `sample = 1.0` there is none.
    pub most_rows_per_second: u32,
    /// What the log has of an id.
    pub entity: LogPolicy,
    /// File with the secret key of hashes, at least 16 bytes. Empty: none, and what a contract wants hashed is left out.
    pub key_file: PathBuf,
    /// Bytes of rows in memory after which a row group is written, each to a file of its own; at most a sixteenth of
    /// `limits.memory`.
    pub row_group_bytes: usize,
    /// Seconds after which a row group is written. A killed process loses the rows of at most this time.
    pub row_group_seconds: u64,
    /// Maximum bytes of rows that wait for the writer; more are dropped. At most an eighth of `limits.memory`, on which rows
    /// draw until they are in a file.
    pub queue_bytes: usize,
    /// Days after which files in a local folder are deleted; 0: never.
    pub keep_days: u32,
    /// Maximum bytes of all files in a local folder; the oldest are deleted. 0: no limit.
    pub keep_bytes: u64,
    /// Folder for files that wait for their upload to object storage; it should outlive a restart. Empty: a folder in the
    /// system's temporary folder.
    pub spool: PathBuf,
    /// Maximum bytes of files that wait for their upload; more rows are dropped.
    pub spool_bytes: u64,
}

/// What the prediction log has of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogPolicy {
    /// The value itself.
    #[default]
    Plain,
    /// Its hash by HMAC-SHA-256 with the key of `prediction_log.key_file`.
    Hash,
    /// Nothing.
    Omit,
}

impl Default for PredictionLogSection {
    fn default() -> Self {
        Self {
            location: PathBuf::new(),
            sample: 0.1,
            most_rows_per_second: 1000,
            entity: LogPolicy::Plain,
            key_file: PathBuf::new(),
            row_group_bytes: 16 << 20,
            row_group_seconds: 60,
            queue_bytes: 8 << 20,
            keep_days: 0,
            keep_bytes: 0,
            spool: PathBuf::new(),
            spool_bytes: 1 << 30,
        }
    }
}

impl PredictionLogSection {
    /// Whether there is a log.
    pub fn is_on(&self) -> bool {
        !self.location.as_os_str().is_empty()
    }

    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        if !is_remote(&self.location) {
            rebase(&mut self.location, base);
        }
        rebase(&mut self.key_file, base);
        rebase(&mut self.spool, base);
    }

    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(format!(
                "prediction_log.sample: expected 0 to 1, such as 0.1, found {}",
                self.sample
            ));
        }
        for (key, bytes) in [
            ("row_group_bytes", self.row_group_bytes),
            ("queue_bytes", self.queue_bytes),
        ] {
            if !(LEAST_BYTES..=MOST_ROW_GROUP).contains(&bytes) {
                return Err(format!(
                    "prediction_log.{key}: expected {LEAST_BYTES} (64 KiB) to {MOST_ROW_GROUP} (1 GiB), found {bytes}"
                ));
            }
        }
        if !(1..=86_400).contains(&self.row_group_seconds) {
            return Err(format!(
                "prediction_log.row_group_seconds: expected 1 to 86400, found {}",
                self.row_group_seconds
            ));
        }
        if self.entity == LogPolicy::Hash && self.key_file.as_os_str().is_empty() {
            return Err(
                "prediction_log.entity: expected prediction_log.key_file with entity = \"hash\", found none; make a key \
                 with `head -c 32 /dev/urandom > key`"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let valid = PredictionLogSection::default();
        assert!(valid.validate().is_ok() && !valid.is_on());
        for (section, expected) in [
            (
                PredictionLogSection {
                    sample: 1.5,
                    ..valid.clone()
                },
                "sample: expected 0 to 1",
            ),
            (
                PredictionLogSection {
                    queue_bytes: 1,
                    ..valid.clone()
                },
                "queue_bytes: expected 65536",
            ),
            (
                PredictionLogSection {
                    row_group_seconds: 0,
                    ..valid.clone()
                },
                "row_group_seconds: expected 1",
            ),
            (
                PredictionLogSection {
                    entity: LogPolicy::Hash,
                    ..valid
                },
                "expected prediction_log.key_file",
            ),
        ] {
            let error = section.validate().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_stricter_of_two_policies_is_the_larger() {
        assert!(LogPolicy::Plain < LogPolicy::Hash && LogPolicy::Hash < LogPolicy::Omit);
    }
}
