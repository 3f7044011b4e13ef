//! What may have moved in a feature beside the distribution of its values: shares of rows, each compared with the usual one.

use super::{Drift, LEAST_ROWS, Thresholds, share};

use crate::models::input::ModelInput;
use crate::observe::bins::FeatureBins;
use crate::observe::distance::{Distance, share_at_least};
use crate::observe::window::Window;
use crate::values::feature_type::FeatureType;

/// Divided by the values at training: the share of all values that may be beyond them by chance. What is below the least and
/// above the greatest of `n` values has the distribution Beta(2, n - 1), which is above 14 / n once in 80,000 times.
const BEYOND_BY_CHANCE: f64 = 14.0;

/// From which part of the usual share on values other than the default have become rare.
const RARE_PART: f64 = 0.5;

/// What has moved in a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The distribution of its values.
    Values,
    /// Values are below the least or above the greatest at training. The outer bins have no end, so that the distribution
    /// alone may not show it.
    BeyondTraining,
    /// Values are out of range, or categories unknown at training.
    OutOfRange,
    /// Values are too old.
    Stale,
    /// No source has it.
    Missing,
    /// The contract's default stands where training had other values. Where most rows have the default's value, the
    /// distribution hardly shows it.
    Default,
}

/// A feature in a window, beside what it was at training.
pub(super) struct Compared<'a> {
    pub(super) input: &'a ModelInput,
    /// Its position among the model's inputs.
    pub(super) position: usize,
    pub(super) bins: &'a FeatureBins,
    /// Rows in the window, by bin.
    pub(super) counts: &'a [u64],
    pub(super) window: &'a Window,
    /// The distribution of its values.
    pub(super) values: &'a Drift,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::Values,
        Self::BeyondTraining,
        Self::OutOfRange,
        Self::Stale,
        Self::Missing,
        Self::Default,
    ];

    /// The name in answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::BeyondTraining => "beyond_training",
            Self::OutOfRange => "out_of_range",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Default => "default",
        }
    }
}

impl Compared<'_> {
    /// What has moved, at the level of one of all features.
    pub(super) fn causes(&self, thresholds: Thresholds) -> Vec<Cause> {
        let [missing, null, stale, out_of_range, _] = self.window.statuses(self.position);
        let absent = missing + null;
        // Training knows how often there is no value, but not whether a source lacked it. That share is itself from a sample,
        // and there are many features: the rise must be a discovery on its own.
        let (without, trained) = (self.bins.expected.last().copied().unwrap_or(0), self.trained());
        let more_absent = self.differs(without, absent, thresholds)
            && self.rises(absent, share(without, trained), thresholds);
        #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
        let by_chance = BEYOND_BY_CHANCE / (trained - without).max(1) as f64;
        let is_time = self.input.contract.kind == FeatureType::Timestamp;
        let beyond = !is_time && self.rises(self.window.beyond(self.position), by_chance, thresholds);
        // Said by the others too, as the sentences of the distribution and of missing values tell of defaults.
        let told = is_time || self.values.drifted || more_absent;
        let replaced = !told && self.default_replaces_values(thresholds);
        let candidates = [
            (Cause::Values, self.values.drifted),
            (Cause::BeyondTraining, beyond),
            (Cause::OutOfRange, self.rises(out_of_range, 0.0, thresholds)),
            (Cause::Stale, self.rises(stale, 0.0, thresholds)),
            (Cause::Missing, more_absent),
            (Cause::Default, replaced),
        ];
        let found = candidates.into_iter().filter(|(_, found)| *found);
        found.map(|(cause, _)| cause).collect()
    }

    /// Whether the default stands for rows, and values other than it have become rare.
    fn default_replaces_values(&self, thresholds: Thresholds) -> bool {
        let [.., defaulted] = self.window.statuses(self.position);
        others(self.input, self.bins, self.counts).is_some_and(|(usual, now)| {
            share(now, self.window.rows) <= RARE_PART * share(usual, self.trained())
                && self.differs(usual, now, thresholds)
                && self.rises(defaulted, 0.0, thresholds)
        })
    }

    /// Whether a share is above the usual one by more than the least rise, with certainty.
    fn rises(&self, count: u64, usual: f64, thresholds: Thresholds) -> bool {
        let rows = self.window.rows;
        rows >= LEAST_ROWS && share_at_least(count, rows) > usual + thresholds.share
    }

    /// Whether a share differs from that at training beyond chance.
    fn differs(&self, trained: u64, now: u64, thresholds: Thresholds) -> bool {
        let split = |count: u64, rows: u64| [rows.saturating_sub(count), count.min(rows)];
        Distance::of(&split(trained, self.trained()), &split(now, self.window.rows))
            .is_some_and(|distance| distance.p_value <= thresholds.level)
    }

    /// Rows at training.
    fn trained(&self) -> u64 {
        self.bins.expected.iter().sum()
    }
}

/// Rows with a value in another bin than the default's: at training and in the window; `None` without a default.
pub(super) fn others(input: &ModelInput, bins: &FeatureBins, counts: &[u64]) -> Option<(u64, u64)> {
    let default = bins.bin(input.default?);
    let present = bins.expected.len() - 1;
    let others = |counts: &[u64]| {
        let others = counts.iter().take(present).enumerate();
        others
            .filter(|(bin, _)| *bin != default)
            .map(|(_, count)| count)
            .sum()
    };
    Some((others(&bins.expected), others(counts)))
}
