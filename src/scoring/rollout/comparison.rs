//! Two versions side by side on the same customers: how far apart, and who would move across a band.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Histogram, IntCounter};
use rustc_hash::FxHashSet;

/// Inner edges of the bins of the candidate's score less the base's.
pub const EDGES: [f64; 13] = [
    -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2,
];

/// Customers told apart; beyond that they are counted no more, for memory is bounded.
const MOST_CUSTOMERS: usize = 1 << 18;

/// What two versions are compared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// The candidate answers for a share.
    Canary,
    /// The candidate does not answer.
    Shadow,
}

impl TrialKind {
    /// As it stands in answers and in metrics.
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
    /// What for.
    pub kind: TrialKind,
    /// The version that answers.
    pub base: u64,
    /// The version being tried.
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

/// Customers by the hash of their id: each counts once, however often it is asked for.
#[derive(Debug, Default)]
struct Customers {
    seen: FxHashSet<u64>,
    moved: u64,
}

/// A comparison at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialFigures {
    /// Entities whose scores were the same, bit for bit.
    pub same_score: u64,
    /// Entities that were in the same band.
    pub same_band: u64,
    /// Entities that the candidate put into a higher band.
    pub up: u64,
    /// Entities that the candidate put into a lower band.
    pub down: u64,
    /// Entities that only one of the two gave a score.
    pub failed: u64,
    /// Entities not compared, for there was no time.
    pub dropped: u64,
    /// Entities by the candidate's score less the base's; the bins of [`EDGES`].
    pub bins: Vec<u64>,
    /// Different customers among them.
    pub customers: u64,
    /// Customers that changed their band when they were first seen.
    pub moved: u64,
}

impl TrialFigures {
    /// Entities compared.
    pub fn compared(&self) -> u64 {
        self.same_band + self.up + self.down
    }

    /// Customers in a hundred that the candidate would move across a band.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    pub fn moved_percent(&self) -> f64 {
        100.0 * self.moved as f64 / self.customers.max(1) as f64
    }
}

/// What one version says of one entity: the score, and the place of its band.
pub(super) type ScoreAndBand = Option<(f64, Option<usize>)>;

impl Comparison {
    /// One without figures.
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

    /// Takes one entity into account; `customer` is its hash.
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

    /// Counts entities that there was no time for.
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

    /// What an operator wants to know, in one sentence.
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
