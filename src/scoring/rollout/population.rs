//! Compares two versions on the same customers before the newer one answers anybody. The customers come from the
//! snapshot or a file of the operator, each once and without values of a request: who asks has no influence.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::unread_metrics::UnreadMetrics;
use crate::error::{Error, ErrorKind};
use crate::features::snapshot::Snapshot;
use crate::models::rank;
use crate::scoring::batch::{EntityBatch, fetch};
use crate::scoring::explain::Wanted;
use crate::scoring::outcome::{EntityScore, Outcome, Score};
use crate::scoring::request::Entity;
use crate::scoring::servable::Servable;
use crate::spans::RequestSpan;
use crate::values::entity_id::EntityId;
use crate::values::time;

/// The most customers that are compared, to bound the time.
pub const MOST_CUSTOMERS: usize = 5000;

/// Customers whose features are fetched at once.
const BATCH: usize = 500;

/// The longest duration of a comparison; what was compared until then counts.
const TIME: Duration = Duration::from_secs(10);

/// The longest wait for the features of a batch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// What one version answers for the compared customers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionCounts {
    /// Customers with a score.
    pub scored: u64,
    /// Customers without one, although their features could be read.
    pub failed: u64,
    /// Failed customers whose score was not finite.
    pub not_finite: u64,
    /// Scores in each bin of the version's own reference; empty without one.
    pub bins: Vec<u64>,
    /// Scores at training in each bin.
    pub expected: Vec<u64>,
}

/// What two versions answer for the same customers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PopulationCounts {
    /// The live version.
    pub base: VersionCounts,
    /// The version that is to replace it.
    pub candidate: VersionCounts,
    /// Customers whose band differs, of those that both versions score.
    pub moved: u64,
    /// Customers with another score, or with a score from one version only.
    pub differing: u64,
    /// Customers that the live version scores, while a source of the newer one is unavailable.
    pub unavailable: u64,
    /// The rank correlation of both scores; `None` without customers that both versions score.
    pub agreement: Option<f64>,
}

/// Ids spread evenly over the rows of a snapshot, at most [`MOST_CUSTOMERS`].
pub fn sample(snapshot: &Snapshot) -> Vec<EntityId> {
    spread(snapshot.len())
        .filter_map(|row| snapshot.id(row))
        .collect()
}

/// Positions spread evenly over `count`, at most [`MOST_CUSTOMERS`].
pub fn spread(count: usize) -> impl Iterator<Item = usize> {
    let chosen = count.min(MOST_CUSTOMERS);
    (0..chosen).map(move |position| position * count / chosen)
}

/// Scores the customers `ids` by both versions. A customer that the live version cannot score for lack of its features is
/// left out: it says nothing about the versions.
///
/// # Errors
/// A version lacks an output that its score needs.
pub fn compare(
    base: &Servable,
    candidate: &Servable,
    ids: &[EntityId],
    runtime: &Handle,
) -> Result<PopulationCounts, Error> {
    let metrics = UnreadMetrics::new().map_err(|error| Error::internal(error.to_string()))?;
    let (base, candidate) = (
        base.counting_in(&metrics.features),
        candidate.counting_in(&metrics.features),
    );
    let mut counts = PopulationCounts {
        base: VersionCounts::of(&base),
        candidate: VersionCounts::of(&candidate),
        ..PopulationCounts::default()
    };
    let mut pairs = Vec::with_capacity(ids.len());
    let end = Instant::now() + TIME;
    for ids in ids.chunks(BATCH) {
        // An operator's command must not wait, and a store that is away must not be asked again and again.
        if Instant::now() >= end || counts.unavailable > 0 {
            break;
        }
        let before = score(&base, ids, runtime, &metrics)?;
        let after = score(&candidate, ids, runtime, &metrics)?;
        for (before, after) in before.iter().zip(&after) {
            if says_nothing(before) {
                continue;
            }
            if says_nothing(after) {
                counts.unavailable += u64::from(matches!(before.outcome, Outcome::Scored(_)));
                continue;
            }
            counts.differing += u64::from(bits(before) != bits(after));
            counts.base.add(&base, before);
            counts.candidate.add(&candidate, after);
            if let (Outcome::Scored(before), Outcome::Scored(after)) = (&before.outcome, &after.outcome) {
                counts.moved += u64::from(band(&base, before) != band(&candidate, after));
                pairs.push((before.score, after.score));
            }
        }
    }
    counts.agreement = rank::correlation(&pairs);
    counts.base.not_finite = base.not_finite.load(Ordering::Relaxed);
    counts.candidate.not_finite = candidate.not_finite.load(Ordering::Relaxed);
    Ok(counts)
}

fn score(
    servable: &Servable,
    ids: &[EntityId],
    runtime: &Handle,
    metrics: &UnreadMetrics,
) -> Result<Vec<EntityScore>, Error> {
    let entities: Vec<Entity> = ids
        .iter()
        .map(|id| Entity {
            id: Some(id.clone()),
            features: Vec::new(),
        })
        .collect();
    let now = time::now();
    let deadline = Some(Instant::now() + FETCH_TIMEOUT);
    let fetched = runtime.block_on(fetch(servable, &entities, now, deadline, &RequestSpan::default()));
    let batch = EntityBatch {
        servable,
        entities,
        explain: Wanted::default(),
        fetched,
        now,
        span: RequestSpan::default(),
        recording: None,
    };
    batch.score(&metrics.scoring, None)
}

/// Whether an outcome is due to the sources, not to the version.
fn says_nothing(score: &EntityScore) -> bool {
    match &score.outcome {
        Outcome::Scored(score) => !score.unavailable.is_empty(),
        Outcome::Failed(error) => !matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Internal),
    }
}

/// The bits of a score; `None` without one.
fn bits(score: &EntityScore) -> Option<u64> {
    match &score.outcome {
        Outcome::Scored(score) => Some(score.score.to_bits()),
        Outcome::Failed(_) => None,
    }
}

/// The position of the band of a score.
fn band(servable: &Servable, score: &Score) -> Option<usize> {
    let name = score.band.as_ref()?;
    servable.bands.iter().position(|band| band.name == *name)
}

impl VersionCounts {
    /// No counts, with the bins of the version's reference.
    fn of(servable: &Servable) -> Self {
        let reference = servable.model.reference.as_ref();
        let score = reference.and_then(|reference| reference.score.as_ref());
        let expected = score.map(|score| score.counts.clone()).unwrap_or_default();
        Self {
            bins: vec![0; expected.len()],
            expected,
            ..Self::default()
        }
    }

    fn add(&mut self, servable: &Servable, score: &EntityScore) {
        let Outcome::Scored(score) = &score.outcome else {
            self.failed += 1;
            return;
        };
        self.scored += 1;
        let reference = servable.model.reference.as_ref();
        if let Some(reference) = reference.and_then(|reference| reference.score.as_ref()) {
            let bin = reference.edges.partition_point(|&edge| edge <= score.value);
            self.bins[bin] += 1;
        }
    }

    /// Customers with or without a score.
    pub fn compared(&self) -> u64 {
        self.scored + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_all_rows_and_bounded() {
        assert_eq!(spread(0).count(), 0);
        assert_eq!(spread(3).collect::<Vec<_>>(), [0, 1, 2]);
        let chosen: Vec<usize> = spread(4 * MOST_CUSTOMERS).collect();
        assert_eq!(
            (chosen.len(), chosen[1], chosen.last()),
            (MOST_CUSTOMERS, 4, Some(&(4 * MOST_CUSTOMERS - 4)))
        );
    }
}
