//! Scoring beside the answer: a thread that takes copies of what was answered, has the other version score them, and
//! compares. Requests never wait for it: what it has no time for is dropped and counted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use crate::os;
use crate::scoring::live_set::Servable;
use crate::scoring::request::{Entity, EntityScore, Outcome};
use crate::scoring::rollout::comparison::{Comparison, ScoreAndBand};
use crate::scoring::rollout::hash;
use crate::scoring::{answer, gather};
use crate::telemetry::Metrics;
use crate::values::band::Band;
use crate::values::time;

/// Requests that may wait; a request more is dropped.
const WAITING: usize = 64;

/// Entities of one request that are compared; the others are dropped.
const MOST_ENTITIES: usize = 1000;

/// Entities that were answered, to be scored by another version.
#[derive(Debug)]
pub(crate) struct ShadowJob {
    pub(crate) entities: Vec<Entity>,
    /// What was answered for each.
    pub(crate) answered: Vec<ScoreAndBand>,
    /// The version that scores them now.
    pub(crate) other: Arc<Servable>,
    /// Whether what was answered is the candidate's.
    pub(crate) by_candidate: bool,
    pub(crate) comparison: Arc<Comparison>,
    /// Where the feature sources are asked.
    pub(crate) runtime: tokio::runtime::Handle,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Shadow {
    jobs: SyncSender<ShadowJob>,
}

impl Shadow {
    /// Starts the thread; it ends when this is dropped.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("mirror".to_owned())
            .spawn(move || work(&waiting))?;
        Ok(Self { jobs })
    }

    /// Hands a job over, or drops it when the thread is behind.
    pub(crate) fn send(&self, mut job: ShadowJob) {
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
    // The server's own metrics are of what was answered.
    let Ok(unseen) = Metrics::new() else { return };
    // The last version in the form that counts elsewhere.
    let mut last: Option<(Arc<Servable>, Servable)> = None;
    while let Ok(job) = jobs.recv() {
        if last
            .as_ref()
            .is_none_or(|(served, _)| !Arc::ptr_eq(served, &job.other))
        {
            last = Some((job.other.clone(), job.other.counting_in(&unseen.feature)));
        }
        if let Some((_, other)) = &last {
            compare(job, other, &unseen);
        }
    }
}

/// Longest that features are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

fn compare(job: ShadowJob, other: &Servable, metrics: &Metrics) {
    let customers: Vec<Option<u64>> = job
        .entities
        .iter()
        .map(|entity| entity.id.as_ref().map(|id| hash(&other.model.name, id.as_ref())))
        .collect();
    let now = time::now();
    let deadline = Some(Instant::now() + PATIENCE);
    let gathered = job.runtime.block_on(gather(other, &job.entities, now, deadline));
    let count = job.entities.len();
    let batch = answer::EntityBatch {
        served: other,
        entities: job.entities,
        explain: 0,
        gathered,
        now,
    };
    let Ok(scores) = answer::score_all(batch, metrics) else {
        job.comparison.dropped(count);
        return;
    };
    for ((score, answered), customer) in scores.iter().zip(job.answered).zip(customers) {
        let other = said(score, &other.bands);
        let (base, candidate) = if job.by_candidate {
            (other, answered)
        } else {
            (answered, other)
        };
        job.comparison.add(customer, base, candidate);
    }
}

/// What a version says of an entity.
pub(crate) fn said(score: &EntityScore, bands: &[Band]) -> ScoreAndBand {
    let Outcome::Scored(scored) = &score.outcome else {
        return None;
    };
    let place = scored
        .band
        .as_ref()
        .and_then(|name| bands.iter().position(|band| band.name == *name));
    Some((scored.score, place))
}
