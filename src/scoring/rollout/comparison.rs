//! Compares the scores of two versions for the same entities: their difference, and changes of the band.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Histogram, IntCounter};
use rustc_hash::FxHashSet;

/// Inner edges of the bins of the difference: the candidate's score minus the base's.
pub const EDGES: [f64; 13] = [
    -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2,
];

/// Maximum number of distinct customers counted, to bound the memory.
const MOST_CUSTOMERS: usize = 1 << 18;

/// The kind of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// The candidate answers for a share of the entities.
    Canary,
    /// The candidate does not answer.
    Shadow,
}

impl TrialKind {
    /// The name in answers and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

/// The metrics of a comparison.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each counts what the field of the same name in TrialFigures does"
)]
pub struct TrialCounters {
    pub same_band: IntCounter,
    pub up: IntCounter,
    pub down: IntCounter,
    pub failed: IntCounter,
    pub dropped: IntCounter,
    pub difference: Histogram,
}

/// A running comparison.
#[derive(Debug)]
pub struct Comparison {
    /// The kind of the trial.
    pub kind: TrialKind,
    /// The live version.
    pub base: u64,
    /// The version on trial.
    pub candidate: u64,
    handles: TrialCounters,
    same_score: AtomicU64,
    same_band: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    bins: [AtomicU64; EDGES.len() + 1],
    customers: Mutex<Customers>,
}

/// Distinct customers by the hash of their id.
#[derive(Debug, Default)]
struct Customers {
    seen: FxHashSet<u64>,
    moved: u64,
}

/// A comparison at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialFigures {
    /// Entities with bit-identical scores.
    pub same_score: u64,
    /// Entities in the same band.
    pub same_band: u64,
    /// Entities that the candidate put into a higher band.
    pub up: u64,
    /// Entities that the candidate put into a lower band.
    pub down: u64,
    /// Entities that only one version could score.
    pub failed: u64,
    /// Entities not compared for lack of time.
    pub dropped: u64,
    /// Entities by the difference of the scores, in the bins of [`EDGES`].
    pub bins: Vec<u64>,
    /// Distinct customers.
    pub customers: u64,
    /// Customers whose band differed when they were first seen.
    pub moved: u64,
}

impl TrialFigures {
    /// Entities compared.
    pub fn compared(&self) -> u64 {
        self.same_band + self.up + self.down
    }

    /// Percentage of customers that the candidate would move across a band.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    pub fn moved_percent(&self) -> f64 {
        100.0 * self.moved as f64 / self.customers.max(1) as f64
    }
}

/// The score of one entity and the position of its band; `None` without a score.
pub(super) type ScoreAndBand = Option<(f64, Option<usize>)>;

impl Comparison {
    /// Creates a comparison without counts.
    pub fn new(kind: TrialKind, base: u64, candidate: u64, handles: TrialCounters) -> Self {
        Self {
            kind,
            base,
            candidate,
            handles,
            same_score: AtomicU64::new(0),
            same_band: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bins: std::array::from_fn(|_| AtomicU64::new(0)),
            customers: Mutex::default(),
        }
    }

    /// Counts one entity; `customer` is the hash of its id.
    pub(super) fn add(&self, customer: Option<u64>, base: ScoreAndBand, candidate: ScoreAndBand) {
        let (Some((base, base_band)), Some((candidate, candidate_band))) = (base, candidate) else {
            if base.is_some() != candidate.is_some() {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.handles.failed.inc();
            }
            return;
        };
        let difference = candidate - base;
        self.handles.difference.observe(difference);
        let bin = EDGES.partition_point(|&edge| edge <= difference);
        self.bins[bin].fetch_add(1, Ordering::Relaxed);
        if base.to_bits() == candidate.to_bits() {
            self.same_score.fetch_add(1, Ordering::Relaxed);
        }
        let (count, handle) = match candidate_band.cmp(&base_band) {
            std::cmp::Ordering::Equal => (&self.same_band, &self.handles.same_band),
            std::cmp::Ordering::Greater => (&self.up, &self.handles.up),
            std::cmp::Ordering::Less => (&self.down, &self.handles.down),
        };
        count.fetch_add(1, Ordering::Relaxed);
        handle.inc();
        if let Some(customer) = customer {
            let mut customers = self
                .customers
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if customers.seen.len() < MOST_CUSTOMERS && customers.seen.insert(customer) {
                customers.moved += u64::from(candidate_band != base_band);
            }
        }
    }

    /// Counts entities that were not compared for lack of time.
    pub(super) fn dropped(&self, entities: usize) {
        self.dropped.fetch_add(entities as u64, Ordering::Relaxed);
        self.handles.dropped.inc_by(entities as u64);
    }

    /// The figures now.
    pub fn figures(&self) -> TrialFigures {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let customers = self
            .customers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        TrialFigures {
            same_score: get(&self.same_score),
            same_band: get(&self.same_band),
            up: get(&self.up),
            down: get(&self.down),
            failed: get(&self.failed),
            dropped: get(&self.dropped),
            bins: self.bins.iter().map(get).collect(),
            customers: customers.seen.len() as u64,
            moved: customers.moved,
        }
    }

    /// A summary for operators, in one sentence.
    pub fn summary(&self) -> String {
        let figures = self.figures();
        let (candidate, customers, percent) = (self.candidate, figures.customers, figures.moved_percent());
        format!(
            "version {candidate} would have moved {percent:.1}% of {customers} customers across a band ({} of {} scores \
             went up a band, {} down)",
            figures.up,
            figures.compared(),
            figures.down
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    fn comparison() -> Comparison {
        let registry = Registry::default();
        let counters = registry.counters("test_total", "help", &["result"]).unwrap();
        let histograms = registry
            .histograms("test_difference", "help", &["kind"], &EDGES)
            .unwrap();
        let counter = |result: &str| counters.with_label_values(&[result]);
        let handles = TrialCounters {
            same_band: counter("same_band"),
            up: counter("up"),
            down: counter("down"),
            failed: counter("failed"),
            dropped: counter("dropped"),
            difference: histograms.with_label_values(&["shadow"]),
        };
        Comparison::new(TrialKind::Shadow, 1, 2, handles)
    }

    #[test]
    fn scores_and_bands_are_compared() {
        let comparison = comparison();
        comparison.add(Some(1), Some((0.25, Some(1))), Some((0.25, Some(1))));
        comparison.add(Some(2), Some((0.25, Some(1))), Some((0.75, Some(2))));
        comparison.add(Some(3), Some((0.75, Some(2))), Some((0.25, Some(1))));
        comparison.dropped(5);
        let figures = comparison.figures();
        assert_eq!(
            (figures.same_score, figures.same_band, figures.up, figures.down),
            (1, 1, 1, 1)
        );
        assert_eq!((figures.compared(), figures.failed, figures.dropped), (3, 0, 5));
        assert_eq!((figures.customers, figures.moved), (3, 2));
        assert_eq!(comparison.handles.up.get(), 1);
        // Differences of -0.5, 0 and 0.5: a bin holds its lower edge.
        let bins: Vec<usize> = (0..figures.bins.len())
            .filter(|&bin| figures.bins[bin] == 1)
            .collect();
        assert_eq!(bins, [1, 7, EDGES.len()]);
    }

    #[test]
    fn an_entity_that_one_version_alone_scores_is_failed_and_one_that_none_scores_is_not_counted() {
        let comparison = comparison();
        comparison.add(Some(1), Some((0.5, None)), None);
        comparison.add(Some(2), None, Some((0.5, None)));
        comparison.add(Some(3), None, None);
        let figures = comparison.figures();
        assert_eq!((figures.failed, figures.compared(), figures.customers), (2, 0, 0));
    }

    #[test]
    fn a_customer_counts_once_with_the_first_comparison() {
        let comparison = comparison();
        comparison.add(Some(7), Some((0.5, Some(1))), Some((0.5, Some(1))));
        comparison.add(Some(7), Some((0.5, Some(1))), Some((0.9, Some(2))));
        comparison.add(None, Some((0.5, Some(1))), Some((0.9, Some(2))));
        let figures = comparison.figures();
        assert_eq!((figures.compared(), figures.customers, figures.moved), (3, 1, 0));
    }
}
