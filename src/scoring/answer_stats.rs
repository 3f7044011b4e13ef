//! Statistics of the answers of a version, for its probation.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::models::ModelVersion;
use crate::models::reference::Bins;

/// Counts of the answers of a version since it was loaded.
#[derive(Debug, Default)]
pub struct AnswerStats {
    scored: AtomicU64,
    failed: AtomicU64,
    non_finite: AtomicU64,
    /// Inner edges of the bins of the reference distribution.
    edges: Vec<f64>,
    /// Scores at training in each bin.
    expected: Vec<u64>,
    bins: Vec<AtomicU64>,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerCounts {
    /// Entities with a score.
    pub scored: u64,
    /// Entities without a score although their id is known and their features could be read.
    pub failed: u64,
    /// Failed entities whose score was not finite.
    pub non_finite: u64,
    /// Scores in each bin.
    pub bins: Vec<u64>,
    /// Scores at training in each bin.
    pub expected: Vec<u64>,
}

impl AnswerStats {
    /// Starts with no counts, and the bins of the model's reference distribution.
    pub fn of(model: &ModelVersion) -> Self {
        let score = model
            .reference
            .as_ref()
            .and_then(|reference| reference.score.as_ref());
        match score {
            Some(Bins { edges, counts, .. }) => Self {
                edges: edges.clone(),
                expected: counts.clone(),
                bins: counts.iter().map(|_| AtomicU64::new(0)).collect(),
                ..Self::default()
            },
            None => Self::default(),
        }
    }

    /// Counts a score by its value before calibration.
    pub(super) fn scored(&self, value: f64) {
        self.scored.fetch_add(1, Ordering::Relaxed);
        let bin = self.edges.partition_point(|&edge| edge <= value);
        if let Some(bin) = self.bins.get(bin) {
            bin.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a score that is not finite; its entity also counts as failed.
    pub(super) fn not_finite(&self) {
        self.non_finite.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an entity without a score.
    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> AnswerCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AnswerCounts {
            scored: get(&self.scored),
            failed: get(&self.failed),
            non_finite: get(&self.non_finite),
            bins: self.bins.iter().map(get).collect(),
            expected: self.expected.clone(),
        }
    }
}
