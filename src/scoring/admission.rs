//! Admission: a request that would exceed the limit is refused at once, not queued. Below half of the limit every client
//! may enter. Above it, only a client that has less than its equal share may, and bulk work may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::{Client, ClientProfile, KnownClient, Usage};
use crate::error::Error;
use crate::memory::Reservation;

/// Counts the cost of the entities being scored.
#[derive(Debug)]
pub(super) struct Admission {
    limit: AtomicUsize,
    busy: AtomicUsize,
    /// Clients that have something in use.
    clients: AtomicUsize,
}

/// A share of the limit; dropping it returns the share.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    usage: Option<Arc<Usage>>,
    cost: usize,
    /// The memory of the admitted work.
    _memory: Option<Reservation>,
}

/// What a request counts against the limit.
#[derive(Debug)]
struct Wish {
    limit: usize,
    cost: usize,
    /// How much may be in use with this request.
    most: usize,
}

impl Wish {
    /// Whether it may start beside what is busy. Bulk work above half of the limit runs alone.
    fn fits(&self, busy: usize) -> bool {
        busy == 0 || busy.saturating_add(self.cost) <= self.most
    }
}

impl Permit {
    /// Holds the memory of the work as long as the permit.
    pub(super) fn with_memory(mut self, memory: Reservation) -> Self {
        self._memory = Some(memory);
        self
    }
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            busy: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
        }
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns the limit, and how much of it is in use.
    pub(super) fn state(&self) -> (usize, usize) {
        (
            self.limit.load(Ordering::Relaxed),
            self.busy.load(Ordering::Relaxed),
        )
    }

    /// Whether half of the limit is free.
    pub(super) fn has_free_half(&self) -> bool {
        let (limit, busy) = self.state();
        busy <= limit / 2
    }

    /// Checks that [`Self::enter`] would admit, at present.
    ///
    /// # Errors
    /// As for [`Self::enter`].
    pub(super) fn check(&self, client: &Client, entities: usize, cost: usize) -> Result<(), Error> {
        let wish = self.wish(client, entities, cost)?;
        let busy = self.busy.load(Ordering::Relaxed);
        match wish.fits(busy) {
            true => Ok(()),
            false => Err(self.refusal(client, &wish, busy)),
        }
    }

    /// Admits this many entities of a client at this cost.
    ///
    /// # Errors
    /// The limit or the client's share of it would be exceeded.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: &Client,
        entities: usize,
        cost: usize,
    ) -> Result<Permit, Error> {
        let wish = self.wish(client, entities, cost)?;
        let more = |busy| wish.fits(busy).then(|| busy + wish.cost);
        let admitted = self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match admitted {
            Ok(_) => Ok(self.permit(client, wish.cost)),
            Err(busy) => Err(self.refusal(client, &wish, busy)),
        }
    }

    /// What a client's request counts, and how far it may fill the limit.
    ///
    /// # Errors
    /// The client would exceed its own share.
    fn wish(&self, client: &Client, entities: usize, cost: usize) -> Result<Wish, Error> {
        let limit = self.limit.load(Ordering::Relaxed);
        // Above half of the limit only the number of entities counts, or costly requests would need an idle server. A
        // request above the whole limit runs alone.
        let cost = cost.min((limit / 2).max(entities)).min(limit);
        let equal_share = match client.known() {
            Some(known) => self.check_share(known, limit, cost)?,
            None => true,
        };
        let most = if client.is_bulk() || !equal_share {
            limit / 2
        } else {
            limit
        };
        Ok(Wish { limit, cost, most })
    }

    fn refusal(&self, client: &Client, wish: &Wish, busy: usize) -> Error {
        let (limit, would_fit) = (wish.limit, busy + wish.cost <= wish.limit);
        if would_fit && client.is_bulk() {
            return Error::overloaded(format!(
                "bulk requests may use half of limits.in_flight ({limit}), so that others need not wait; retry shortly"
            ));
        }
        match client.known().filter(|_| would_fit) {
            Some(known) => self.over_equal_share(&known.profile, limit),
            None => Error::overloaded(format!(
                "the server is scoring as many entities as limits.in_flight allows ({limit}); retry shortly"
            )),
        }
    }

    /// Returns whether the client has less than its equal share of the limit. Requests at the same moment may each see
    /// the other not yet counted; the limit itself is exact.
    ///
    /// # Errors
    /// The client would exceed its own share.
    fn check_share(&self, client: &KnownClient, limit: usize, cost: usize) -> Result<bool, Error> {
        let KnownClient { profile, usage } = client;
        let held = usage.held.load(Ordering::Relaxed);
        if held == 0 {
            return Ok(true);
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a limit lies between 0 and the limit"
        )]
        let own = (limit as f64 * profile.share) as usize;
        if held.saturating_add(cost) > own {
            profile.refused.share.inc();
            let setting = profile.setting("share");
            return Err(Error::client_limit(format!(
                "{profile} has {held} entities in progress and may have {own} ({setting}); retry shortly"
            )));
        }
        Ok(held < limit / self.clients.load(Ordering::Relaxed).max(1))
    }

    fn over_equal_share(&self, profile: &ClientProfile, limit: usize) -> Error {
        let clients = self.clients.load(Ordering::Relaxed);
        profile.refused.share.inc();
        Error::client_limit(format!(
            "{profile} has its equal share of limits.in_flight ({limit}) for {clients} clients; retry shortly"
        ))
    }

    fn permit(self: &Arc<Self>, client: &Client, cost: usize) -> Permit {
        let usage = client.known().map(|known| known.usage.clone());
        if let Some(usage) = &usage
            && usage.held.fetch_add(cost, Ordering::Relaxed) == 0
        {
            self.clients.fetch_add(1, Ordering::Relaxed);
        }
        Permit {
            admission: self.clone(),
            usage,
            cost,
            _memory: None,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.busy.fetch_sub(self.cost, Ordering::Relaxed);
        if let Some(usage) = &self.usage
            && usage.held.fetch_sub(self.cost, Ordering::Relaxed) == self.cost
        {
            self.admission.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::client;
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn work_beyond_the_limit_is_refused_until_some_is_done() {
        let (admission, anyone) = (Arc::new(Admission::new(10)), Client::default());
        let permit = admission.enter(&anyone, 8, 8).unwrap();
        assert!(admission.enter(&anyone, 3, 3).is_err());
        assert!(admission.enter(&anyone, 2, 2).is_ok());
        drop(permit);
        assert!(admission.enter(&anyone, 10, 10).is_ok());
        let alone = admission.enter(&anyone, 50, 50).unwrap();
        assert!(admission.enter(&anyone, 1, 1).is_err());
        drop(alone);
        let costly = admission.enter(&anyone, 2, 20).unwrap();
        assert!(admission.enter(&anyone, 5, 5).is_ok() && admission.enter(&anyone, 6, 6).is_err());
        drop(costly);
        assert!(admission.enter(&anyone, 10, 10).is_ok());
    }

    #[test]
    fn above_half_of_the_limit_a_client_has_its_equal_share() {
        let admission = Arc::new(Admission::new(100));
        let (one, other) = (client(None, 1.0, None), client(None, 1.0, None));
        let mut held = Vec::new();
        // Alone, it may have everything.
        for _ in 0..9 {
            held.push(admission.enter(&one, 10, 10).unwrap());
        }
        held.push(admission.enter(&other, 5, 5).unwrap());
        assert_eq!(
            admission.enter(&one, 5, 5).unwrap_err().kind(),
            ErrorKind::ClientLimit
        );
        held.push(admission.enter(&other, 5, 5).unwrap());
        // Below half of the limit it may again, with more than its share.
        held.drain(..6);
        held.push(admission.enter(&one, 10, 10).unwrap());
        held.clear();
        assert_eq!(admission.clients.load(Ordering::Relaxed), 0);
        assert_eq!(admission.busy.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_client_is_held_to_its_own_share() {
        let admission = Arc::new(Admission::new(100));
        let small = client(None, 0.2, None);
        // A request above the share runs, but nothing beside it.
        let first = admission.enter(&small, 30, 30).unwrap();
        let error = admission.enter(&small, 1, 1).unwrap_err();
        assert!(error.to_string().contains("may have 20 (`share`"), "{error}");
        drop(first);
        let _first = admission.enter(&small, 10, 10).unwrap();
        assert!(admission.enter(&small, 11, 11).is_err() && admission.enter(&small, 10, 10).is_ok());
    }

    #[test]
    fn bulk_work_leaves_half_of_the_limit_to_others() {
        let admission = Arc::new(Admission::new(100));
        let (client, bulk) = (client(None, 1.0, None), client(None, 1.0, None).in_bulk());
        let first = admission.enter(&bulk, 40, 40).unwrap();
        assert!(admission.check(&bulk, 20, 20).is_err() && admission.check(&client, 60, 60).is_ok());
        assert_eq!(
            admission.enter(&bulk, 20, 20).unwrap_err().kind(),
            ErrorKind::Overloaded
        );
        assert!(admission.enter(&client, 60, 60).is_ok());
        drop(first);
        // Alone, a larger batch runs too.
        assert!(admission.enter(&bulk, 60, 60).is_ok());
        assert!(admission.enter(&Client::default().in_bulk(), 60, 60).is_ok());
    }
}
