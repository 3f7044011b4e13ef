//! Outcomes of a running server: the store, what writes scores to it, and the thread that keeps performance up to date and
//! deletes what is old. The watchdog does not watch that thread: its store may hang for ever, and no score depends on it.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::handled::HandledCache;
use super::outcomes::interface::Recorded;
use super::outcomes::metrics::OutcomeMetrics;
use super::outcomes::recorder::{ScoreRecorder, now};
use super::outcomes::store::OutcomeStore;
use super::outcomes::{DAY, LastContact, OutcomeRecord, ScoreRecord, TimeLimits};
use super::performance::Definition;
use super::performance::refresh::PerformanceCache;
use super::performance::report::PerformanceReport;
use crate::config::OutcomesSection;
use crate::error::Error;
use crate::os;
use crate::scoring::ranking::Exclusion;
use crate::scoring::{Scorer, Servable};
use crate::values::entity_id::EntityId;

/// Shortest pause between two evaluations for the metrics.
const SHORTEST: Duration = Duration::from_secs(1);

/// How often old outcomes and scores are deleted.
const EXPIRE: Duration = Duration::from_secs(6 * 3600);

/// Longest wait at the end for scores that are not written yet.
const FLUSH: Duration = Duration::from_secs(5);

/// Outcomes of a running server.
#[derive(Debug)]
pub struct OutcomeService {
    store: OutcomeStore,
    metrics: OutcomeMetrics,
    performance: PerformanceCache,
    recorder: Arc<ScoreRecorder>,
    keep_days: u32,
    refresh: Duration,
    /// Requests that have recorded something.
    recorded: AtomicU64,
    /// The customers of a model who were contacted lately.
    handled: HandledCache,
}

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub struct PerformanceThread {
    _end: SyncSender<()>,
}

impl OutcomeService {
    /// Opens the store that the settings name; `None` if they name none.
    ///
    /// # Errors
    /// The store cannot be opened, or a thread cannot be started.
    pub fn start(
        section: &OutcomesSection,
        metrics: OutcomeMetrics,
        runtime: impl FnOnce() -> Handle,
    ) -> Result<Option<Self>, String> {
        let Some(store) = OutcomeStore::open(section, &metrics)? else {
            return Ok(None);
        };
        let recorder = ScoreRecorder::start(store.clone(), section, &metrics, runtime());
        let recorder = recorder.map_err(|error| format!("outcomes: {error}"))?;
        Ok(Some(Self {
            performance: PerformanceCache::new(store.clone(), metrics.clone(), section.refresh.0),
            store,
            metrics,
            recorder: Arc::new(recorder),
            keep_days: section.keep_days,
            refresh: section.refresh.0,
            recorded: AtomicU64::new(0),
            handled: HandledCache::default(),
        }))
    }

    /// What takes the scores of answered requests.
    pub fn recorder(&self) -> Arc<ScoreRecorder> {
        self.recorder.clone()
    }

    /// The times that outcomes may have.
    pub fn time_limits(&self) -> TimeLimits {
        TimeLimits::new(now(), self.keep_days)
    }

    /// Keeps outcomes, all or none, and counts them. Their models must be models of the repository.
    ///
    /// # Errors
    /// Nothing was kept: the store is full or away.
    pub async fn record(&self, records: Vec<OutcomeRecord>) -> Result<Recorded, Error> {
        let results: Vec<_> = records
            .iter()
            .map(|record| (record.model.clone(), record.result))
            .collect();
        let recorded = self.store.record(records).await;
        self.recorded.fetch_add(1, Ordering::Relaxed);
        let recorded = recorded?;
        for (model, result) in recorded.new.iter().filter_map(|&position| results.get(position)) {
            self.metrics.count(model, *result);
        }
        Ok(recorded)
    }

    /// What is recorded of a customer for some models, the newest first, at most [`MOST_SHOWN`](super::outcomes::MOST_SHOWN).
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of_customer(&self, models: Vec<String>, id: &EntityId) -> Result<Vec<OutcomeRecord>, Error> {
        self.store.of_customer(models, id.canonical().to_string()).await
    }

    /// The scores of a customer that were kept, the newest first, at most [`MOST_SHOWN`](super::outcomes::MOST_SHOWN).
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn scores_of(&self, model: &str, id: &EntityId) -> Result<Vec<ScoreRecord>, Error> {
        self.store.scores_of(model, id.canonical().to_string()).await
    }

    /// The last contacts with customers of a model, by the one spelling of their ids.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn contacts(
        &self,
        model: &str,
        ids: impl Iterator<Item = &EntityId>,
    ) -> Result<HashMap<String, LastContact>, Error> {
        let customers: Vec<String> = ids.map(|id| id.canonical().to_string()).collect();
        match customers.is_empty() {
            true => Ok(HashMap::new()),
            false => self.store.contacts(model, customers).await,
        }
    }

    /// The customers of a model who were contacted in the last `days` or have left. Contacts that this server has recorded count
    /// at once, those of other servers within seconds.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn handled(&self, model: &str, days: u32) -> Result<Exclusion, Error> {
        self.handled
            .get(model, days, &self.recorded, |since| {
                self.store.handled(model, since)
            })
            .await
    }

    /// The performance of the model that `live` serves, at most `outcomes.refresh` old.
    ///
    /// # Errors
    /// The contract of `live` does not say what it predicts, or the store cannot be read.
    pub async fn performance(&self, live: &Servable) -> Result<Arc<PerformanceReport>, Error> {
        let definition = Definition::of(live)?;
        self.performance.report(&live.model.name, definition).await
    }

    /// Starts the thread that keeps performance up to date for the metrics, and deletes what is old.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(
        self: &Arc<Self>,
        scorer: &Arc<Scorer>,
        runtime: Handle,
    ) -> std::io::Result<PerformanceThread> {
        let (end, ended) = sync_channel(1);
        let worker = Worker {
            service: Arc::downgrade(self),
            scorer: Arc::downgrade(scorer),
            runtime,
        };
        let pause = self.refresh.max(SHORTEST);
        std::thread::Builder::new()
            .name("performance".to_owned())
            .spawn(move || worker.work(pause, &ended))?;
        Ok(PerformanceThread { _end: end })
    }

    /// Waits until the scores so far are written, a few seconds at most.
    pub fn flush(&self) {
        self.recorder.flush(FLUSH);
    }

    async fn expire(&self) -> Result<(), Error> {
        self.store.expire(now() - i64::from(self.keep_days) * DAY).await
    }
}

struct Worker {
    service: Weak<OutcomeService>,
    scorer: Weak<Scorer>,
    runtime: Handle,
}

impl Worker {
    fn work(self, pause: Duration, ended: &Receiver<()>) {
        os::lower_priority();
        let mut expired: Option<Instant> = None;
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let (Some(service), Some(scorer)) = (self.service.upgrade(), self.scorer.upgrade()) else {
                return;
            };
            // The panic hook has logged a panic. It costs this report, not the server.
            let _ = catch_unwind(AssertUnwindSafe(|| self.refresh(&service, &scorer)));
            if expired.is_none_or(|expired| expired.elapsed() >= EXPIRE) {
                expired = Some(Instant::now());
                if let Err(error) = self.runtime.block_on(service.expire()) {
                    tracing::warn!(%error, "old outcomes not deleted");
                }
            }
        }
    }

    fn refresh(&self, service: &OutcomeService, scorer: &Scorer) {
        let live_set = scorer.live();
        let judged = live_set.models().filter_map(|(name, entry)| {
            let live = entry.live.as_ref().filter(|live| Definition::of(live).is_ok());
            Some((name, live?))
        });
        let judged: BTreeMap<&str, _> = judged.collect();
        service
            .metrics
            .retain_performance(&judged.keys().copied().collect());
        for (name, live) in judged {
            if let Err(error) = self.runtime.block_on(service.performance(live)) {
                tracing::warn!(model = name, %error, "performance not computed");
            }
        }
    }
}
