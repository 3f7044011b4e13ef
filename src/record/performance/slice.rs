//! The sums of a set of scores, such as those of one version in one week.

use super::label::{Label, ScoreState};
use crate::record::outcomes::ScoreRecord;
use crate::statistics::number;
use crate::statistics::repeats::RepeatCount;
use crate::statistics::score_bins::ScoreBins;
use crate::statistics::sums::{KnownSums, ScoreSums};

/// Sums over scores.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    /// Scores of customers who had left before; they count nowhere else.
    pub(super) gone: u64,
    /// Scores whose horizon or grace period is not over.
    pub(super) pending: u64,
    /// Scores that nobody knows the result of.
    pub(super) unknown: u64,
    /// All scores but those of `gone`.
    pub(super) all: ScoreSums,
    /// Scores with a known result.
    pub(super) known: KnownSums,
    pub(super) bins: ScoreBins,
    /// Contact and hold-out of scores with a known result.
    pub(super) contact: ContactCounts,
    /// The same for those at or above the threshold.
    pub(super) contact_at_risk: ContactCounts,
    all_customers: RepeatCount,
    known_customers: RepeatCount,
}

/// Customers that stayed and left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupCount {
    pub(super) stayed: u64,
    pub(super) left: u64,
}

impl GroupCount {
    pub(super) fn whole(self) -> u64 {
        self.stayed + self.left
    }

    fn plus(self, other: Self) -> Self {
        Self {
            stayed: self.stayed + other.stayed,
            left: self.left + other.left,
        }
    }
}

/// Customers by hold-out and contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContactCounts {
    groups: [[GroupCount; 2]; 2],
}

impl ContactCounts {
    fn add(&mut self, hold_out: bool, contacted: bool, left: bool) {
        let group = &mut self.groups[usize::from(hold_out)][usize::from(contacted)];
        match left {
            true => group.left += 1,
            false => group.stayed += 1,
        }
    }

    /// Those in or outside of the hold-out, contacted or not.
    pub(super) fn group(&self, hold_out: bool, contacted: bool) -> GroupCount {
        self.groups[usize::from(hold_out)][usize::from(contacted)]
    }

    /// Those in or outside of the hold-out.
    pub(super) fn hold_out(&self, hold_out: bool) -> GroupCount {
        self.group(hold_out, true).plus(self.group(hold_out, false))
    }

    /// Those contacted or not.
    pub(super) fn contacted(&self, contacted: bool) -> GroupCount {
        self.group(true, contacted).plus(self.group(false, contacted))
    }
}

impl Slice {
    pub(super) fn add(&mut self, score: &ScoreRecord, customer: u64, label: Label, threshold: f64) {
        if label.state == ScoreState::Gone {
            self.gone += 1;
            return;
        }
        self.all.add(score.score, threshold);
        self.bins.add(score.score);
        self.all_customers.add(customer);
        let left = match label.state {
            ScoreState::Pending => {
                self.pending += 1;
                return;
            }
            ScoreState::Unknown | ScoreState::Gone => {
                self.unknown += 1;
                return;
            }
            ScoreState::Stayed => false,
            ScoreState::Left => true,
        };
        self.known.add(score.score, left, threshold);
        self.bins.add_known(score.score, left);
        self.known_customers.add(customer);
        self.contact.add(score.hold_out, label.contacted, left);
        if score.score >= threshold {
            self.contact_at_risk.add(score.hold_out, label.contacted, left);
        }
    }

    /// All scores.
    pub(super) fn scores(&self) -> u64 {
        self.all.count + self.gone
    }

    /// Scores whose horizon and grace period are over.
    pub(super) fn matured(&self) -> u64 {
        self.known.count + self.unknown
    }

    /// Customers with a known result.
    pub(super) fn customers(&self) -> f64 {
        number(self.known.count) / self.known_customers.scores_per_customer()
    }

    /// By how much the variance is larger than that of as many independent scores: scores of one customer are alike, so a
    /// customer counts once.
    pub(super) fn known_design(&self) -> f64 {
        self.known_customers.design_effect()
    }

    /// The same for all scores.
    pub(super) fn all_design(&self) -> f64 {
        self.all_customers.design_effect()
    }
}
