//! The account of one request: its body, what the body decodes to, and the answer until the client has taken it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::{MemoryBudget, NoMemory, Reservation};

/// What the requests of one connection hold together.
#[derive(Debug)]
pub struct ConnectionMemory {
    budget: Arc<MemoryBudget>,
    held: AtomicUsize,
}

/// The account of one request. Clones share it; the last one to go returns all bytes.
#[derive(Clone, Debug)]
pub struct RequestMemory(Arc<Account>);

#[derive(Debug)]
struct Account {
    connection: Arc<ConnectionMemory>,
    /// Bytes of the body that are buffered.
    body: AtomicUsize,
    /// Bytes of what the body was decoded to.
    decoded: AtomicUsize,
    /// Bytes of the answer that are not in pieces yet.
    answer: AtomicUsize,
    /// Bytes of the pieces of the answer that the transport has, and of decoders.
    pieces: AtomicUsize,
    /// Number of the pieces that the transport has.
    waiting: AtomicU32,
    /// When the client last took a piece of several, or the first one was made: milliseconds of the connection.
    since: AtomicU64,
    meter: OnceLock<Box<dyn BodyMeter>>,
}

/// Learns of the work that a body makes.
pub trait BodyMeter: Debug + Send + Sync {
    /// So many more bytes of the body, unpacked, are about to be decoded.
    fn decoding(&self, bytes: usize);

    /// What is decoded takes so many bytes of memory.
    fn decoded(&self, bytes: usize);

    /// A packed message of so many bytes was announced. If it cannot be unpacked, its decoding never begins.
    fn packed(&self, bytes: usize);
}

tokio::task_local! {
    static CURRENT: RequestMemory;
}

/// The account of the request that this task works on; `None` outside of requests, such as in offline commands.
pub fn current() -> Option<RequestMemory> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Uses the account of [`current`] where it is; `work` must not enter a scope of another one.
pub fn with_current<T>(work: impl FnOnce(&RequestMemory) -> T) -> Option<T> {
    CURRENT.try_with(work).ok()
}

impl ConnectionMemory {
    /// The account of a new connection.
    pub fn new(budget: Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            held: AtomicUsize::new(0),
        })
    }

    /// Takes bytes for a request that holds `held`. A connection that holds an eighth of the budget gets no more; below
    /// that any size passes, so that large requests do not need an idle connection.
    fn take(&self, held: usize, bytes: usize) -> Result<(), NoMemory> {
        self.has_share(held)?;
        self.budget.take(held, bytes)?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that bytes would be granted to a request that holds `held`, without taking them.
    fn check(&self, held: usize, bytes: usize) -> Result<(), NoMemory> {
        self.has_share(held)?;
        self.budget.check(held, bytes)
    }

    fn has_share(&self, held: usize) -> Result<(), NoMemory> {
        if held == 0 && self.held.load(Ordering::Relaxed) > self.budget.limit() / 8 {
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            return Err(NoMemory::ConnectionShare);
        }
        Ok(())
    }

    /// Holds `after` bytes instead of `before`, in one step and without a check. All cores share the budget's counter, so each
    /// change of it costs.
    fn change(&self, before: usize, after: usize) {
        if before != after {
            // Less is a difference that wraps around, as the counters do.
            let difference = after.wrapping_sub(before);
            self.held.fetch_add(difference, Ordering::Relaxed);
            self.budget.used.fetch_add(difference, Ordering::Relaxed);
            self.budget.was_returned(before.saturating_sub(after));
        }
    }
}

impl RequestMemory {
    /// The account of a new request.
    pub fn new(connection: Arc<ConnectionMemory>) -> Self {
        Self(Arc::new(Account {
            connection,
            body: AtomicUsize::new(0),
            decoded: AtomicUsize::new(0),
            answer: AtomicUsize::new(0),
            pieces: AtomicUsize::new(0),
            waiting: AtomicU32::new(0),
            since: AtomicU64::new(0),
            meter: OnceLock::new(),
        }))
    }

    /// Sets what learns of [`Self::decoding`], once.
    pub fn set_meter(&self, meter: Box<dyn BodyMeter>) {
        // A second one cannot come: the layer of the bodies runs once for a request.
        let _ = self.0.meter.set(meter);
    }

    /// Tells that packed messages of so many bytes were announced.
    pub fn packed(&self, bytes: usize) {
        if let (Some(meter), 1..) = (self.0.meter.get(), bytes) {
            meter.packed(bytes);
        }
    }

    /// Tells that so many more bytes of the body, unpacked, are about to be decoded.
    pub fn decoding(&self, bytes: usize) {
        if let Some(meter) = self.0.meter.get() {
            meter.decoding(bytes);
        }
    }

    /// Polls or runs `work` with this account as [`current`].
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Runs a future with this account as [`current`].
    pub fn scoped<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), work)
    }

    /// Whether more than half of the budget is in use.
    pub fn budget_is_short(&self) -> bool {
        self.0.connection.budget.is_short()
    }

    /// Takes bytes for a part of the body that has arrived.
    ///
    /// # Errors
    /// Too little is free.
    pub fn take_body(&self, bytes: usize) -> Result<(), NoMemory> {
        self.take(&self.0.body, bytes)
    }

    /// Takes bytes for what a body is about to be decoded to.
    ///
    /// # Errors
    /// Too little is free.
    pub fn take_decoded(&self, bytes: usize) -> Result<(), NoMemory> {
        self.take(&self.0.decoded, bytes)?;
        if let Some(meter) = self.0.meter.get() {
            meter.decoded(bytes);
        }
        Ok(())
    }

    /// Checks that this many bytes would be granted, without taking them: a client that announces a body may not send it.
    ///
    /// # Errors
    /// Too little is free.
    pub fn check(&self, bytes: usize) -> Result<(), NoMemory> {
        self.0.connection.check(self.held(), bytes)
    }

    /// The bytes of the body that are buffered.
    pub fn body(&self) -> usize {
        self.0.body.load(Ordering::Relaxed)
    }

    /// The bytes of the answer that are not in pieces yet.
    pub fn answer(&self) -> usize {
        self.0.answer.load(Ordering::Relaxed)
    }

    /// Sets the bytes of a body that is read in parts to those which are still buffered.
    pub fn keep_body(&self, bytes: usize) {
        self.set(&self.0.body, bytes);
    }

    /// Takes the bytes of a decoder; [`Self::drop_decoder`] returns them.
    ///
    /// # Errors
    /// Too little is free.
    pub fn hold_decoder(&self, bytes: usize) -> Result<(), NoMemory> {
        self.take(&self.0.pieces, bytes)
    }

    /// Reserves bytes for a part of the request's work that ends before the request.
    ///
    /// # Errors
    /// Too little is free.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, NoMemory> {
        self.0.connection.budget.reserve(bytes)
    }

    /// Reserves bytes that are there already.
    pub fn reserve_anyway(&self, bytes: usize) -> Reservation {
        self.0.connection.budget.reserve_anyway(bytes)
    }

    /// Moves the bytes of a decoded message to a share of their own: one message of a stream, whose body goes on.
    pub fn split_decoded(&self) -> Reservation {
        let bytes = self.0.decoded.swap(0, Ordering::Relaxed);
        self.0.connection.held.fetch_sub(bytes, Ordering::Relaxed);
        Reservation {
            budget: self.0.connection.budget.clone(),
            bytes,
        }
    }

    /// Holds an answer of this many bytes instead of the body and what it was decoded to. It is not refused: the batch
    /// that it comes from was admitted with room for it.
    pub fn hold_answer(&self, bytes: usize) {
        let account = &*self.0;
        let before = account.answer.swap(bytes, Ordering::Relaxed)
            + account.body.swap(0, Ordering::Relaxed)
            + account.decoded.swap(0, Ordering::Relaxed);
        account.connection.change(before, bytes);
    }

    /// Holds `bytes` for a piece of the answer until [`Self::drop_piece`]; `rest` bytes of the answer are held by no piece yet.
    /// Without `rest`, the answer is held beside its pieces. `now`: milliseconds of the connection.
    pub fn hold_piece(&self, bytes: usize, rest: Option<usize>, now: u64) {
        let account = &*self.0;
        if account.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            account.since.store(now, Ordering::Relaxed);
        }
        account.pieces.fetch_add(bytes, Ordering::Relaxed);
        let before = rest.map(|rest| account.answer.swap(rest, Ordering::Relaxed));
        let after = bytes + rest.unwrap_or(0);
        account.connection.change(before.unwrap_or(0), after);
    }

    /// Returns the bytes of a piece of an answer, which the client has taken.
    pub fn drop_piece(&self, bytes: usize, now: impl FnOnce() -> u64) {
        // Without another piece the time has no meaning.
        if self.0.waiting.load(Ordering::Relaxed) > 1 {
            self.0.since.store(now(), Ordering::Relaxed);
        }
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.drop_decoder(bytes);
    }

    /// Whether the transport has pieces of the answer.
    pub fn has_pieces(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether the client has taken no piece for more than `limit`, although there are some; both in milliseconds.
    pub fn is_stalled(&self, now: u64, limit: u64) -> bool {
        self.has_pieces() && now.saturating_sub(self.0.since.load(Ordering::Relaxed)) > limit
    }

    /// Returns the bytes of a decoder.
    pub fn drop_decoder(&self, bytes: usize) {
        self.0.pieces.fetch_sub(bytes, Ordering::Relaxed);
        self.0.connection.change(bytes, 0);
    }

    fn take(&self, part: &AtomicUsize, bytes: usize) -> Result<(), NoMemory> {
        self.0.connection.take(self.held(), bytes)?;
        part.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn held(&self) -> usize {
        self.0
            .parts()
            .map(|part| part.load(Ordering::Relaxed))
            .iter()
            .sum()
    }

    fn set(&self, part: &AtomicUsize, bytes: usize) {
        let before = part.swap(bytes, Ordering::Relaxed);
        self.0.connection.change(before, bytes);
    }
}

impl Account {
    fn parts(&self) -> [&AtomicUsize; 4] {
        [&self.body, &self.decoded, &self.answer, &self.pieces]
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let held = self.parts().map(|part| part.load(Ordering::Relaxed));
        self.connection.change(held.iter().sum(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_its_parts_until_the_last_clone_goes() {
        let budget = MemoryBudget::new(1 << 20);
        let connection = ConnectionMemory::new(budget.clone());
        let memory = RequestMemory::new(connection.clone());
        memory.take_body(1000).unwrap();
        memory.take_decoded(5000).unwrap();
        assert_eq!(budget.used(), 6000);
        memory.hold_answer(300);
        assert_eq!(budget.used(), 300);
        memory.hold_piece(50, None, 0);
        let clone = memory.clone();
        drop(memory);
        assert_eq!(budget.used(), 350);
        clone.drop_piece(50, || 0);
        drop(clone);
        assert_eq!((budget.used(), connection.held.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn an_answer_stalls_while_no_piece_is_taken() {
        let memory = RequestMemory::new(ConnectionMemory::new(MemoryBudget::new(1 << 20)));
        assert!(!memory.is_stalled(9000, 10));
        for now in [1000, 2000] {
            memory.hold_piece(50, None, now);
        }
        assert!(memory.is_stalled(1011, 10) && !memory.is_stalled(1010, 10));
        memory.drop_piece(50, || 3000);
        assert!(memory.has_pieces() && !memory.is_stalled(3005, 10) && memory.is_stalled(3011, 10));
        memory.drop_piece(50, || 4000);
        assert!(!memory.has_pieces() && !memory.is_stalled(9000, 10));
        memory.hold_piece(50, None, 9000);
        assert!(!memory.is_stalled(9005, 10));
        memory.drop_piece(50, || 9000);
    }

    #[test]
    fn a_message_of_a_stream_is_held_on_its_own() {
        let budget = MemoryBudget::new(1 << 20);
        let connection = ConnectionMemory::new(budget.clone());
        let memory = RequestMemory::new(connection.clone());
        memory.take_decoded(5000).unwrap();
        let message = memory.split_decoded();
        drop(memory);
        assert_eq!(budget.used(), 5000);
        drop(message);
        assert_eq!((budget.used(), connection.held.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_connection_cannot_hold_much_more_than_its_share() {
        let budget = MemoryBudget::new(8 << 20);
        let connection = ConnectionMemory::new(budget.clone());
        let first = RequestMemory::new(connection.clone());
        // Any size passes while the connection holds less than its share.
        first.take_body(3 << 20).unwrap();
        first.take_body(1 << 20).unwrap();
        let second = RequestMemory::new(connection);
        assert_eq!(second.take_body(1), Err(NoMemory::ConnectionShare));
        let other = RequestMemory::new(ConnectionMemory::new(budget));
        assert_eq!(other.take_body(1), Ok(()));
        drop(first);
        assert_eq!(second.take_body(1), Ok(()));
    }
}
