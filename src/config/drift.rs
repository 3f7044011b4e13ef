//! `[drift]`: comparison of scored entities with training.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::security::rebase;

/// Comparison of the entities that are scored with those at training. Each entity counts once in an hour and once in a day;
/// requests that set features of customers in a feature source do not count.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSection {
    /// Whether entities are counted.
    pub enabled: bool,
    /// Probability that a window without drift names any feature (a false discovery rate).
    pub level: f64,
    /// Least population stability index of a distribution that counts as drift, however certain it is.
    pub psi: f64,
    /// Least rise of the share of values that are missing, stale or out of range that counts as drift.
    pub share: f64,
    /// Maximum number of features of a version that `/metrics` shows: those that the model relies on most.
    pub metric_features: usize,
    /// File that keeps the counts of the present hour and day, and of those before, across restarts, such as
    /// `/var/lib/evergreen/drift.json`: written every minute and at the end, up to 4 MB per version. For one server. Empty: a
    /// restart begins anew.
    pub state_file: PathBuf,
}

impl Default for DriftSection {
    fn default() -> Self {
        Self {
            enabled: true,
            level: 0.001,
            psi: 0.05,
            share: 0.01,
            metric_features: 100,
            state_file: PathBuf::new(),
        }
    }
}

impl DriftSection {
    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        rebase(&mut self.state_file, base);
    }

    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (name, value, example) in [("level", self.level, "0.001"), ("share", self.share, "0.01")] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!(
                    "drift.{name}: expected 0 to 1, such as {example}, found {value}"
                ));
            }
        }
        if !(self.psi >= 0.0 && self.psi.is_finite()) {
            return Err(format!(
                "drift.psi: expected a number from 0, such as 0.05, found {}",
                self.psi
            ));
        }
        Ok(())
    }
}
