//! Takes the scores of answered requests to the store. The request path only copies ids and scores into a bounded queue, and
//! only those that the store is not known to have; what does not fit is dropped and counted. A thread writes. The watchdog does
//! not watch it: its store may hang for ever, and no score depends on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::interface::StoreError;
use super::metrics::{OutcomeMetrics, ScoreCounters};
use super::store::OutcomeStore;
use super::{SECOND, ScoreRecord, is_customer, period};
use crate::config::OutcomesSection;
use crate::log::Pace;
use crate::models::ModelVersion;
use crate::os;
use crate::scoring::listener::ScoreListener;
use crate::scoring::{Outcome, Scores};
use crate::values::entity_id::{EntityId, IdRef};
use crate::values::id_hash::{HashShare, IdHasher, SecretHasher};
use crate::values::recent_set::RecentSet;
use crate::values::time;

/// Most requests and most scores that wait for the thread.
const WAITING_REQUESTS: usize = 4096;
const WAITING_SCORES: usize = 100_000;

/// Most scores that are written at once.
const BATCH: usize = 5000;

/// How long scores wait for others to be written with.
const PAUSE: Duration = Duration::from_millis(200);

/// Seconds between two waits for the disk.
const SYNC: Duration = Duration::from_secs(5);

/// Scores that are known to be kept, 8 bytes each. One may lose its place to another; then the store finds it.
const RECENT: usize = 1 << 17;

/// Draws the sample: no model has this name.
const SAMPLE: IdHasher = IdHasher::new("\u{1}outcome-sample");

static FAILURES: Pace = Pace::new();

/// A message to the thread.
#[derive(Debug)]
enum Job {
    Scores(Vec<QueuedScore>),
    /// Write everything, then drop the sender.
    Flush(SyncSender<()>),
}

/// A score on its way to the store.
#[derive(Debug)]
struct QueuedScore {
    record: ScoreRecord,
    /// The hash of its customer, version and period.
    key: u64,
}

/// Makes the keys of scores of one version in one period. Other versions and periods have other keys for the same customer.
#[derive(Clone, Copy)]
struct ScoreKeys {
    hasher: SecretHasher,
    of_version: u64,
}

impl ScoreKeys {
    fn of(self, id: &EntityId) -> u64 {
        self.hasher.number(self.hasher.id(id.as_ref()) ^ self.of_version)
    }
}

/// Sends scores to the thread that writes them.
#[derive(Debug)]
pub struct ScoreRecorder {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    share: HashShare,
    score_days: u32,
    hasher: SecretHasher,
    /// The keys of scores that the store has.
    kept: Arc<RecentSet>,
    counters: ScoreCounters,
}

impl ScoreRecorder {
    /// Starts the thread; it ends when this is dropped. `section.share` of the customers are recorded.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        store: OutcomeStore,
        section: &OutcomesSection,
        metrics: &OutcomeMetrics,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(WAITING_REQUESTS);
        let waiting = Arc::<AtomicUsize>::default();
        let kept = Arc::new(RecentSet::new(RECENT));
        let writer = Writer {
            store,
            waiting: waiting.clone(),
            kept: kept.clone(),
            counters: metrics.scores.clone(),
            runtime,
        };
        std::thread::Builder::new()
            .name("outcomes".to_owned())
            .spawn(move || writer.work(&queue))?;
        Ok(Self {
            jobs,
            waiting,
            share: HashShare::new(section.share),
            score_days: section.score_days,
            hasher: SecretHasher::default(),
            kept,
            counters: metrics.scores.clone(),
        })
    }

    /// Waits until everything so far is written, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            // An error means that the thread has written, or that it is too slow.
            let _ = wait.recv_timeout(limit);
        }
    }

    /// What identifies customers of a version in a period; `None` if its scores are not compared with outcomes.
    fn keys(&self, model: &ModelVersion, period: i64) -> Option<ScoreKeys> {
        if !counts(model) {
            return None;
        }
        let hasher = self.hasher;
        let of_model = hasher.id(IdRef::Text(&model.name)) ^ hasher.number(model.version);
        Some(ScoreKeys {
            hasher,
            of_version: hasher.number(hasher.number(of_model) ^ period.unsigned_abs()),
        })
    }

    fn is_in_sample(&self, id: &EntityId) -> bool {
        self.share.is_all() || self.share.has(SAMPLE.hash(id.as_ref()))
    }
}

impl ScoreListener for ScoreRecorder {
    fn answered(&self, at: f64, scores: &Scores, overridden: &[bool]) {
        let at = micros(at);
        let period = period(at, self.score_days);
        let live = self.keys(&scores.model, period);
        let (mut records, mut repeated) = (Vec::new(), 0);
        for (position, result) in scores.results.iter().enumerate() {
            let overridden = overridden.get(position).is_some_and(|&overridden| overridden);
            let (Some(id), Outcome::Scored(score), false) = (&result.id, &result.outcome, overridden) else {
                continue;
            };
            let (model, keys) = match &result.model {
                None => (&scores.model, live),
                Some(canary) => (canary, self.keys(canary, period)),
            };
            let Some(keys) = keys.filter(|_| self.is_in_sample(id)) else {
                continue;
            };
            let key = keys.of(id);
            if self.kept.contains(key) {
                repeated += 1;
                continue;
            }
            let record = record(model, id, score.score, result.hold_out, at);
            records.extend(record.map(|record| QueuedScore { record, key }));
        }
        if repeated > 0 {
            self.counters.repeated.inc_by(repeated);
        }
        let count = records.len();
        if count == 0 {
            return;
        }
        let waiting = self.waiting.fetch_add(count, Ordering::Relaxed) + count;
        let sent = waiting <= WAITING_SCORES
            && match self.jobs.try_send(Job::Scores(records)) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !sent {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            self.counters.dropped.inc_by(count as u64);
        }
    }
}

/// Whether the scores of a version are compared with outcomes.
fn counts(model: &ModelVersion) -> bool {
    model
        .contract
        .as_ref()
        .is_some_and(|contract| contract.outcome.is_some())
}

fn record(model: &ModelVersion, id: &EntityId, score: f64, hold_out: bool, at: i64) -> Option<ScoreRecord> {
    let customer = id.canonical().to_string();
    is_customer(&customer).then(|| ScoreRecord {
        model: model.name.clone(),
        version: model.version,
        customer,
        at,
        score,
        hold_out,
    })
}

/// The present time in microseconds since the Unix epoch.
pub fn now() -> i64 {
    micros(time::now())
}

/// Seconds since the Unix epoch in microseconds.
fn micros(seconds: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds of this age times a million"
    )]
    let micros = (seconds * SECOND as f64) as i64;
    micros
}

struct Writer {
    store: OutcomeStore,
    waiting: Arc<AtomicUsize>,
    kept: Arc<RecentSet>,
    counters: ScoreCounters,
    runtime: Handle,
}

impl Writer {
    fn work(self, queue: &Receiver<Job>) {
        os::lower_priority();
        let mut synced = Instant::now();
        loop {
            let mut batch = Vec::new();
            let mut flushed = Vec::new();
            let ended = collect(queue, &mut batch, &mut flushed);
            if !batch.is_empty() {
                self.write(batch);
            }
            if ended || !flushed.is_empty() || synced.elapsed() >= SYNC {
                self.store.sync();
                synced = Instant::now();
            }
            drop(flushed);
            if ended {
                return;
            }
        }
    }

    fn write(&self, batch: Vec<QueuedScore>) {
        let count = batch.len();
        let (batch, keys): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|score| (score.record, score.key)).unzip();
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let write = || self.store.write_scores(batch, &self.runtime);
        // The panic hook has logged a panic. It costs these scores, not the server.
        let written = catch_unwind(AssertUnwindSafe(write));
        let written =
            written.unwrap_or_else(|_| Err(StoreError::Unavailable("writing has panicked".to_owned())));
        match written {
            Ok(kept) => {
                // Only now: a score that was not kept is to be tried again.
                for key in keys {
                    self.kept.insert(key);
                }
                self.counters.kept.inc_by(kept as u64);
                self.counters.repeated.inc_by((count - kept.min(count)) as u64);
            }
            Err(error) => {
                self.counters.failed.inc_by(count as u64);
                if let Some(failures) = FAILURES.count() {
                    tracing::warn!(%error, failures, "scores for outcomes not kept");
                }
            }
        }
    }
}

/// Waits for scores and takes those of a moment together. Returns whether the queue has ended.
fn collect(queue: &Receiver<Job>, batch: &mut Vec<QueuedScore>, flushed: &mut Vec<SyncSender<()>>) -> bool {
    let mut end: Option<Instant> = None;
    loop {
        let wait = end.map_or(SYNC, |end| end.saturating_duration_since(Instant::now()));
        match queue.recv_timeout(wait) {
            Ok(Job::Scores(scores)) => {
                batch.extend(scores);
                end.get_or_insert_with(|| Instant::now() + PAUSE);
                if batch.len() >= BATCH {
                    return false;
                }
            }
            Ok(Job::Flush(done)) => {
                flushed.push(done);
                return false;
            }
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}
