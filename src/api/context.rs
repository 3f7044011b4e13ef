//! What every request carries beside its body, over REST and gRPC alike: an id, a trace, a deadline. One layer reads
//! them, sends the id back, puts id and trace into every line of the log, and writes the access log.

pub(super) mod deadline;
mod trace;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::instrument::{Instrument as _, Instrumented};
use tracing::{Level, Span};

use trace::Trace;

/// The id of a request: the client's, or one made here.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A client's id longer than this is replaced: it would stand in every line of the log.
const LONGEST_ID: usize = 128;

/// Where lines of the access log come from; `info,evergreen::access=debug` as `log.level` writes them.
const ACCESS: &str = "evergreen::access";

/// Says in the log which model the request at hand is about.
pub(super) fn about_model(name: &str) {
    if access_is_logged() {
        Span::current().record("model", name);
    }
}

/// Says in the log whose key the request at hand came with.
pub(super) fn about_client(name: &str) {
    if access_is_logged() {
        Span::current().record("client", name);
    }
}

fn access_is_logged() -> bool {
    tracing::enabled!(target: ACCESS, Level::DEBUG)
}

/// Gives every request its id, trace and deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContextLayer;

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> ContextService<S> {
        ContextService { inner }
    }
}

/// A service behind [`ContextLayer`].
#[derive(Clone, Debug)]
pub(crate) struct ContextService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ContextService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future> {
        let start = Instant::now();
        let headers = request.headers();
        let request_id = request_id(headers);
        let trace = Trace::read(headers);
        let span = span(&request_id, trace.as_ref());
        let operation = access_is_logged().then(|| Operation::of(&request));
        if let Some(deadline) = deadline::read(request.headers(), start) {
            request.extensions_mut().insert(deadline);
        }
        ResponseFuture {
            inner: self.inner.call(request).instrument(span),
            start,
            request_id: Some(request_id),
            trace,
            operation,
        }
    }
}

/// The client's id where it is printable and short, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let new = || {
        let id = format!("{:032x}", fastrand::u128(..));
        // Hexadecimal digits are always a valid header.
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    };
    headers
        .get(REQUEST_ID)
        .filter(usable)
        .cloned()
        .unwrap_or_else(new)
}

fn span(request_id: &HeaderValue, trace: Option<&Trace>) -> Span {
    let request_id = request_id.to_str().unwrap_or_default();
    let span = tracing::info_span!(
        "request",
        request_id,
        trace_id = Empty,
        client = Empty,
        model = Empty
    );
    if let Some(trace) = trace {
        span.record("trace_id", tracing::field::display(trace.id()));
    }
    span
}

/// What was asked for, without ids of entities: those are no one's business in a log.
#[derive(Debug)]
enum Operation {
    /// The path is one of the protocol's own.
    Grpc(Uri),
    Rest(Method, Option<MatchedPath>),
}

impl Operation {
    fn of<B>(request: &Request<B>) -> Self {
        let media_type = request.headers().get(header::CONTENT_TYPE);
        if media_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            return Self::Grpc(request.uri().clone());
        }
        Self::Rest(
            request.method().clone(),
            request.extensions().get::<MatchedPath>().cloned(),
        )
    }

    /// gRPC's own status is a header only where there is no answer; with one it is 0, or comes after the last message.
    fn status<R>(&self, response: &Response<R>) -> u16 {
        match self {
            Self::Grpc(_) => {
                let status = response.headers().get("grpc-status");
                let code = status.and_then(|value| value.to_str().ok()?.parse().ok());
                code.unwrap_or(0)
            }
            Self::Rest(..) => response.status().as_u16(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grpc(uri) => f.write_str(uri.path()),
            Self::Rest(method, Some(path)) => write!(f, "{method} {}", path.as_str()),
            Self::Rest(method, None) => write!(f, "{method} (no such path)"),
        }
    }
}

pin_project! {
    /// A request on its way through the services behind the layer.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: Instrumented<F>,
        start: Instant,
        request_id: Option<HeaderValue>,
        trace: Option<Trace>,
        operation: Option<Operation>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut response = ready!(this.inner.as_mut().poll(context))?;
        if let Some(operation) = this.operation {
            let status = operation.status(&response);
            let micros = u64::try_from(this.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            let span = this.inner.span();
            tracing::debug!(target: ACCESS, parent: span, %operation, status, micros, "answered");
        }
        let headers = response.headers_mut();
        if let Some(id) = this.request_id.take() {
            headers.insert(REQUEST_ID, id);
        }
        if let Some((name, value)) = this.trace.as_ref().and_then(Trace::response) {
            headers.insert(name, value);
        }
        Poll::Ready(Ok(response))
    }
}
