//! Shadow scoring: a thread scores copies of answered entities by the other version of a trial and compares. Requests
//! never wait for it; copies beyond its capacity are dropped and counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::Share;
use super::comparison::{Comparison, ScoreAndBand};
use super::unread_metrics::UnreadMetrics;
use crate::os;
use crate::scoring::batch::{EntityBatch, fetch};
use crate::scoring::explain::Wanted;
use crate::scoring::metrics::ScoringMetrics;
use crate::scoring::outcome::{EntityScore, Outcome};
use crate::scoring::request::Entity;
use crate::scoring::servable::Servable;
use crate::spans::RequestSpan;
use crate::values::band::Band;
use crate::values::id_hash::IdHasher;
use crate::values::time;

/// Requests that may wait for the thread; further ones are dropped.
const WAITING: usize = 64;

/// Entities of one request that are compared; further ones are dropped.
const MOST_ENTITIES: usize = 1000;

/// The longest wait for features.
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);

/// One side of a trial: the version that answers, and the other one that scores copies.
#[derive(Clone, Copy)]
pub(in crate::scoring) struct TrialSide<'a> {
    /// The trial.
    pub(in crate::scoring) share: &'a Share,
    /// The version that scores the copies.
    pub(in crate::scoring) other: &'a Arc<Servable>,
}

/// Copies of the entities of one request that belong to a trial.
pub(in crate::scoring) struct Copies {
    positions: Vec<usize>,
    entities: Vec<Entity>,
}

impl Copies {
    /// Copies those of `entities` that belong to the trial.
    pub(in crate::scoring) fn of(side: &TrialSide<'_>, entities: &[Entity]) -> Self {
        let included = entities.iter().enumerate();
        let included = included.filter(|(_, entity)| side.share.includes(entity));
        let (positions, entities) = included
            .map(|(position, entity)| (position, entity.clone()))
            .unzip();
        Self { positions, entities }
    }
}

/// Answered entities that the other version is to score.
#[derive(Debug)]
struct ShadowJob {
    entities: Vec<Entity>,
    /// What was answered for each.
    answered: Vec<ScoreAndBand>,
    other: Arc<Servable>,
    /// Whether the candidate answered.
    by_candidate: bool,
    comparison: Arc<Comparison>,
    /// The runtime to fetch features on.
    runtime: tokio::runtime::Handle,
}

/// Sends copies to the thread.
#[derive(Debug)]
pub(in crate::scoring) struct ShadowScorer {
    jobs: SyncSender<ShadowJob>,
}

impl ShadowScorer {
    /// Starts the thread; it ends when this is dropped.
    pub(in crate::scoring) fn start() -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(move || work(&waiting))?;
        Ok(Self { jobs })
    }

    /// Sends the copies of a request that `by` has answered with `results`. Must be called on a runtime.
    pub(in crate::scoring) fn send(
        &self,
        side: &TrialSide<'_>,
        by: &Arc<Servable>,
        copies: Copies,
        results: &[EntityScore],
    ) {
        if copies.entities.is_empty() {
            return;
        }
        let answered = copies.positions.iter().map(|&position| {
            results
                .get(position)
                .and_then(|result| score_and_band(result, &by.bands))
        });
        let mut job = ShadowJob {
            answered: answered.collect(),
            entities: copies.entities,
            other: side.other.clone(),
            by_candidate: Arc::ptr_eq(by, &side.share.servable),
            comparison: side.share.comparison.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let beyond = job.entities.len().saturating_sub(MOST_ENTITIES);
        if beyond > 0 {
            job.comparison.dropped(beyond);
            job.entities.truncate(MOST_ENTITIES);
        }
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) {
            job.comparison.dropped(job.entities.len());
        }
    }
}

fn work(jobs: &Receiver<ShadowJob>) {
    os::lower_priority();
    let metrics = match UnreadMetrics::new() {
        Ok(metrics) => metrics,
        Err(error) => return tracing::error!(%error, "shadow scoring failed to start"),
    };
    // The version of the last job, with counters that nobody reads.
    let mut last: Option<(Arc<Servable>, Servable)> = None;
    while let Ok(job) = jobs.recv() {
        if last
            .as_ref()
            .is_none_or(|(servable, _)| !Arc::ptr_eq(servable, &job.other))
        {
            last = Some((job.other.clone(), job.other.counting_in(&metrics.features)));
        }
        if let Some((_, other)) = &last {
            // The panic hook has logged a panic. A client may have caused it: it costs these copies, not the server.
            let _ = catch_unwind(AssertUnwindSafe(|| compare(job, other, &metrics.scoring)));
        }
    }
}

fn compare(job: ShadowJob, other: &Servable, metrics: &ScoringMetrics) {
    let ids = IdHasher::new(&other.model.name);
    let customers: Vec<Option<u64>> = job
        .entities
        .iter()
        .map(|entity| entity.id.as_ref().map(|id| ids.hash(id.as_ref())))
        .collect();
    let now = time::now();
    let deadline = Some(Instant::now() + FETCH_TIMEOUT);
    let fetched = job.runtime.block_on(fetch(
        other,
        &job.entities,
        now,
        deadline,
        &RequestSpan::default(),
    ));
    let count = job.entities.len();
    let batch = EntityBatch {
        servable: other,
        entities: job.entities,
        explain: Wanted::default(),
        fetched,
        now,
        span: RequestSpan::default(),
        recording: None,
    };
    let Ok(scores) = batch.score(metrics, None) else {
        job.comparison.dropped(count);
        return;
    };
    for ((score, answered), customer) in scores.iter().zip(job.answered).zip(customers) {
        let other = score_and_band(score, &other.bands);
        let (base, candidate) = if job.by_candidate {
            (other, answered)
        } else {
            (answered, other)
        };
        job.comparison.add(customer, base, candidate);
    }
}

/// The score of an entity and the position of its band; `None` without a score.
fn score_and_band(result: &EntityScore, bands: &[Band]) -> ScoreAndBand {
    let Outcome::Scored(score) = &result.outcome else {
        return None;
    };
    let band = score
        .band
        .as_ref()
        .and_then(|name| bands.iter().position(|band| band.name == *name));
    Some((score.score, band))
}
