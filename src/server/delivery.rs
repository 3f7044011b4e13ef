//! How answers leave the server: in pieces, each of which holds its share of the memory budget until the transport has
//! written it. hyper gives HTTP/2 a whole chunk once the client's window has room for one byte, and does not poll the body
//! while it waits, so a timeout inside the body would never fire. Therefore:
//!
//! - an HTTP/2 stream whose client takes no piece for `server.response_seconds` is reset ([`StreamExecutor`]);
//! - a connection with a piece that is older than that (HTTP/1.1), or twice as old (HTTP/2: a piece may outlive its stream
//!   inside the transport), is closed ([`Delivery::is_stalled`]).
//!
//! While memory is short, [`SHORT_OF_MEMORY`] takes the place of the setting.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::memory::{MemoryBudget, PIECE, RequestMemory};
use crate::work;

/// How long a client may take for a piece while memory is short.
const SHORT_OF_MEMORY: Duration = Duration::from_secs(2);

/// How often a stream with an answer that is not taken is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Buckets of a connection's pieces by their age. The ring spans longer than a piece may live.
const BUCKETS: usize = 64;

/// The pieces of one connection that the transport has not written yet, by the time at which they were made.
#[derive(Debug)]
pub(super) struct Delivery {
    budget: Arc<MemoryBudget>,
    start: Instant,
    limit: Duration,
    /// Milliseconds of a bucket.
    bucket: u64,
    pieces: [AtomicU32; BUCKETS],
}

impl Delivery {
    /// For a connection whose client may take `limit` for a piece.
    pub(super) fn new(budget: Arc<MemoryBudget>, limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            budget,
            start: Instant::now(),
            limit,
            // A piece lives for twice the limit at most, and a second until that is noticed.
            bucket: milliseconds(limit * 4 / 64).max(1000),
            pieces: [const { AtomicU32::new(0) }; BUCKETS],
        })
    }

    fn limit(&self) -> Duration {
        if self.budget.is_short() {
            SHORT_OF_MEMORY.min(self.limit)
        } else {
            self.limit
        }
    }

    /// Milliseconds since the connection began.
    fn age(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }

    fn bucket_of(&self, age: u64) -> usize {
        usize::try_from(age / self.bucket % BUCKETS as u64).unwrap_or(0)
    }

    /// Whether a piece is older than `times` the limit.
    pub(super) fn is_stalled(&self, times: u32) -> bool {
        let buckets = milliseconds(self.limit() * times).div_ceil(self.bucket) + 1;
        let recent = usize::try_from(buckets).unwrap_or(BUCKETS);
        let now = self.bucket_of(self.age());
        // From the oldest bucket of the ring to the first that is recent.
        (1..BUCKETS.saturating_sub(recent))
            .any(|ahead| self.pieces[(now + ahead) % BUCKETS].load(Ordering::Relaxed) > 0)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

thread_local! {
    /// The account of the answer that a stream began in the poll that runs on this thread.
    static BEGUN: Cell<Option<RequestMemory>> = const { Cell::new(None) };
}

/// Runs the streams of an HTTP/2 connection, and drops those whose client does not take the answer; hyper resets a stream
/// that is dropped.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    delivery: Arc<Delivery>,
}

impl StreamExecutor {
    pub(super) fn new(delivery: Arc<Delivery>) -> Self {
        Self { delivery }
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(WatchedStream {
            future,
            delivery: self.delivery.clone(),
            answer: None,
            tick: None,
        });
    }
}

pin_project! {
    /// A stream that ends when its client takes nothing for too long.
    struct WatchedStream<F> {
        #[pin]
        future: F,
        delivery: Arc<Delivery>,
        // The account of its answer, once there is one.
        answer: Option<RequestMemory>,
        tick: Option<Pin<Box<tokio::time::Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for WatchedStream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // A poll that panicked may have left another one's.
        BEGUN.set(None);
        let ended = this.future.poll(context);
        if let Some(begun) = BEGUN.take() {
            *this.answer = Some(begun);
        }
        if ended.is_ready() {
            return Poll::Ready(());
        }
        let Some(answer) = this.answer.as_ref().filter(|answer| answer.has_pieces()) else {
            *this.tick = None;
            return Poll::Pending;
        };
        let tick = this
            .tick
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(TICK)));
        while tick.as_mut().poll(context).is_ready() {
            let limit = milliseconds(this.delivery.limit());
            if answer.is_stalled(this.delivery.age(), limit) {
                tracing::debug!("stream reset: the client does not take the answer");
                return Poll::Ready(());
            }
            tick.set(tokio::time::sleep(TICK));
        }
        Poll::Pending
    }
}

/// What a piece holds until the transport drops it.
struct Piece {
    bytes: Bytes,
    /// Bytes that it holds: those of its frame if it is the last of it.
    held: usize,
    delivery: Arc<Delivery>,
    bucket: usize,
    memory: RequestMemory,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.delivery.pieces[self.bucket].fetch_sub(1, Ordering::Relaxed);
        self.memory.drop_piece(self.held, || self.delivery.age());
    }
}

pin_project! {
    /// An answer in pieces.
    pub(super) struct OutgoingBody {
        #[pin]
        body: Body,
        // What is left of a frame of the body, and the length of that frame.
        rest: Bytes,
        frame: usize,
        delivery: Arc<Delivery>,
        memory: RequestMemory,
        compressed: bool,
    }
}

impl OutgoingBody {
    /// Tells the stream of HTTP/2 that is being polled on this thread whose answer it is.
    pub(super) fn of_stream(self) -> Self {
        BEGUN.set(Some(self.memory.clone()));
        self
    }

    /// `compressed`: the body holds the whole answer while it compresses it part by part.
    pub(super) fn new(body: Body, delivery: Arc<Delivery>, memory: RequestMemory, compressed: bool) -> Self {
        Self {
            body,
            compressed,
            rest: Bytes::new(),
            frame: 0,
            delivery,
            memory,
        }
    }
}

/// The length of a body, as far as it is known.
fn known_length(body: &Body) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

impl HttpBody for OutgoingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // To encode or compress a large answer takes long. An answer of known length is there already.
        let is_ready = self.body.size_hint().exact().is_some();
        let mut this = self.project();
        if this.rest.is_empty() {
            let mut poll = || this.body.as_mut().poll_frame(context);
            let frame = if is_ready {
                poll()
            } else {
                work::in_place(this.memory.answer(), poll)
            };
            match ready!(frame) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        *this.frame = data.len();
                        *this.rest = data;
                    }
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = this.rest.len().min(PIECE);
        let bytes = this.rest.split_to(length);
        if bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let age = this.delivery.age();
        let bucket = this.delivery.bucket_of(age);
        this.delivery.pieces[bucket].fetch_add(1, Ordering::Relaxed);
        // The pieces of a frame share its memory, so the last one holds all of it.
        let (held, frame) = match this.rest.is_empty() {
            true => (*this.frame, 0),
            false => (0, *this.frame),
        };
        let rest = (!*this.compressed).then(|| known_length(&this.body).saturating_add(frame));
        this.memory.hold_piece(held, rest, age);
        let piece = Piece {
            bytes,
            held,
            delivery: this.delivery.clone(),
            bucket,
            memory: this.memory.clone(),
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::memory::ConnectionMemory;

    #[tokio::test]
    async fn a_piece_is_held_until_it_is_dropped() {
        let budget = MemoryBudget::new(8 << 20);
        let delivery = Delivery::new(budget.clone(), Duration::from_secs(30));
        let memory = RequestMemory::new(ConnectionMemory::new(budget.clone()));
        let text: String = (0..10_000).map(|number| format!("{number} ")).collect();
        let mut body = OutgoingBody::new(Body::from(text.clone()), delivery.clone(), memory, false);
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), budget.used()), (PIECE, text.len()));
        assert_eq!(body.size_hint().exact(), Some((text.len() - PIECE) as u64));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([&first[..], &rest[..]].concat(), text.as_bytes());
        drop(first);
        // Both are parts of one text.
        assert_eq!(budget.used(), text.len());
        drop(rest);
        assert_eq!(budget.used(), 0);
        assert!(
            delivery
                .pieces
                .iter()
                .all(|pieces| pieces.load(Ordering::Relaxed) == 0)
        );
    }

    #[tokio::test]
    async fn an_answer_of_known_length_is_held_frame_by_frame() {
        struct Frames(Vec<usize>);
        impl HttpBody for Frames {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                let frame = self.0.pop().map(|length| Ok(Frame::data(vec![0; length].into())));
                Poll::Ready(frame)
            }
            fn size_hint(&self) -> SizeHint {
                SizeHint::with_exact(self.0.iter().sum::<usize>() as u64)
            }
        }
        let budget = MemoryBudget::new(8 << 20);
        let delivery = Delivery::new(budget.clone(), Duration::from_secs(30));
        let memory = RequestMemory::new(ConnectionMemory::new(budget.clone()));
        // Frames of a piece, of two and a half, and of a few bytes.
        let lengths = [7, 5 * PIECE / 2, PIECE];
        let mut used = lengths.iter().sum::<usize>();
        memory.hold_answer(used);
        let body = Body::new(Frames(lengths.to_vec()));
        let mut body = OutgoingBody::new(body, delivery, memory, false);
        for (length, freed) in [
            (PIECE, PIECE),
            (PIECE, 0),
            (PIECE, 0),
            (PIECE / 2, 5 * PIECE / 2),
            (7, 7),
        ] {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((piece.len(), budget.used()), (length, used));
            drop(piece);
            used -= freed;
            assert_eq!(budget.used(), used);
        }
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn an_old_piece_stalls_the_connection() {
        let budget = MemoryBudget::new(1 << 20);
        let mut delivery = Delivery {
            budget: budget.clone(),
            start: Instant::now(),
            limit: Duration::from_secs(4),
            bucket: 1000,
            pieces: [const { AtomicU32::new(0) }; BUCKETS],
        };
        delivery.pieces[delivery.bucket_of(delivery.age())].fetch_add(1, Ordering::Relaxed);
        let Some(earlier) = Instant::now().checked_sub(Duration::from_secs(5)) else {
            return;
        };
        delivery.start = earlier;
        assert!(!delivery.is_stalled(1) && !delivery.is_stalled(2));
        let _used = budget.reserve_anyway(1 << 20);
        assert!(delivery.is_stalled(1) && !delivery.is_stalled(2));
    }
}
