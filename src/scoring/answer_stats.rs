//! What a version's answers are like: counted while it serves, so that one that misbehaves is noticed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::models::ModelVersion;
use crate::models::reference::Bins;

/// Counts of a version's answers, since it was loaded.
#[derive(Debug, Default)]
pub struct AnswerStats {
    scored: AtomicU64,
    failed: AtomicU64,
    non_finite: AtomicU64,
    /// Inner edges of the bins, as at training.
    edges: Vec<f64>,
    /// What training had in each bin.
    expected: Vec<u64>,
    bins: Vec<AtomicU64>,
}

/// A tally at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerCounts {
    /// Entities or rows that got a score.
    pub scored: u64,
    /// Entities that got none though their id was known and their features could be read.
    pub failed: u64,
    /// Those among the failed whose score was no finite number.
    pub non_finite: u64,
    /// Scores in each of the training's bins.
    pub bins: Vec<u64>,
    /// Training's scores in the same bins.
    pub expected: Vec<u64>,
}

impl AnswerStats {
    /// Empty, with the bins of the model's training-time scores.
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

    /// Counts a model's value that became a score.
    pub(super) fn scored(&self, value: f64) {
        self.scored.fetch_add(1, Ordering::Relaxed);
        let bin = self.edges.partition_point(|&edge| edge <= value);
        if let Some(bin) = self.bins.get(bin) {
            bin.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a score that is no finite number; its entity is one of the failed.
    pub(super) fn not_finite(&self) {
        self.non_finite.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an entity that got no score.
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
