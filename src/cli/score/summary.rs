//! What a job has done, in numbers and in words.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::compute::{RejectedRow, ScoredBatch};
use crate::cli::offline::OfflineModel;
use crate::cli::{YELLOW, print_error, thousands};

/// Reasons that are printed.
const MOST_REASONS: usize = 8;

/// Reasons that are counted apart.
const MOST_COUNTED: usize = 1000;

/// The rows of a job, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Rows that were read.
    pub(super) rows: u64,
    /// Rows without a score.
    pub(super) rejected: u64,
    /// The reason of the first.
    first: Option<String>,
    /// Rejected cells and rows by reason.
    reasons: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds the rows of a batch.
    pub(super) fn add(&mut self, batch: &ScoredBatch) {
        self.rows += batch.output.rows as u64;
        self.rejected += batch.rejected.len() as u64;
        for row in &batch.rejected {
            self.add_rejected(row);
        }
    }

    fn add_rejected(&mut self, row: &RejectedRow) {
        if self.first.is_none() {
            self.first = row.reasons.first().map(|reason| reason.at(row.number));
        }
        for reason in &row.reasons {
            let mut name = match &reason.column {
                Some(column) => format!("`{column}`: {}", reason.kind.label()),
                None => reason.kind.label().to_owned(),
            };
            if self.reasons.len() >= MOST_COUNTED && !self.reasons.contains_key(&name) {
                name = "other".to_owned();
            }
            *self.reasons.entry(name).or_default() += 1;
        }
    }

    /// The share of the rows without a score.
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
    pub(super) fn rejected_share(&self) -> f64 {
        self.rejected as f64 / self.rows.max(1) as f64
    }

    /// Prints what was done. `before` are the rows of earlier runs.
    pub(super) fn print(
        &self,
        model: &OfflineModel,
        output: &str,
        start: Instant,
        before: u64,
        listed: Option<&str>,
    ) {
        let scored = self.rows - self.rejected;
        let seconds = start.elapsed().as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded for display"
        )]
        let rate = ((self.rows - before) as f64 / seconds.max(1e-3)) as u64;
        let version = &model.version;
        let (rows, rejected) = (thousands(self.rows), thousands(self.rejected));
        print_error!(
            "{} rows scored to {output}: {rows} rows read, {rejected} without a score, {seconds:.1} s, {} rows/s",
            thousands(scored),
            thousands(rate)
        );
        if before > 0 {
            print_error!("{} of the rows were scored by an earlier run", thousands(before));
        }
        print_error!(
            "model {} version {}, sha256 {}",
            version.name,
            version.version,
            version.sha256
        );
        if let Some(first) = &self.first {
            let listed = listed.map(|path| format!("; all in {path}")).unwrap_or_default();
            print_error!("{YELLOW}{rejected} rows have no score{YELLOW:#}; first: {first}{listed}");
            self.print_reasons();
        }
    }

    fn print_reasons(&self) {
        let mut reasons: Vec<(&String, &u64)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in reasons.iter().take(MOST_REASONS) {
            print_error!("  {reason} ({})", thousands(**count));
        }
        if let Some(more) = reasons.len().checked_sub(MOST_REASONS).filter(|more| *more > 0) {
            print_error!("  and {more} other reasons");
        }
    }
}
