//! The thread that ranks. It steps behind requests when processors are short, and ends between two batches when the server
//! stops. The watchdog does not watch it: no score depends on it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::compute::{NoRanking, WORK_BYTES, compute, enumerable};
use super::metrics::RankingSize;
use super::{Failure, ModelRanking, Ranking, Rankings, Release};
use crate::os;
use crate::scoring::servable::Servable;
use crate::values::time;

/// Time between two looks at the live versions.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub struct RankingThread {
    _end: SyncSender<()>,
}

impl RankingThread {
    /// Starts the thread, unless rankings are off. It ends when `stopping` is cancelled.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(rankings: &Arc<Rankings>, stopping: CancellationToken) -> std::io::Result<Option<Self>> {
        if !rankings.settings.enabled {
            return Ok(None);
        }
        let (end, ended) = sync_channel(1);
        let rankings = Arc::downgrade(rankings);
        std::thread::Builder::new()
            .name("ranking".to_owned())
            .spawn(move || work(&rankings, &ended, &stopping))?;
        Ok(Some(Self { _end: end }))
    }
}

fn work(rankings: &Weak<Rankings>, ended: &Receiver<()>, stopping: &CancellationToken) {
    os::lower_priority();
    while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) && !stopping.is_cancelled() {
        let Some(rankings) = rankings.upgrade() else {
            return;
        };
        rankings.refresh(&|| stopping.is_cancelled());
    }
}

/// The identities of the present rankings.
fn present(models: &BTreeMap<String, ModelRanking>) -> Vec<u64> {
    let rankings = models.values().filter_map(|known| known.ranking.as_ref());
    rankings.map(|ranking| ranking.serial).collect()
}

impl Rankings {
    /// Ranks the customers of every model whose ranking is due.
    fn refresh(&self, stop: &dyn Fn() -> bool) {
        let live = self.scorer.live();
        let servables = live.models().filter_map(|(_, entry)| entry.live.as_ref());
        let ranked: Vec<&Arc<Servable>> = servables
            .filter(|servable| servable.scorable().is_ok() && enumerable(servable).is_some())
            .collect();
        self.forget_all_but(&ranked);
        for servable in ranked {
            if stop() {
                return;
            }
            if self.is_due(servable, time::now()) {
                // To its end, also if it is replaced meanwhile: a snapshot that changes faster than it is ranked would never be.
                self.rank(servable, stop);
            }
        }
    }

    /// Forgets rankings of models that have none any more.
    fn forget_all_but(&self, ranked: &[&Arc<Servable>]) {
        let mut models = self.models();
        let count = models.len();
        models.retain(|name, _| {
            let keeps = ranked.iter().any(|servable| servable.model.name == *name);
            if !keeps {
                self.metrics.forget(name);
            }
            keeps
        });
        if models.len() < count {
            self.selections.retain(&present(&models));
        }
    }

    fn rank(&self, servable: &Servable, stop: &dyn Fn() -> bool) {
        let Some((_, snapshot)) = enumerable(servable) else {
            return;
        };
        let name = &servable.model.name;
        let (found, most) = (snapshot.len(), self.settings.most_customers);
        if found > most {
            let reason = format!("the snapshot has {found} customers, ranking.most_customers allows {most}");
            self.fail(servable, reason);
            // It would stay for ever, and its snapshot with it.
            return self.forget(name);
        }
        self.metrics.set_stale(name, true);
        let start = Instant::now();
        let now = time::now();
        // Needed in any case; requests get less meanwhile.
        let memory = self.memory.reserve_anyway(found.saturating_mul(WORK_BYTES));
        // The panic hook has logged a panic. It costs this ranking, not the server.
        let computed = catch_unwind(AssertUnwindSafe(|| compute(servable, now, stop)));
        match computed {
            Ok(Ok(computed)) => {
                let mut ranking = Ranking::new(servable, computed, now);
                let old = self.models().get(name).and_then(|known| known.ranking.clone());
                ranking.release = old.and_then(|old| Release::of(&old, &ranking));
                self.publish(ranking, start.elapsed());
            }
            Ok(Err(NoRanking::Stopped)) => {}
            Ok(Err(NoRanking::Failed(error))) => self.fail(servable, error.to_string()),
            Err(_) => self.fail(
                servable,
                "internal error; the details are in the server's log".to_owned(),
            ),
        }
        drop(memory);
        os::release_memory();
    }

    fn publish(&self, ranking: Ranking, took: Duration) {
        let model = ranking.model().clone();
        let size = RankingSize {
            ranked: ranking.customers(),
            unscored: ranking.unscored,
            bytes: ranking.table.bytes(),
            seconds: took.as_secs_f64(),
            at: ranking.ranked_at,
        };
        let mut models = self.models();
        let known = models.entry(model.name.clone()).or_default();
        known.failure = None;
        let old = known.ranking.replace(Arc::new(ranking));
        let present = present(&models);
        drop(models);
        self.selections.retain(&present);
        drop(old);
        self.metrics.ranked(&model.name, size);
        self.metrics.set_stale(&model.name, false);
        tracing::info!(
            model = model.name,
            version = model.version,
            customers = size.ranked,
            unscored = size.unscored,
            bytes = size.bytes,
            seconds = size.seconds,
            "customers ranked"
        );
    }

    /// Forgets the ranking of a model, but not why there is no newer one.
    fn forget(&self, model: &str) {
        let mut models = self.models();
        let old = models.get_mut(model).and_then(|known| known.ranking.take());
        let present = present(&models);
        drop(models);
        self.selections.retain(&present);
        if old.is_some() {
            self.metrics.forget(model);
        }
    }

    fn fail(&self, servable: &Servable, reason: String) {
        let Some((_, snapshot)) = enumerable(servable) else {
            return;
        };
        let model = &servable.model;
        tracing::warn!(
            model = model.name,
            version = model.version,
            reason,
            "customers not ranked"
        );
        self.metrics.failed(&model.name);
        let failure = Failure::new(servable, snapshot, reason);
        self.models().entry(model.name.clone()).or_default().failure = Some(failure);
    }
}
