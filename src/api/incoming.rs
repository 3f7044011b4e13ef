//! Request bodies while they arrive: their time limit (`server.body_seconds`), their least rate, and the memory that they
//! take. Bulk and streaming endpoints have their own limits in `[streams]`.

mod charge;
mod frames;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, header};
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
use frames::{Frames, LEAST_PART, Parts};

/// Time between two looks at the rate of a body.
const TICK: Duration = Duration::from_secs(1);

/// Ticks within which [`LEAST_BYTES`] must arrive. A body that is held back would occupy memory for as long as its client
/// likes.
const WINDOW: u32 = 5;

/// Bytes that must arrive within a window.
const LEAST_BYTES: usize = 5 << 10;

/// Bytes that must arrive within a tick while memory is short.
const LEAST_BYTES_SHORT: usize = 64 << 10;

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
        let packed = is_packed(request.headers());
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
                    packed,
                    memory,
                    limits,
                    debt: None,
                    held: None,
                    watch: self.clone(),
                    timed: timeout == BodyTimeout::Whole,
                    progress: None,
                    ended: false,
                })
            }),
        }
    }
}

/// Whether a body may unpack to more than its bytes: all of it, or a message of gRPC.
fn is_packed(headers: &HeaderMap) -> bool {
    let encodings = [header::CONTENT_ENCODING.as_str(), "grpc-encoding"].map(|name| headers.get(name));
    encodings.into_iter().flatten().any(|encoding| {
        let encoding = encoding.as_bytes().trim_ascii();
        !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
    })
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

pin_project! {
    /// A body that is watched while it arrives.
    struct IncomingBody {
        frames: Frames,
        parts: Parts,
        body: Body,
        // Whether it unpacks to more than its bytes.
        packed: bool,
        memory: Option<RequestMemory>,
        limits: Option<BodyLimits>,
        // Until its client has paid for earlier bodies, and what came meanwhile.
        debt: Option<Pin<Box<Sleep>>>,
        held: Option<Frame<Bytes>>,
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

    /// Takes note of a part.
    fn arrived(&mut self, data: &[u8]) -> Result<(), BodyEnded> {
        if let Some(progress) = &mut self.progress {
            progress.add(data.len());
        }
        if !self.parts.add(data.len()) {
            return Err(BodyEnded::TinyParts);
        }
        let counts = self.watch.counted && self.memory.is_some();
        let announced = if counts {
            self.frames.announced(data, self.watch.limit.0)
        } else {
            0
        };
        if self.timed {
            self.affordable()?;
        }
        if let Some(memory) = self.memory.as_ref().filter(|_| counts) {
            memory.packed(std::mem::take(&mut self.frames.packed));
            memory.take_body(announced)?;
        }
        Ok(())
    }

    /// Whether it is a usual small body, as far as is known.
    fn is_small(&self) -> bool {
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        !self.packed && self.parts.bytes.saturating_add(announced) <= FREE_BYTES
    }

    /// Ready if its client does not owe for earlier bodies. A body that is read whole is refused, a stream waits.
    fn paid(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyEnded>> {
        if self.timed {
            return Poll::Ready(self.affordable());
        }
        loop {
            if let Some(debt) = &mut self.debt {
                ready!(debt.as_mut().poll(context));
                self.debt = None;
            }
            let limits = self.limits.as_ref().filter(|_| !self.is_small());
            let Some(debt) = limits.and_then(BodyLimits::debt) else {
                return Poll::Ready(Ok(()));
            };
            self.debt = Some(Box::pin(tokio::time::sleep(debt)));
        }
    }

    /// Refuses a body that is read whole once it is known not to be small, if its client owes for earlier bodies.
    fn affordable(&mut self) -> Result<(), BodyEnded> {
        if self.limits.is_none() || self.is_small() {
            return Ok(());
        }
        // Asked once: what this body costs must not end it.
        let limits = self.limits.take();
        match limits.and_then(|limits| Some(limits.refuse(limits.debt()?))) {
            Some(error) => Err(BodyEnded::AboveRate(error)),
            None => Ok(()),
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
        loop {
            match this.paid(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(why)) => return this.end(why),
                Poll::Pending => return Poll::Pending,
            }
            if let Some(frame) = this.held.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
                break;
            };
            let Some(Ok(frame)) = frame else {
                return Poll::Ready(frame);
            };
            if let Err(why) = this.arrived(frame.data_ref().map_or(&[], |data| &data[..])) {
                return this.end(why);
            }
            if this.timed || this.limits.is_none() {
                return Poll::Ready(Some(Ok(frame)));
            }
            // Only now is it known how large the beginning of a stream is.
            this.held = Some(frame);
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
        self.ended || (self.held.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_some() {
            return SizeHint::default();
        }
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
