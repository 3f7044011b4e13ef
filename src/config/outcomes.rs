//! `[outcomes]`: what became of customers, and the scores that it is compared with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::security::rebase;
use super::source::Span;

/// Most days that outcomes and scores are kept, and most days between two scores of a customer.
const MOST_DAYS: u32 = 3650;

/// Largest share of customers in the hold-out.
const MOST_HELD_OUT: f64 = 0.5;

/// What became of customers (`POST /v1/outcomes`), the scores that it is compared with, and the hold-out. Outcomes are off
/// unless `folder` or the table `postgres` is set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutcomesSection {
    /// Folder of the embedded store, for one server. Empty: none.
    pub folder: PathBuf,
    /// Store in PostgreSQL, for several servers. Missing: none.
    pub postgres: Option<OutcomesPostgres>,
    /// Days for which at most one score of a customer by a version is kept, the first one. 1 to 3650; weeks begin on Monday.
    pub score_days: u32,
    /// Share of the customers whose scores are kept, above 0 up to 1: an even sample, the same on every server.
    pub share: f64,
    /// Days after which outcomes and scores are deleted. Longer than horizon and grace period of every contract.
    pub keep_days: u32,
    /// Maximum size of the folder in bytes. Beyond it scores are dropped and counted, and outcomes are refused (503).
    pub folder_bytes: u64,
    /// Maximum outcomes in the folder; each takes about 150 bytes of memory. Further ones are refused (503).
    pub most_outcomes: usize,
    /// Age from which performance is computed again, for `GET /v1/models/{model}/performance` and for the metrics.
    pub refresh: Span,
    /// Share of the customers that nobody is to contact, 0 to 0.5, to measure the effect of contact. Their scores say
    /// `"hold_out": true`. 0: none.
    pub hold_out: f64,
    /// Text that draws the customers of the hold-out; another one draws others. Give every server the same.
    pub hold_out_salt: String,
}

/// Outcomes and scores in PostgreSQL. The tables `evergreen_outcomes` and `evergreen_scores` are created if they are
/// missing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutcomesPostgres {
    /// `host=db user=evergreen dbname=outcomes`, or a `postgres://` URL; `sslmode=require` for TLS.
    pub connect: String,
    /// Password. Keep it in the environment: EVERGREEN_OUTCOMES__POSTGRES__PASSWORD.
    pub password: String,
    /// File (PEM) with CA certificates for the server. Empty: those of the system.
    pub ca: PathBuf,
    /// Schema of the tables. Empty: the user's search path.
    pub schema: String,
}

impl Default for OutcomesSection {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            postgres: None,
            score_days: 7,
            share: 1.0,
            keep_days: 400,
            folder_bytes: 1 << 30,
            most_outcomes: 1_000_000,
            refresh: Span(Duration::from_secs(60)),
            hold_out: 0.0,
            hold_out_salt: String::new(),
        }
    }
}

impl OutcomesSection {
    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        rebase(&mut self.folder, base);
        if let Some(postgres) = &mut self.postgres {
            rebase(&mut postgres.ca, base);
        }
    }

    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        if !self.folder.as_os_str().is_empty() && self.postgres.is_some() {
            return Err("outcomes: set folder or the table postgres, not both".to_owned());
        }
        for (key, days) in [("score_days", self.score_days), ("keep_days", self.keep_days)] {
            if !(1..=MOST_DAYS).contains(&days) {
                return Err(format!("outcomes.{key}: expected 1 to {MOST_DAYS}, found {days}"));
            }
        }
        if self.share.is_nan() || self.share <= 0.0 || self.share > 1.0 {
            let found = self.share;
            return Err(format!(
                "outcomes.share: expected a share above 0 up to 1, such as 0.1, found {found}"
            ));
        }
        if !(0.0..=MOST_HELD_OUT).contains(&self.hold_out) {
            let found = self.hold_out;
            return Err(format!(
                "outcomes.hold_out: expected 0 to {MOST_HELD_OUT}, such as 0.05, found {found}"
            ));
        }
        if self.most_outcomes == 0 || self.folder_bytes == 0 {
            return Err(
                "outcomes: expected most_outcomes and folder_bytes of at least 1, found 0; remove the key to use the \
                 default"
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
    fn wrong_values_are_named() {
        assert!(OutcomesSection::default().validate().is_ok());
        let wrong = |change: fn(&mut OutcomesSection), part: &str| {
            let mut section = OutcomesSection::default();
            change(&mut section);
            let error = section.validate().unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        wrong(|section| section.hold_out = 0.9, "hold_out: expected 0 to 0.5");
        wrong(|section| section.share = 0.0, "share: expected a share above 0");
        wrong(|section| section.score_days = 0, "score_days: expected 1 to 3650");
        wrong(|section| section.most_outcomes = 0, "at least 1");
        let both = |section: &mut OutcomesSection| {
            section.folder = "outcomes".into();
            section.postgres = Some(OutcomesPostgres::default());
        };
        wrong(both, "not both");
    }
}
