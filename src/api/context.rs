//! Request context, for REST and gRPC: request id, trace and deadline. One layer reads them from the headers, returns
//! the id and the trace, adds both to every log line of the request, and writes the access log.

pub(super) mod deadline;
mod trace;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::instrument::{Instrument as _, Instrumented};
use tracing::{Level, Span};

use super::latency;
use crate::app::App;
use crate::metrics::Histogram;
use crate::scoring::client::{RequestId, RequestIds};
use crate::spans::{Exporter, RequestSpan};
use trace::Trace;

/// Header with the request id: the client's or a generated one.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of a client's request id in bytes. Longer ones are replaced, as the id is in every log line.
const MAX_ID_BYTES: usize = 128;

/// Log target of the access log. `log.level = "info,evergreen::access=debug"` turns it on.
const ACCESS: &str = "evergreen::access";

/// Records the model of the current request in its log span.
pub(super) fn record_model(name: &str) {
    if access_log_enabled() {
        Span::current().record("model", name);
    }
}

/// Records the name of the API key of the current request in its log span.
pub(super) fn record_client(name: &str) {
    if access_log_enabled() {
        Span::current().record("client", name);
    }
}

fn access_log_enabled() -> bool {
    tracing::enabled!(target: ACCESS, Level::DEBUG)
}

/// Adds id, trace and deadline to every request.
#[derive(Clone, Debug)]
pub(crate) struct ContextLayer {
    grpc: bool,
    /// `None` if no traces are exported.
    exporter: Option<Exporter>,
    /// Whether the prediction log needs the ids of requests.
    recorded: bool,
}

impl ContextLayer {
    /// For the REST port.
    pub(crate) fn rest(app: &App) -> Self {
        Self {
            grpc: false,
            exporter: app.exporter.clone(),
            recorded: app.logs_predictions,
        }
    }

    /// For the gRPC port.
    pub(crate) fn grpc(app: &App) -> Self {
        Self {
            grpc: true,
            ..Self::rest(app)
        }
    }

    /// Begins the span of a request, if it is sampled.
    fn begin_span<B>(
        &self,
        request: &Request<B>,
        request_id: &HeaderValue,
        trace: Option<&Trace>,
    ) -> Option<RequestSpan> {
        let span = self.exporter.as_ref()?.request(trace.map(Trace::parent));
        span.ids()?;
        span.describe(|| {
            let operation = Operation::of(request, self.grpc);
            let mut attributes = operation.attributes();
            let request_id = request_id.to_str().unwrap_or_default();
            attributes.push(("evergreen.request_id", request_id.to_owned()));
            (operation.to_string(), attributes)
        });
        Some(span)
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> ContextService<S> {
        ContextService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`ContextLayer`].
#[derive(Clone, Debug)]
pub(crate) struct ContextService<S> {
    inner: S,
    layer: ContextLayer,
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
        let (request_id, own) = request_id(headers);
        let mut trace = Trace::read(headers);
        let exported = self.layer.begin_span(&request, &request_id, trace.as_ref());
        if let Some(exported) = &exported {
            trace = exported.ids().map(|(id, span)| Trace::sampled(id, span));
            request.extensions_mut().insert(exported.clone());
        }
        let span = span(&request_id, trace.as_ref());
        let operation =
            (exported.is_some() || access_log_enabled()).then(|| Operation::of(&request, self.layer.grpc));
        if let Some(deadline) = deadline::read(request.headers(), start) {
            request.extensions_mut().insert(deadline);
        }
        if self.layer.recorded {
            request.extensions_mut().insert(RequestIds {
                request_id: own.map_or_else(|| given(&request_id), RequestId::Own),
                trace_id: trace.as_ref().map(|trace| trace.id().0),
            });
        }
        ResponseFuture {
            inner: self.inner.call(request).instrument(span),
            start,
            request_id: Some(request_id),
            trace,
            operation,
            exported,
            histogram: None,
        }
    }
}

/// Returns the client's id if it is printable and short enough, otherwise a new one and its number.
fn request_id(headers: &HeaderMap) -> (HeaderValue, Option<u128>) {
    let usable = |id: &&HeaderValue| {
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(usable) {
        return (id.clone(), None);
    }
    let number = fastrand::u128(..);
    // Cannot fail: hexadecimal digits are a valid header value.
    let header = HeaderValue::try_from(RequestId::Own(number).to_string());
    (header.unwrap_or(HeaderValue::from_static("none")), Some(number))
}

/// The id of a client for the prediction log.
fn given(request_id: &HeaderValue) -> RequestId {
    RequestId::Given(request_id.to_str().unwrap_or_default().into())
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

/// The operation as the access log shows it. It has the route, not the path: paths hold entity ids, and a client may send
/// any path to any port.
#[derive(Debug)]
enum Operation {
    /// The path of a gRPC method of a known service; `None` for any other path.
    Grpc(Option<Uri>),
    Rest(Method, Option<MatchedPath>),
}

impl Operation {
    fn of<B>(request: &Request<B>, grpc: bool) -> Self {
        if grpc {
            let known =
                request.extensions().get::<MatchedPath>().is_some() && names_a_method(request.uri().path());
            return Self::Grpc(known.then(|| request.uri().clone()));
        }
        Self::Rest(
            request.method().clone(),
            request.extensions().get::<MatchedPath>().cloned(),
        )
    }

    /// Returns the HTTP status, or the gRPC status. The latter is a header only without a message; otherwise it follows
    /// in the trailers, and 0 is assumed.
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

impl Operation {
    /// The attributes of its span, by OpenTelemetry's conventions.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Grpc(uri) => {
                let path = uri.as_ref().map_or("", |uri| uri.path().trim_start_matches('/'));
                let (service, method) = path.split_once('/').unwrap_or_default();
                vec![
                    ("rpc.system", "grpc".to_owned()),
                    ("rpc.service", service.to_owned()),
                    ("rpc.method", method.to_owned()),
                ]
            }
            Self::Rest(method, path) => {
                let route = path.as_ref().map_or("", MatchedPath::as_str);
                vec![
                    ("http.request.method", method.to_string()),
                    ("http.route", route.to_owned()),
                ]
            }
        }
    }

    /// The attribute of its span for the status.
    fn status_key(&self) -> &'static str {
        match self {
            Self::Grpc(_) => "rpc.grpc.status_code",
            Self::Rest(..) => "http.response.status_code",
        }
    }

    /// Whether a status says that the server failed.
    fn is_failure(&self, status: u16) -> bool {
        match self {
            // DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNKNOWN: as OpenTelemetry has it.
            Self::Grpc(_) => matches!(status, 2 | 4 | 12..=15),
            Self::Rest(..) => status >= 500,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grpc(Some(uri)) => f.write_str(uri.path()),
            Self::Grpc(None) => f.write_str("(unknown method)"),
            Self::Rest(method, Some(path)) => write!(f, "{method} {}", path.as_str()),
            Self::Rest(method, None) => write!(f, "{method} (unknown path)"),
        }
    }
}

/// Whether a path has the form of a gRPC method: a service, and a name of letters only.
fn names_a_method(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(_, method)| method.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

pin_project! {
    /// The response future of [`ContextService`].
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: Instrumented<F>,
        start: Instant,
        request_id: Option<HeaderValue>,
        trace: Option<Trace>,
        operation: Option<Operation>,
        // The span of a sampled request.
        exported: Option<RequestSpan>,
        // Gets the duration.
        histogram: Option<Histogram>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        latency::replace(this.histogram.take());
        let polled = this.inner.as_mut().poll(context);
        *this.histogram = latency::replace(None);
        let mut response = ready!(polled)?;
        if let Some(histogram) = this.histogram.take() {
            histogram.observe(this.start.elapsed().as_secs_f64());
        }
        if let Some(operation) = this.operation {
            let status = operation.status(&response);
            if let Some(exported) = this.exported.take() {
                exported.set(operation.status_key(), status);
                exported.end(operation.is_failure(status));
            }
            let micros = u64::try_from(this.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            let span = this.inner.span();
            tracing::debug!(target: ACCESS, parent: span, %operation, status, micros, "request answered");
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
