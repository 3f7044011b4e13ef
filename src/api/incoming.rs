//! Request bodies while they arrive: their time limit (`server.body_seconds`), their least rate, and the memory that they
//! take. Bulk and streaming endpoints have their own limits in `[streams]`.

mod charge;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use crate::app::App;
use crate::error::Error;
use crate::memory::{self, NoMemory, RequestMemory};
use crate::scoring::Client;
use crate::scoring::client::BodyLimits;
use charge::{BodyCharge, FREE_BYTES};

/// Time between two looks at the rate of a body.
const TICK: Duration = Duration::from_secs(1);

/// Ticks within which [`LEAST_BYTES`] must arrive. A body that is held back would occupy memory for as long as its client
/// likes.
const WINDOW: u32 = 5;

/// Bytes that must arrive within a window.
const LEAST_BYTES: usize = 5 << 10;

/// Bytes that must arrive within a tick while memory is short.
const LEAST_BYTES_SHORT: usize = 64 << 10;

/// Parts that a body may have, whatever their size. A part is a chunk of HTTP/1.1 or a DATA frame of HTTP/2; each costs
/// far more work than its bytes.
const FREE_PARTS: usize = 4096;

/// Bytes that the parts beyond [`FREE_PARTS`] must have on average. A line of its own per part is longer.
const LEAST_PART: usize = 4;

/// Unpacked bytes that a body may have per packed byte. JSON seldom shrinks to a fiftieth.
pub(super) const MOST_RATIO: usize = 100;

/// Why a body ended early.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum BodyEnded {
    /// It did not arrive in time.
    #[error("the body did not arrive within {} s (server.body_seconds)", .0.as_secs())]
    TooLate(Duration),
    /// It arrived too slowly.
    #[error("the body arrived too slowly: expected at least {LEAST_BYTES} bytes within {WINDOW} s")]
    TooSlow,
    /// Its parts are tiny.
    #[error(
        "the body arrives in too many parts: expected at least {LEAST_PART} bytes on average in a chunk or DATA frame"
    )]
    TinyParts,
    /// It found no memory.
    #[error("{0}")]
    NoMemory(#[from] NoMemory),
    /// It unpacks to more than its packed size allows.
    #[error(
        "the body unpacks to more than 1 MiB and more than {MOST_RATIO} times its packed size; send it unpacked"
    )]
    TooDense,
    /// Its client owes for earlier bodies.
    #[error("{0}")]
    AboveRate(Error),
    /// It was slow while memory was short.
    #[error("the server is short of memory and ends requests whose body arrives slowly; retry shortly")]
    Evicted,
}

impl From<BodyEnded> for Error {
    fn from(ended: BodyEnded) -> Self {
        match ended {
            BodyEnded::TooLate(_) | BodyEnded::TooSlow => Self::too_slow(ended.to_string()),
            BodyEnded::TinyParts => Self::invalid(ended.to_string()),
            BodyEnded::NoMemory(error) => error.into(),
            BodyEnded::TooDense => Self::too_large(ended.to_string()),
            BodyEnded::Evicted => Self::overloaded(ended.to_string()),
            BodyEnded::AboveRate(error) => error,
        }
    }
}

/// Which timeout applies to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyTimeout {
    /// `server.body_seconds`, for a body that is read whole.
    Whole,
    /// None here: the handler applies `[streams]`.
    Stream,
    /// Until the server stops: a conversation has no other end.
    Conversation,
}

/// Selects the timeout from the matched route and the path.
pub(super) type SelectTimeout = fn(Option<&str>, &str) -> BodyTimeout;

/// The maximum size of a body that is read whole, in the extensions of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit(pub(super) usize);

/// Returns a layer that watches request bodies; `failure` converts the error for the protocol. With `counted`, messages
/// of gRPC draw on the memory budget when they are announced; otherwise the handler counts what it keeps.
pub(super) fn layer(
    app: &App,
    select: SelectTimeout,
    counted: bool,
    failure: fn(BodyEnded) -> axum::Error,
) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + use<>> {
    let watch = Arc::new(BodyWatch {
        time: Duration::from_secs(app.config.server.body_seconds),
        limit: BodyLimit(app.config.limits.body_bytes),
        stop: app.closing.clone(),
        select,
        counted,
        failure,
    });
    MapRequestLayer::new(move |request| watch.apply(request))
}

#[derive(Debug)]
struct BodyWatch {
    time: Duration,
    limit: BodyLimit,
    stop: CancellationToken,
    select: SelectTimeout,
    counted: bool,
    failure: fn(BodyEnded) -> axum::Error,
}

impl BodyWatch {
    fn apply(self: &Arc<Self>, mut request: Request) -> Request {
        if HttpBody::is_end_stream(request.body()) {
            return request;
        }
        request.extensions_mut().insert(self.limit);
        let route = request.extensions().get::<MatchedPath>();
        let timeout = (self.select)(route.map(MatchedPath::as_str), request.uri().path());
        let memory = memory::current();
        let limits = request.extensions().get::<Client>().and_then(Client::body_limits);
        if let (Some(memory), Some(limits)) = (&memory, &limits) {
            memory.set_meter(Box::new(BodyCharge::new(limits.clone(), self.limit.0)));
        }
        match timeout {
            BodyTimeout::Conversation => {
                let stopped = self.stop.clone().cancelled_owned();
                request.map(|body| Body::new(ConversationBody { body, stopped }))
            }
            timeout => request.map(|body| {
                Body::new(IncomingBody {
                    frames: Frames::default(),
                    parts: Parts::default(),
                    body,
                    memory,
                    limits,
                    debt: None,
                    watch: self.clone(),
                    timed: timeout == BodyTimeout::Whole,
                    progress: None,
                    ended: false,
                })
            }),
        }
    }
}

/// How a body arrives, from its first wait for data: most arrive with the headers.
struct Progress {
    start: Instant,
    tick: Pin<Box<Sleep>>,
    /// Bytes in the present window, and in the present tick.
    window: usize,
    tick_bytes: usize,
    ticks: u32,
}

impl Progress {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            tick: Box::pin(tokio::time::sleep(TICK)),
            window: 0,
            tick_bytes: 0,
            ticks: 0,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.window += bytes;
        self.tick_bytes += bytes;
    }

    /// Looks at the rate after a tick. A body without a time limit may rest, unless memory is short.
    fn judge(&mut self, time: Option<Duration>, memory_is_short: bool) -> Result<(), BodyEnded> {
        let arrived = std::mem::take(&mut self.tick_bytes);
        self.ticks += 1;
        if memory_is_short && arrived < LEAST_BYTES_SHORT {
            return Err(BodyEnded::Evicted);
        }
        let Some(time) = time else { return Ok(()) };
        if self.start.elapsed() >= time {
            return Err(BodyEnded::TooLate(time));
        }
        if self.ticks.is_multiple_of(WINDOW) && std::mem::take(&mut self.window) < LEAST_BYTES {
            return Err(BodyEnded::TooSlow);
        }
        Ok(())
    }
}

/// Follows the frames of gRPC: five bytes, the last four of which are the length of the message after them. The decoder
/// reserves that length as soon as it is announced.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 5],
    have: usize,
    rest: usize,
    /// Bytes of compressed messages that were announced.
    packed: usize,
}

impl Frames {
    /// Returns the bytes that the frames announce whose header is complete with `bytes`, each at most `limit`.
    fn announced(&mut self, mut bytes: &[u8], limit: usize) -> usize {
        let mut announced = 0;
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let (part, after) = bytes.split_at((self.header.len() - self.have).min(bytes.len()));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            bytes = after;
            if self.have == self.header.len() {
                let [compressed, a, b, c, d] = self.header;
                self.rest = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.have = 0;
                announced += self.rest.min(limit);
                self.packed += self.rest.min(limit) * usize::from(compressed.min(1));
            }
        }
        announced
    }
}

/// The parts of a body that have arrived.
#[derive(Debug, Default)]
struct Parts {
    count: usize,
    bytes: usize,
}

impl Parts {
    /// Adds a part; returns whether the body may go on.
    fn add(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes;
        self.count <= FREE_PARTS || self.bytes / self.count >= LEAST_PART
    }
}

pin_project! {
    /// A body that is watched while it arrives.
    struct IncomingBody {
        frames: Frames,
        parts: Parts,
        body: Body,
        memory: Option<RequestMemory>,
        limits: Option<BodyLimits>,
        // Until its client has paid for earlier bodies.
        debt: Option<Pin<Box<Sleep>>>,
        watch: Arc<BodyWatch>,
        timed: bool,
        progress: Option<Progress>,
        ended: bool,
    }
}

impl IncomingBody {
    fn end(&mut self, why: BodyEnded) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.ended = true;
        // hyper closes the stream or the connection for what has not arrived.
        self.body = Body::empty();
        Poll::Ready(Some(Err((self.watch.failure)(why))))
    }

    /// Ready if its client does not owe for earlier bodies. A body that is read whole is refused, a stream waits.
    fn paid(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyEnded>> {
        loop {
            if let Some(debt) = &mut self.debt {
                ready!(debt.as_mut().poll(context));
                self.debt = None;
            }
            let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
            let limits = self.limits.as_ref();
            let Some(limits) = limits.filter(|_| self.parts.bytes.saturating_add(announced) > FREE_BYTES)
            else {
                return Poll::Ready(Ok(()));
            };
            let debt = limits.debt();
            if self.timed {
                let refused = debt.map(|debt| limits.refuse(debt));
                self.limits = None;
                return Poll::Ready(refused.map_or(Ok(()), |error| Err(BodyEnded::AboveRate(error))));
            }
            let Some(debt) = debt else {
                return Poll::Ready(Ok(()));
            };
            self.debt = Some(Box::pin(tokio::time::sleep(debt)));
        }
    }
}

impl HttpBody for IncomingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match this.paid(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(why)) => return this.end(why),
            Poll::Pending => return Poll::Pending,
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            if let Some(progress) = &mut this.progress {
                progress.add(bytes);
            }
            if matches!(frame, Some(Ok(_))) && !this.parts.add(bytes) {
                return this.end(BodyEnded::TinyParts);
            }
            if let Some(memory) = this.memory.as_ref().filter(|_| this.watch.counted)
                && let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                let announced = this.frames.announced(data, this.watch.limit.0);
                memory.packed(std::mem::take(&mut this.frames.packed));
                if let Err(error) = memory.take_body(announced) {
                    return this.end(error.into());
                }
            }
            return Poll::Ready(frame);
        }
        // A stream may rest between its messages; a part of one holds memory.
        let rests = || this.memory.as_ref().is_none_or(|memory| memory.body() == 0);
        if !this.timed && (!this.watch.counted || rests()) {
            this.progress = None;
            return Poll::Pending;
        }
        let time = this.timed.then_some(this.watch.time);
        let progress = this.progress.get_or_insert_with(Progress::new);
        while progress.tick.as_mut().poll(context).is_ready() {
            let short = this.memory.as_ref().is_some_and(RequestMemory::budget_is_short);
            if let Err(why) = progress.judge(time, short) {
                return this.end(why);
            }
            progress.tick.set(tokio::time::sleep(TICK));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A body that ends when the server stops.
    struct ConversationBody<E> {
        body: Body,
        #[pin]
        stopped: E,
    }
}

impl<E: Future<Output = ()>> HttpBody for ConversationBody<E> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        if let Poll::Ready(frame) = Pin::new(this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        this.stopped.poll(context).map(|()| None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_when_they_are_announced() {
        let mut bytes = vec![0, 0, 0, 0, 3, 7, 7, 7];
        bytes.extend([1, 0, 1, 0, 0]);
        bytes.extend(vec![9; 65_536]);
        bytes.extend([0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        let whole = Frames::default().announced(&bytes, 1 << 20);
        assert_eq!(whole, 3 + 65_536 + (1 << 20));
        let mut packed = Frames::default();
        packed.announced(&bytes, 1 << 20);
        assert_eq!(packed.packed, 65_536, "the second message");
        let mut single = Frames::default();
        let parts: usize = bytes.iter().map(|byte| single.announced(&[*byte], 1 << 20)).sum();
        assert_eq!(parts, whole);
        let mut started = Frames::default();
        assert_eq!(started.announced(&bytes[..4], 100), 0);
        assert_eq!(started.announced(&bytes[4..6], 100), 3);
    }

    #[test]
    fn tiny_parts_end_a_body_after_some_thousands() {
        let mut tiny = Parts::default();
        assert_eq!((0..10_000).take_while(|_| tiny.add(1)).count(), FREE_PARTS);
        let mut lines = Parts::default();
        assert!((0..100_000).all(|number| lines.add(if number % 2 == 0 { 11 } else { 1 })));
    }

    #[tokio::test]
    async fn a_body_must_keep_arriving() {
        let time = Some(Duration::from_secs(30));
        let mut progress = Progress::new();
        let second = |progress: &mut Progress, bytes, short| {
            progress.add(bytes);
            progress.judge(time, short)
        };
        for _ in 0..WINDOW {
            assert!(second(&mut progress, 1 << 10, false).is_ok());
        }
        assert!(second(&mut progress, 70 << 10, true).is_ok());
        assert!(matches!(
            second(&mut progress, 1 << 10, true),
            Err(BodyEnded::Evicted)
        ));
        let mut held = Progress::new();
        let ends: Vec<bool> = (0..WINDOW)
            .map(|_| second(&mut held, 10, false).is_err())
            .collect();
        assert_eq!(ends, [false, false, false, false, true]);
        let mut late = Progress::new();
        late.add(1 << 20);
        assert!(matches!(
            late.judge(Some(Duration::ZERO), false),
            Err(BodyEnded::TooLate(_))
        ));
        let mut stream = Progress::new();
        for _ in 0..2 * WINDOW {
            assert!(stream.judge(None, false).is_ok());
        }
        assert!(matches!(stream.judge(None, true), Err(BodyEnded::Evicted)));
    }
}
