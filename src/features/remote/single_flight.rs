//! Single flight for batches: each entity is fetched at most once at a time. moka coalesces the loads of single keys only;
//! here one fetch covers all the keys of a request that nobody is fetching yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::features::layout::Vector;
use crate::values::entity_id::EntityId;

/// The result of a fetch: the vectors in the order of its ids, `None` for one that could not be fetched; `None` while it runs.
type FetchResult = Option<Result<Arc<[Option<Vector>]>, ()>>;

/// The entities that are being fetched.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    /// With a seeded hasher, as clients choose the ids.
    in_flight: Mutex<HashMap<EntityId, Waiter>>,
}

/// Waits for the vector of one entity.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    fetch: watch::Receiver<FetchResult>,
    /// The entity's position in the fetch.
    index: usize,
}

/// The caller that runs a fetch and publishes its result.
#[derive(Debug)]
pub(super) struct Leader(watch::Sender<FetchResult>);

/// The outcome of [`SingleFlight::join_or_lead`].
#[derive(Debug)]
pub(super) struct Join {
    /// One per entity, in their order.
    pub(super) waiters: Vec<Waiter>,
    /// The entities that nobody was fetching; the caller must fetch them.
    pub(super) lead: Option<(Vec<EntityId>, Leader)>,
}

impl SingleFlight {
    /// Joins the fetches in flight for `ids`, and makes the caller the leader of one fetch for all others.
    pub(super) fn join_or_lead(&self, ids: Vec<EntityId>) -> Join {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, fetch) = watch::channel(None);
        let mut own = Vec::new();
        let mut waiters = Vec::with_capacity(ids.len());
        for id in ids {
            // Ignore a fetch whose leader panicked.
            let known = in_flight
                .get(&id)
                .filter(|waiter| waiter.fetch.has_changed().is_ok());
            let waiter = match known {
                Some(waiter) => waiter.clone(),
                None => {
                    let waiter = Waiter {
                        fetch: fetch.clone(),
                        index: own.len(),
                    };
                    in_flight.insert(id.clone(), waiter.clone());
                    own.push(id);
                    waiter
                }
            };
            waiters.push(waiter);
        }
        let lead = (!own.is_empty()).then(|| (own, Leader(sender)));
        Join { waiters, lead }
    }

    /// Ends the leader's fetch of `ids`: nobody joins it any more.
    pub(super) fn end(&self, ids: &[EntityId], leader: &Leader) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let fetch = leader.0.subscribe();
        for id in ids {
            // After `forget`, another fetch of the entity may be in flight.
            let is_own = |waiter: &Waiter| waiter.fetch.same_channel(&fetch);
            if in_flight.get(id).is_some_and(is_own) {
                in_flight.remove(id);
            }
        }
    }

    /// Makes later callers fetch an entity, or all entities, again: what is in flight may be outdated.
    pub(super) fn forget(&self, id: Option<&EntityId>) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => drop(in_flight.remove(id)),
            None => in_flight.clear(),
        }
    }
}

impl Leader {
    /// Publishes the result to all waiters.
    pub(super) fn publish(self, result: Result<Vec<Option<Vector>>, ()>) {
        self.0.send_replace(Some(result.map(Arc::from)));
    }
}

impl Waiter {
    /// Waits for the vector; `None` if the fetch fails or has not ended by `until`.
    pub(super) async fn wait(&mut self, until: Instant) -> Option<Vector> {
        let result = self.fetch.wait_for(Option::is_some);
        let result = tokio::time::timeout_at(until.into(), result).await.ok()?.ok()?;
        match &*result {
            Some(Ok(vectors)) => vectors.get(self.index).cloned().flatten(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::features::layout::Layout;

    fn ids(numbers: &[i64]) -> Vec<EntityId> {
        numbers.iter().map(|&number| EntityId::Int(number)).collect()
    }

    /// A vector that its fetch time identifies.
    fn vector(fetched: f64) -> Vector {
        Layout::unknown(fetched)
    }

    fn wait(waiter: &mut Waiter) -> Option<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let until = Instant::now() + Duration::from_millis(20);
        let found = runtime.unwrap().block_on(waiter.wait(until));
        found.map(|vector| vector.fetched())
    }

    #[test]
    fn a_second_caller_joins_and_leads_only_what_is_left() {
        let flights = SingleFlight::default();
        let mut first = flights.join_or_lead(ids(&[1, 2]));
        let (own, leader) = first.lead.take().unwrap();
        assert_eq!(own, ids(&[1, 2]));
        let mut second = flights.join_or_lead(ids(&[2, 3]));
        let (rest, other) = second.lead.take().unwrap();
        assert_eq!(rest, ids(&[3]));
        leader.publish(Ok(vec![Some(vector(10.0)), Some(vector(20.0))]));
        assert_eq!(wait(&mut second.waiters[0]), Some(20.0));
        assert_eq!(wait(&mut second.waiters[1]), None, "its leader has not published");
        other.publish(Ok(vec![Some(vector(30.0))]));
        assert_eq!(wait(&mut second.waiters[1]), Some(30.0));
        assert_eq!(wait(&mut first.waiters[0]), Some(10.0));
    }

    #[test]
    fn a_failed_or_lost_fetch_gives_nothing_and_is_not_joined() {
        let flights = SingleFlight::default();
        let mut failed = flights.join_or_lead(ids(&[1]));
        let (own, leader) = failed.lead.take().unwrap();
        flights.end(&own, &leader);
        leader.publish(Err(()));
        assert_eq!(wait(&mut failed.waiters[0]), None);
        let mut lost = flights.join_or_lead(ids(&[1]));
        drop(lost.lead.take());
        assert_eq!(wait(&mut lost.waiters[0]), None, "the leader panicked");
        assert!(flights.join_or_lead(ids(&[1])).lead.is_some());
    }

    #[test]
    fn a_forgotten_entity_is_fetched_again() {
        let flights = SingleFlight::default();
        let (own, leader) = flights.join_or_lead(ids(&[1, 2])).lead.unwrap();
        flights.forget(Some(&EntityId::Int(1)));
        let (again, _other) = flights.join_or_lead(ids(&[1, 2])).lead.unwrap();
        assert_eq!(again, ids(&[1]));
        // The end of the first fetch must not end the second one.
        flights.end(&own, &leader);
        assert_eq!(flights.join_or_lead(ids(&[1, 2])).lead.unwrap().0, ids(&[2]));
    }
}
