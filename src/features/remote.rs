//! A remote store with its protection: a cache, single flight, a timeout, a second attempt after a lost connection, and a
//! circuit breaker.
//!
//! A fetch runs in a task of its own, so that it fills the cache even if the request has given up. The clients pipeline
//! concurrent fetches on one connection; no fetch waits for others.

mod cache;
mod isolation;
mod single_flight;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use recloser::{AsyncRecloser, Error as Guarded, Recloser};

use cache::Cache;
pub use cache::{CacheLimits, CacheLookup};
use single_flight::{Leader, SingleFlight, Waiter};

use super::layout::{Layout, Vector};
use super::source::{FeatureSource, Lane, SourceError};
use crate::features::metrics::SourceMetrics;
use crate::values::entity_id::EntityId;

/// Timeouts of a remote store.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Maximum duration of a fetch, including a second attempt.
    pub timeout: Duration,
    /// The same for a bulk fetch.
    pub bulk_timeout: Duration,
    /// How long a failing store is skipped before it is retried.
    pub cooldown: Duration,
}

impl Timeouts {
    fn of(&self, lane: Lane) -> Duration {
        match lane {
            Lane::Online => self.timeout,
            Lane::Bulk => self.bulk_timeout,
        }
    }
}

/// The result of a lookup of one entity.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Its vector, and whether it came from the cache.
    Vector(Vector, bool),
    /// The store does not know the entity.
    Unknown,
    /// The store is unavailable, and the entity is not cached.
    Failed,
}

/// A remote store with its cache, single flight and circuit breaker.
#[derive(Debug)]
pub struct RemoteSource {
    /// The name in the settings.
    pub name: String,
    /// The fields to fetch.
    pub layout: Arc<Layout>,
    source: Arc<dyn FeatureSource>,
    cache: Option<Cache>,
    single_flight: SingleFlight,
    /// Counts `forget` calls, so that a fetch from before such a call does not fill the cache.
    forgotten: AtomicU64,
    breaker: AsyncRecloser,
    timeouts: Timeouts,
    metrics: SourceMetrics,
}

/// Calls over which the circuit breaker computes the failure rate.
const BREAKER_CALLS: usize = 20;

/// The failure rate at which the circuit breaker opens.
const BREAKER_RATE: f32 = 0.5;

impl RemoteSource {
    /// Protects `source`.
    pub fn new(
        name: &str,
        layout: Arc<Layout>,
        source: Arc<dyn FeatureSource>,
        cache: Option<CacheLimits>,
        timeouts: Timeouts,
        metrics: SourceMetrics,
    ) -> Self {
        let breaker = Recloser::custom()
            .error_rate(BREAKER_RATE)
            .closed_len(BREAKER_CALLS)
            .half_open_len(1)
            .open_wait(timeouts.cooldown)
            .build();
        Self {
            name: name.to_owned(),
            layout,
            source,
            cache: cache.map(Cache::new),
            single_flight: SingleFlight::default(),
            forgotten: AtomicU64::new(0),
            breaker: breaker.into(),
            timeouts,
            metrics,
        }
    }

    /// Looks up `ids`, in their order. Returns by `deadline` or the timeout of the store, whichever is earlier.
    pub async fn get(self: &Arc<Self>, ids: &[EntityId], now: f64, deadline: Option<Instant>) -> Vec<Lookup> {
        let mut held: Vec<Option<Lookup>> = Vec::with_capacity(ids.len());
        let mut missing: Vec<usize> = Vec::new();
        let mut ageing: Vec<EntityId> = Vec::new();
        for (position, id) in ids.iter().enumerate() {
            if has_nul(id) {
                held.push(Some(Lookup::Unknown));
                continue;
            }
            let found = match &self.cache {
                Some(cache) => cache.get(id, now),
                None => CacheLookup::Miss,
            };
            held.push(match found {
                CacheLookup::Fresh(vector) => {
                    self.metrics.hit();
                    Some(known(vector, true))
                }
                CacheLookup::Ageing(vector) => {
                    self.metrics.ageing();
                    ageing.push(id.clone());
                    Some(known(vector, true))
                }
                CacheLookup::Miss => {
                    self.metrics.miss();
                    missing.push(position);
                    None
                }
            });
        }
        if !ageing.is_empty() {
            // Nobody waits for these: the entries are valid until their hard limit.
            drop(self.fetch_or_join(ageing));
        }
        if !missing.is_empty() {
            let wanted = missing.iter().map(|&position| ids[position].clone()).collect();
            let mut waiters = self.fetch_or_join(wanted);
            let own = Instant::now() + self.timeouts.of(Lane::of(missing.len()));
            let until = deadline.map_or(own, |deadline| deadline.min(own));
            // All waiters have the same deadline, so sequential waits take no longer.
            for (position, waiter) in missing.into_iter().zip(&mut waiters) {
                held[position] = Some(
                    waiter
                        .wait(until)
                        .await
                        .map_or(Lookup::Failed, |vector| known(vector, false)),
                );
            }
        }
        held.into_iter()
            .map(|held| held.unwrap_or(Lookup::Failed))
            .collect()
    }

    /// By group, the age in seconds from which its values are stale by the store's own rules.
    pub fn max_ages(&self) -> Vec<Option<f64>> {
        let groups = 0..self.layout.groups.len();
        groups.map(|group| self.source.max_age(group)).collect()
    }

    /// Forgets an entity, or all of them.
    pub fn forget(&self, id: Option<&EntityId>) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.single_flight.forget(id);
        match (&self.cache, id) {
            (Some(cache), Some(id)) => cache.remove(id),
            (Some(cache), None) => cache.clear(),
            (None, _) => {}
        }
    }

    /// Ids in the cache, no more than `most`.
    pub fn cached_ids(&self, most: usize) -> Vec<EntityId> {
        self.cache.as_ref().map_or_else(Vec::new, |cache| cache.ids(most))
    }

    /// Updates the gauges of the cache.
    pub fn measure(&self) {
        let (entries, bytes) = self.cache.as_ref().map_or((0, 0), Cache::size);
        self.metrics.entries.set(entries.cast_signed());
        self.metrics.bytes.set(bytes.cast_signed());
    }

    /// Joins the fetches in flight for `ids`, and starts one for the others.
    fn fetch_or_join(self: &Arc<Self>, ids: Vec<EntityId>) -> Vec<Waiter> {
        let join = self.single_flight.join_or_lead(ids);
        if let Some((ids, leader)) = join.lead {
            tokio::spawn(self.clone().lead(ids, leader));
        }
        join.waiters
    }

    /// Fetches `ids`, fills the cache, and publishes the result.
    async fn lead(self: Arc<Self>, ids: Vec<EntityId>, leader: Leader) {
        let before = self.forgotten.load(Ordering::SeqCst);
        let result = self.fetch(&ids).await;
        let current = || before == self.forgotten.load(Ordering::SeqCst);
        if let (Ok(vectors), Some(cache), true) = (&result, &self.cache, current()) {
            for (id, vector) in ids.iter().zip(vectors) {
                if let Some(vector) = vector {
                    cache.insert(id.clone(), vector.clone());
                }
            }
            if !current() {
                // The entities were forgotten meanwhile.
                ids.iter().for_each(|id| cache.remove(id));
            }
        }
        // The cache is filled before the fetch ends, so that a request in between hits it.
        self.single_flight.end(&ids, &leader);
        leader.publish(result.map_err(|_| ()));
    }

    /// Fetches through the circuit breaker.
    async fn fetch(&self, ids: &[EntityId]) -> Result<Vec<FetchedVector>, SourceError> {
        let start = Instant::now();
        let result = match self.breaker.call(self.attempts(ids)).await {
            Ok(vectors) => Ok(vectors),
            Err(Guarded::Inner(error)) => Err(error),
            Err(Guarded::Rejected) => Err(SourceError::Open),
        };
        self.metrics
            .fetched(start.elapsed(), result.as_ref().err().map(SourceError::label));
        if let Err(error) = &result
            && self.metrics.may_log_failure()
        {
            tracing::warn!(source = self.name, %error, "feature store fetch failed");
        }
        result
    }

    async fn attempts(&self, ids: &[EntityId]) -> Result<Vec<FetchedVector>, SourceError> {
        let lane = Lane::of(ids.len());
        let timeout = self.timeouts.of(lane);
        let end = tokio::time::Instant::now() + timeout;
        match tokio::time::timeout_at(end, self.twice(ids, lane)).await {
            Err(_) => Err(SourceError::TimedOut(timeout)),
            Ok(Err(SourceError::Refused(code))) => Ok(self.isolated(ids, lane, &code, end).await),
            Ok(result) => result.map(|vectors| vectors.into_iter().map(Some).collect()),
        }
    }

    /// Fetches ids, a second time after a lost connection.
    async fn twice(&self, ids: &[EntityId], lane: Lane) -> Result<Vec<Vector>, SourceError> {
        match self.source.fetch(ids, lane).await {
            Err(SourceError::Dropped(_)) => self.source.fetch(ids, lane).await,
            result => result,
        }
    }
}

/// The vector of an id; `None` if it could not be fetched in time.
type FetchedVector = Option<Vector>;

/// Whether an id has the character U+0000. No database can hold it, so no entity has it, and it is not asked for.
fn has_nul(id: &EntityId) -> bool {
    matches!(id, EntityId::Text(text) if text.contains('\0'))
}

fn known(vector: Vector, cached: bool) -> Lookup {
    if vector.is_known() {
        Lookup::Vector(vector, cached)
    } else {
        Lookup::Unknown
    }
}
