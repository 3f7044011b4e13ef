//! Isolates ids that a store refuses.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::{FetchedVector, RemoteSource};
use crate::features::layout::{Layout, Vector};
use crate::features::source::{Lane, SourceError};
use crate::values::entity_id::EntityId;
use crate::values::time::now;

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

impl RemoteSource {
    /// Fetches ids of which the store refuses some, so that one client's bad id does not cost the others their answers: in
    /// parts, and those that are refused one by one, all at once on the connections. The store has answered, so what is not
    /// there by `end` says nothing about its health: those ids are unavailable.
    pub(super) async fn isolated(
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
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::super::{Lookup, Timeouts};
    use super::*;
    use crate::features::layout::Field;
    use crate::features::metrics::FeatureMetrics;
    use crate::features::source::FeatureSource;
    use crate::metrics::Registry;
    use crate::values::feature_type::{FeatureType, Parse};

    /// Refuses any fetch with an id that begins with `bad`, as a database refuses a whole statement, and counts fetches. Each
    /// answer takes a moment.
    #[derive(Debug)]
    struct Strict(Arc<Layout>, AtomicU64, Duration);

    impl FeatureSource for Strict {
        fn fetch<'a>(
            &'a self,
            ids: &'a [EntityId],
            _: Lane,
        ) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(self.2).await;
                if ids.iter().any(|id| id.to_string().starts_with("bad")) {
                    return Err(SourceError::Refused("22P02".to_owned()));
                }
                Ok(ids.iter().map(|_| self.0.builder(now()).finish()).collect())
            }
            .boxed()
        }
    }

    /// A time limit far beyond what a few answers take, and far below what one for each id would.
    const LIMIT: Duration = Duration::from_secs(3);

    fn remote(answer_takes: Duration) -> (Arc<RemoteSource>, Arc<Strict>) {
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
        let source = Arc::new(Strict(layout.clone(), AtomicU64::new(0), answer_takes));
        let timeouts = Timeouts {
            timeout: LIMIT,
            bulk_timeout: LIMIT,
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
        let (remote, _) = remote(Duration::ZERO);
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
        let (remote, _) = remote(LIMIT / 100);
        let mut ids: Vec<EntityId> = (0..300).map(|number| text(&format!("bad {number}"))).collect();
        ids.push(text("C-1"));
        for _ in 0..10 {
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
        let (remote, source) = remote(Duration::ZERO);
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
        let (remote, source) = remote(Duration::ZERO);
        let found = remote.get(&[text("a\0b")], now(), None).await;
        assert!(matches!(found[0], Lookup::Unknown));
        assert_eq!(source.1.load(Ordering::Relaxed), 0);
    }
}
