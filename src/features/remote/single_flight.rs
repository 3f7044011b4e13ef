//! One fetch per entity at a time. moka can coalesce the loads of one key, but not of many keys into one fetch; this
//! does both.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::features::layout::Vector;
use crate::values::entity_id::EntityId;

type FetchResult = Option<Result<Arc<[Vector]>, ()>>;

/// The entities being fetched.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    under_way: Mutex<FxHashMap<EntityId, Waiter>>,
}

/// The place in a flight where an entity's vector will be.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    flight: watch::Receiver<FetchResult>,
    seat: usize,
}

/// The pilot's end of a flight.
#[derive(Debug)]
pub(super) struct Leader(watch::Sender<FetchResult>);

/// What became of the entities that wanted to fly.
#[derive(Debug)]
pub(super) struct Join {
    /// One per entity, in their order.
    pub(super) landings: Vec<Waiter>,
    /// The entities that nobody was fetching, to be fetched by the caller.
    pub(super) own: Option<(Vec<EntityId>, Leader)>,
}

impl SingleFlight {
    pub(super) fn board(&self, ids: Vec<EntityId>) -> Join {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, flight) = watch::channel(None);
        let mut own = Vec::new();
        let mut landings = Vec::with_capacity(ids.len());
        for id in ids {
            // A flight whose pilot is gone without a word (a panic) is none.
            let known = under_way
                .get(&id)
                .filter(|landing| landing.flight.has_changed().is_ok());
            let landing = match known {
                Some(landing) => landing.clone(),
                None => {
                    let landing = Waiter {
                        flight: flight.clone(),
                        seat: own.len(),
                    };
                    under_way.insert(id.clone(), landing.clone());
                    own.push(id);
                    landing
                }
            };
            landings.push(landing);
        }
        let own = (!own.is_empty()).then(|| (own, Leader(sender)));
        Join { landings, own }
    }

    /// The flight of `ids` is over.
    pub(super) fn land(&self, ids: &[EntityId], pilot: &Leader) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = pilot.0.subscribe();
        for id in ids {
            // Another flight may be under way by now, if this one was forgotten.
            if under_way
                .get(id)
                .is_some_and(|landing| landing.flight.same_channel(&flight))
            {
                under_way.remove(id);
            }
        }
    }

    /// Lets nobody join the flights of an entity, or of all, that have begun: what they bring may be old.
    pub(super) fn forget(&self, id: Option<&EntityId>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => drop(under_way.remove(id)),
            None => under_way.clear(),
        }
    }
}

impl Leader {
    pub(super) fn send(self, result: Result<Vec<Vector>, ()>) {
        self.0.send_replace(Some(result.map(Arc::from)));
    }
}

impl Waiter {
    /// The vector, or `None` when the fetch failed or is not done by `until`.
    pub(super) async fn wait(&mut self, until: Instant) -> Option<Vector> {
        let landed = self.flight.wait_for(Option::is_some);
        let landed = tokio::time::timeout_at(until.into(), landed).await.ok()?.ok()?;
        match &*landed {
            Some(Ok(vectors)) => vectors.get(self.seat).cloned(),
            _ => None,
        }
    }
}
