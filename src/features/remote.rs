//! A remote store with its protection: a cache, single flight, a timeout, a second attempt after a lost connection, and a
//! circuit breaker.
//!
//! A fetch runs in a task of its own, so that it fills the cache even if the request has given up. The clients pipeline
//! concurrent fetches on one connection; no fetch waits for others.

mod cache;
mod single_flight;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use recloser::{AsyncRecloser, Error as Guarded, Recloser};

use cache::Cache;
pub use cache::{CacheLimits, CacheLookup};
use single_flight::{Leader, SingleFlight, Waiter};

use super::layout::{Layout, Vector};
use super::source::{FeatureSource, Lane, SourceError};
use crate::features::metrics::SourceMetrics;
use crate::values::entity_id::EntityId;
use crate::values::time::now;

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

    /// Fetches ids of which the store refuses some, so that one client's bad id does not cost the others their answers: in
    /// parts, and those that are refused one by one, all at once on the connections. The store has answered, so what is not
    /// there by `end` says nothing about its health: those ids are unavailable.
    async fn isolated(
        &self,
        ids: &[EntityId],
        lane: Lane,
        code: &str,
        end: tokio::time::Instant,
    ) -> Vec<FetchedVector> {
        if self.metrics.may_log_failure() {
            tracing::warn!(source = self.name, code, "the feature store refuses an id");
        }
        if ids.len() <= PART {
            return self.one_by_one(end, ids, lane).await;
        }
        let left = &AtomicUsize::new(MOST_PARTS);
        let parts = ids.chunks(PART).map(|part| async move {
            match self.until(end, part, lane).await {
                Ok(vectors) => vectors.into_iter().map(Some).collect(),
                Err(SourceError::Refused(_)) if take_one(left) => self.one_by_one(end, part, lane).await,
                Err(_) => vec![None; part.len()],
            }
        });
        join_all(parts).await.into_iter().flatten().collect()
    }

    async fn one_by_one(
        &self,
        end: tokio::time::Instant,
        ids: &[EntityId],
        lane: Lane,
    ) -> Vec<FetchedVector> {
        join_all(ids.iter().map(|id| self.alone(end, id, lane))).await
    }

    /// Fetches one id; one that the store refuses is unknown to it.
    async fn alone(&self, end: tokio::time::Instant, id: &EntityId, lane: Lane) -> FetchedVector {
        match self.until(end, std::slice::from_ref(id), lane).await {
            Ok(vectors) => vectors.into_iter().next(),
            Err(SourceError::Refused(_)) => Some(Layout::unknown(now())),
            Err(_) => None,
        }
    }

    async fn until(
        &self,
        end: tokio::time::Instant,
        ids: &[EntityId],
        lane: Lane,
    ) -> Result<Vec<Vector>, SourceError> {
        let fetch = tokio::time::timeout_at(end, self.twice(ids, lane)).await;
        fetch.unwrap_or_else(|_| Err(SourceError::TimedOut(self.timeouts.of(lane))))
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

/// Ids of a part when the store refuses some of a fetch.
const PART: usize = 64;

/// The most parts whose ids are fetched one by one, to bound the queries of one fetch; in further parts with a refused id no
/// id is available.
const MOST_PARTS: usize = 16;

/// Takes one of what is left; false if nothing is.
fn take_one(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::features::layout::Field;
    use crate::features::metrics::FeatureMetrics;
    use crate::metrics::Registry;
    use crate::values::feature_type::{FeatureType, Parse};

    /// Refuses any fetch with an id that begins with `bad`, as a database refuses a whole statement, and counts fetches. Each
    /// answer takes a moment.
    #[derive(Debug)]
    struct Strict(Arc<Layout>, AtomicU64);

    impl FeatureSource for Strict {
        fn fetch<'a>(
            &'a self,
            ids: &'a [EntityId],
            _: Lane,
        ) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if ids.iter().any(|id| id.to_string().starts_with("bad")) {
                    return Err(SourceError::Refused("22P02".to_owned()));
                }
                Ok(ids.iter().map(|_| self.0.builder(now()).finish()).collect())
            }
            .boxed()
        }
    }

    fn remote() -> (Arc<RemoteSource>, Arc<Strict>) {
        let field = Field {
            group: None,
            column: "x".to_owned(),
            kind: FeatureType::Float,
            parse: Parse::Strict,
            single: false,
            categories: Vec::new(),
            whole: false,
        };
        let layout = Arc::new(Layout::new("id", vec![field]));
        let source = Arc::new(Strict(layout.clone(), AtomicU64::new(0)));
        let timeouts = Timeouts {
            timeout: Duration::from_millis(50),
            bulk_timeout: Duration::from_millis(50),
            cooldown: Duration::from_secs(60),
        };
        let metrics = FeatureMetrics::new(&Registry::default()).unwrap().source("s");
        let remote = RemoteSource::new("s", layout, source.clone(), None, timeouts, metrics);
        (Arc::new(remote), source)
    }

    fn text(id: &str) -> EntityId {
        EntityId::Text(id.to_owned())
    }

    #[tokio::test]
    async fn a_refused_id_costs_its_neighbours_nothing() {
        let (remote, _) = remote();
        let ids = [text("C-1"), text("bad"), text("C-2"), text("bad"), text("C-3")];
        for _ in 0..100 {
            let found = remote.get(&ids, now(), None).await;
            let known: Vec<bool> = found
                .iter()
                .map(|lookup| matches!(lookup, Lookup::Vector(..)))
                .collect();
            assert_eq!(known, [true, false, true, false, true]);
            assert!(matches!(found[1], Lookup::Unknown), "{:?}", found[1]);
        }
        // A hundred refusals have not opened the circuit breaker.
        assert!(matches!(
            remote.get(&[text("C-4")], now(), None).await[0],
            Lookup::Vector(..)
        ));
    }

    #[tokio::test]
    async fn many_refused_ids_take_no_longer_than_a_few_answers() {
        let (remote, _) = remote();
        let mut ids: Vec<EntityId> = (0..300).map(|number| text(&format!("bad {number}"))).collect();
        ids.push(text("C-1"));
        for _ in 0..30 {
            let found = remote.get(&ids, now(), None).await;
            assert!(matches!(found[300], Lookup::Vector(..)), "{:?}", found[300]);
            assert!(
                found[..300]
                    .iter()
                    .all(|lookup| matches!(lookup, Lookup::Unknown))
            );
        }
        assert!(matches!(
            remote.get(&[text("C-4")], now(), None).await[0],
            Lookup::Vector(..)
        ));
    }

    #[tokio::test]
    async fn the_queries_of_one_fetch_are_bounded() {
        let (remote, source) = remote();
        let ids: Vec<EntityId> = (0..5000).map(|number| text(&format!("bad {number}"))).collect();
        let found = remote.get(&ids, now(), None).await;
        assert_eq!(found.len(), ids.len());
        let most = 1 + ids.len().div_ceil(PART) + MOST_PARTS * PART;
        assert!(source.1.load(Ordering::Relaxed) <= most as u64);
        assert!(matches!(
            remote.get(&[text("C-4")], now(), None).await[0],
            Lookup::Vector(..)
        ));
    }

    #[tokio::test]
    async fn an_id_that_no_store_can_hold_is_not_asked_for() {
        let (remote, source) = remote();
        let found = remote.get(&[text("a\0b")], now(), None).await;
        assert!(matches!(found[0], Lookup::Unknown));
        assert_eq!(source.1.load(Ordering::Relaxed), 0);
    }
}
