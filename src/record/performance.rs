//! The performance of a model: its scores compared with what became of the customers, by version and by week, and what the
//! scores promise of themselves while nothing is known yet.

mod compute;
pub mod label;
pub mod refresh;
pub mod report;
mod slice;
mod text;

use std::collections::BTreeMap;

use label::{LabelRules, label};
use slice::Slice;

use crate::models::contract::OutcomeSection;
use crate::record::outcomes::ScoreRecord;
use crate::record::outcomes::interface::{CustomerEvent, ScoreVisitor};
use crate::record::outcomes::{DAY, period};
use crate::values::entity_id::IdRef;
use crate::values::id_hash::IdHasher;

/// Versions that are evaluated: the newest ones.
const MOST_VERSIONS: usize = 8;

/// Weeks of a version that are evaluated one by one: the latest ones. Older scores count for the version as a whole.
const MOST_WEEKS: usize = 60;

/// Days of a week.
const WEEK: u32 = 7;

/// By what rules scores are compared with outcomes. Those of the live version hold for all versions, so that they can be
/// compared with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The section of the contract.
    pub outcome: OutcomeSection,
    /// The score from which a customer is at risk: the start of the highest band, or 0.5 without bands.
    pub threshold: f64,
    /// The name of that band.
    pub band: Option<String>,
}

/// Sums over the scores of a model. Takes memory for bins, not for scores.
#[derive(Debug)]
pub struct Evaluation {
    definition: Definition,
    rules: LabelRules,
    /// Microseconds since the Unix epoch.
    now: i64,
    versions: BTreeMap<u64, VersionSlices>,
    /// Scores of versions that are not evaluated.
    older: u64,
}

/// The sums of one version.
#[derive(Debug, Default)]
struct VersionSlices {
    whole: Slice,
    /// By the first day of the week.
    weeks: BTreeMap<i64, Slice>,
}

impl Evaluation {
    /// Begins an evaluation as of `now`, in microseconds since the Unix epoch.
    pub fn new(definition: Definition, now: i64) -> Self {
        Self {
            rules: LabelRules::of(&definition.outcome),
            definition,
            now,
            versions: BTreeMap::new(),
            older: 0,
        }
    }

    /// The sums of a version; `None` if there are enough newer ones.
    fn version(&mut self, version: u64) -> Option<&mut VersionSlices> {
        if !self.versions.contains_key(&version) && self.versions.len() >= MOST_VERSIONS {
            let oldest = *self.versions.keys().next()?;
            if oldest > version {
                return None;
            }
            let gone = self.versions.remove(&oldest)?;
            self.older += gone.whole.scores();
        }
        Some(self.versions.entry(version).or_default())
    }
}

impl ScoreVisitor for Evaluation {
    fn visit(&mut self, score: &ScoreRecord, events: &[CustomerEvent]) {
        let found = label(self.rules, score.at, events, self.now);
        let threshold = self.definition.threshold;
        let Some(version) = self.version(score.version) else {
            self.older += 1;
            return;
        };
        let customer = IdHasher::new(&score.model).hash(IdRef::Text(&score.customer));
        version.whole.add(score, customer, found, threshold);
        let day = period(score.at, WEEK) * i64::from(WEEK) - 3;
        let oldest = version.weeks.first_key_value().map(|(&week, _)| week);
        let full = version.weeks.len() >= MOST_WEEKS && !version.weeks.contains_key(&day);
        if full && oldest.is_some_and(|oldest| oldest > day) {
            return;
        }
        if full {
            version.weeks.pop_first();
        }
        let week = version.weeks.entry(day).or_default();
        week.add(score, customer, found, threshold);
    }
}

/// A number of days in microseconds.
fn days(days: u32) -> i64 {
    i64::from(days) * DAY
}
