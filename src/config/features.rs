//! `[features.watch]`: how new customers are looked for, and what they must be like.

use serde::{Deserialize, Serialize};

/// `[features.watch]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotWatchSection {
    /// Seconds between two looks for a new snapshot; 0 for none.
    pub seconds: f64,
    /// Largest share of the rows that may be gone.
    pub fewer_rows: f64,
    /// Largest share of the rows that may have come.
    pub more_rows: f64,
    /// How much larger the share of nulls in a column may have become.
    pub more_nulls: f64,
    /// How much larger the share of values outside of a feature's range, or of unknown categories, may have become.
    pub more_out_of_range: f64,
}

impl Default for SnapshotWatchSection {
    fn default() -> Self {
        Self {
            seconds: 30.0,
            fewer_rows: 0.3,
            more_rows: 2.0,
            more_nulls: 0.1,
            more_out_of_range: 0.05,
        }
    }
}

impl SnapshotWatchSection {
    /// Checks what a type alone does not say.
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
            Some((key, value)) => Err(format!("features.watch.{key} is {value}: expected 0 to 86400")),
            None => Ok(()),
        }
    }
}
