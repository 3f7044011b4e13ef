//! The ranking of all customers of a snapshot by the live version of each model. A thread computes it whenever version or
//! snapshot change; requests read the last one.

mod compute;
mod cursor;
mod filter;
mod item;
mod list;
mod listed;
pub mod metrics;
mod order;
pub mod query;
mod release;
mod select;
mod summary;
mod table;
mod thread;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

pub use cursor::MOST_TOKEN_BYTES;
#[cfg(feature = "fuzzing")]
pub use cursor::fuzz as fuzz_page_token;
pub use filter::{MOST_FILTERS, MOST_SEARCH_BYTES};
pub use item::{RankedItem, ScoreBefore};
pub use list::RankedList;
pub use listed::RankedIds;
pub use order::{Order, OrderKey};
pub use query::{Fields, RankingQuery};
pub use release::Release;
pub use select::{Exclusion, customer_hash};
pub use summary::BandSummary;
pub use thread::RankingThread;

use super::Scorer;
use super::client::Client;
use super::request::{ModelRef, VersionSelector};
use super::servable::Servable;
use crate::config::RankingSection;
use crate::error::Error;
use crate::features::snapshot::Snapshot;
use crate::memory::MemoryBudget;
use crate::models::ModelVersion;
use crate::values::band::Band;
use compute::{Computed, Identities, depends_on_time, enumerable};
use metrics::RankingMetrics;
use select::SelectionCache;
use table::RankTable;

/// Bytes that a ranking takes for each customer at most, beside the next one that replaces it: 24 each, and the selections
/// that are kept.
pub const RANKING_BYTES: usize = 2 * 24 + select::MOST_KEPT * size_of::<u32>();

/// Scans of all customers at the same time; further ones wait.
const SCANS: usize = 2;

/// Scans that may wait; further ones are refused.
const WAITING_SCANS: usize = 64;

/// When to ask again while the first ranking is computed.
const AFTER_FIRST: Duration = Duration::from_secs(2);

/// How long a ranking that failed is not tried again, unless version or snapshot change.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The serial number of the next ranking.
static SERIALS: AtomicU64 = AtomicU64::new(0);

/// The ranking of the customers of a snapshot by one version.
#[derive(Debug)]
pub struct Ranking {
    /// Unlike an identity, of this ranking alone: another one may have other bands or feature values.
    serial: u64,
    /// Without the previous snapshot, which is not to stay in memory for this.
    servable: Servable,
    /// The previous snapshot that it was compared with.
    previous: Option<Weak<Snapshot>>,
    table: RankTable,
    identities: Identities,
    bands: Vec<BandSummary>,
    unscored: usize,
    as_of: Option<(f64, f64)>,
    /// In seconds since the Unix epoch.
    ranked_at: f64,
    release: Option<Release>,
}

impl Ranking {
    fn new(servable: &Servable, computed: Computed, ranked_at: f64) -> Self {
        let Computed {
            table,
            identities,
            bands,
            unscored,
            as_of,
        } = computed;
        Self {
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            previous: previous(servable).map(|snapshot| Arc::downgrade(&snapshot)),
            servable: servable.without_previous(),
            table,
            identities,
            bands,
            unscored,
            as_of,
            ranked_at,
            release: None,
        }
    }

    /// The version that ranked.
    pub fn model(&self) -> &Arc<ModelVersion> {
        &self.servable.model
    }

    /// The snapshot whose customers are ranked.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        self.table.snapshot()
    }

    /// Its bands, the highest first.
    pub fn bands(&self) -> &[BandSummary] {
        &self.bands
    }

    /// Number of ranked customers.
    pub fn customers(&self) -> usize {
        self.table.len()
    }

    /// Number of customers without a score: the contract rejects their values, or too little is known of them.
    pub fn unscored(&self) -> usize {
        self.unscored
    }

    /// When it was computed, in seconds since the Unix epoch.
    pub fn ranked_at(&self) -> f64 {
        self.ranked_at
    }

    /// What its version changed, if another one has ranked the same data before it.
    pub fn release(&self) -> Option<Release> {
        self.release
    }

    /// The oldest and the latest `as_of` time of the customers, in seconds since the Unix epoch.
    pub fn as_of(&self) -> Option<(f64, f64)> {
        self.as_of
    }

    /// Whether a new ranking by `servable` would be the same, as far as time does not matter.
    fn is_of(&self, servable: &Servable) -> bool {
        let snapshot = enumerable(servable).map(|(_, snapshot)| snapshot);
        let same_previous = match (previous(servable), &self.previous) {
            // A previous snapshot is given up before a new one is read; the changes are known nevertheless.
            (None, _) => true,
            (Some(now), Some(then)) => std::ptr::eq(Arc::as_ptr(&now), then.as_ptr()),
            (Some(_), None) => false,
        };
        Arc::ptr_eq(&self.servable.model, &servable.model)
            && snapshot.is_some_and(|snapshot| Arc::ptr_eq(snapshot, self.snapshot()))
            && same_bands(&self.servable.bands, &servable.bands)
            && same_previous
    }
}

/// The previous snapshot of a version whose features all come from one.
fn previous(servable: &Servable) -> Option<Arc<Snapshot>> {
    let before = servable.before()?;
    enumerable(&before).map(|(_, snapshot)| snapshot.clone())
}

fn same_bands(one: &Arc<[Band]>, other: &Arc<[Band]>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// The rankings of all models.
#[derive(Debug)]
pub struct Rankings {
    scorer: Arc<Scorer>,
    settings: RankingSection,
    memory: Arc<MemoryBudget>,
    metrics: RankingMetrics,
    models: Mutex<BTreeMap<String, ModelRanking>>,
    selections: SelectionCache,
    scans: Arc<Semaphore>,
    waiting_scans: Arc<Semaphore>,
}

/// The ranking of a model, or why there is none.
#[derive(Debug, Default)]
struct ModelRanking {
    ranking: Option<Arc<Ranking>>,
    failure: Option<Failure>,
}

/// A ranking that failed.
#[derive(Debug)]
struct Failure {
    reason: String,
    at: Instant,
    model: Weak<ModelVersion>,
    snapshot: Weak<Snapshot>,
}

impl Failure {
    fn new(servable: &Servable, snapshot: &Arc<Snapshot>, reason: String) -> Self {
        Self {
            reason,
            at: Instant::now(),
            model: Arc::downgrade(&servable.model),
            snapshot: Arc::downgrade(snapshot),
        }
    }

    /// Whether to try again is too early.
    fn holds(&self, servable: &Servable, snapshot: &Arc<Snapshot>) -> bool {
        self.at.elapsed() < AFTER_FAILURE
            && std::ptr::eq(self.model.as_ptr(), Arc::as_ptr(&servable.model))
            && std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot))
    }
}

impl Rankings {
    /// Without any ranking yet; [`RankingThread::start`] computes them.
    pub fn new(
        scorer: Arc<Scorer>,
        settings: RankingSection,
        memory: Arc<MemoryBudget>,
        metrics: RankingMetrics,
    ) -> Self {
        Self {
            scorer,
            settings,
            memory,
            metrics,
            models: Mutex::default(),
            selections: SelectionCache::default(),
            scans: Arc::new(Semaphore::new(SCANS)),
            waiting_scans: Arc::new(Semaphore::new(WAITING_SCANS)),
        }
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, ModelRanking>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live version of a model that a client may use.
    ///
    /// # Errors
    /// The client may not, there is no such model or live version, or it has no contract.
    pub fn live(&self, client: &Client, model: &str) -> Result<Arc<Servable>, Error> {
        let model = ModelRef {
            name: model.to_owned(),
            version: VersionSelector::Live,
        };
        let servable = self.scorer.live().find_for(client, &model)?.clone();
        servable.scorable()?;
        Ok(servable)
    }

    /// The last ranking of a model, and whether a newer one is due.
    ///
    /// # Errors
    /// The client may not use the model, the model or a live version is unknown, its customers cannot be listed, or the first
    /// ranking is not ready yet.
    pub fn ranking(&self, client: &Client, model: &str) -> Result<(Arc<Ranking>, bool), Error> {
        let servable = self.live(client, model)?;
        if !self.settings.enabled {
            return Err(Error::invalid(format!(
                "rankings are off (ranking.enabled); send ids to POST /v1/models/{model}/ranking"
            ))
            .about("model"));
        }
        if enumerable(&servable).is_none() {
            return Err(Error::invalid(format!(
                "the customers of model `{model}` cannot be listed, as not all its features come from a snapshot; send ids to \
                 POST /v1/models/{model}/ranking"
            ))
            .about("model"));
        }
        let models = self.models();
        let known = models.get(model);
        if let Some(ranking) = known.and_then(|known| known.ranking.as_ref()) {
            return Ok((ranking.clone(), !ranking.is_of(&servable)));
        }
        Err(match known.and_then(|known| known.failure.as_ref()) {
            Some(failure) => Error::unavailable(format!(
                "the customers of model `{model}` could not be ranked: {}",
                failure.reason
            ))
            .after(AFTER_FAILURE),
            None => Error::unavailable(format!(
                "the customers of model `{model}` are being ranked for the first time; retry shortly"
            ))
            .after(AFTER_FIRST),
        })
    }

    /// Whether a list is of the last ranking of its model.
    pub fn is_last(&self, list: &RankedList) -> bool {
        let models = self.models();
        let known = models.get(&list.ranking().model().name);
        let last = known.and_then(|known| known.ranking.as_ref());
        last.is_some_and(|last| std::ptr::eq(&raw const **last, list.ranking()))
    }

    /// Whether a version is to be ranked now.
    fn is_due(&self, servable: &Servable, now: f64) -> bool {
        let Some((_, snapshot)) = enumerable(servable) else {
            return false;
        };
        let models = self.models();
        let Some(known) = models.get(&servable.model.name) else {
            return true;
        };
        if known
            .failure
            .as_ref()
            .is_some_and(|failure| failure.holds(servable, snapshot))
        {
            return false;
        }
        known.ranking.as_ref().is_none_or(|ranking| {
            let age = now - ranking.ranked_at;
            let old = age >= self.settings.refresh.0.as_secs_f64() && depends_on_time(&servable.model);
            old || !ranking.is_of(servable)
        })
    }
}
