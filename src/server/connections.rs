//! Serves the connections of a port: limit, TLS, HTTP, timeouts and graceful shutdown. REST, gRPC and the operations
//! port differ only in their [`ConnectionPolicy`].

use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::connection_metrics::{CloseReason, ConnectionMetrics};
use super::delivery::{Delivery, OutgoingBody, StreamExecutor};
use super::handshakes;
use super::open_connections::OpenConnections;
use super::timeouts::{BytesReceived, CountedIo, HeaderTimer};
use super::tls::{Alpn, ServerTls};
use crate::api::client::PeerAddress;
use crate::config::{Config, GrpcSection};
use crate::log::Pace;
use crate::memory::{ConnectionMemory, MemoryBudget, RequestMemory};
use crate::os;

/// HTTP/2 flow control windows of a stream and of a connection, in bytes. A stream of many small messages may fill its
/// window while the server works; h2 ends a connection whose unread frames have overhead of more than half of the
/// connection's window, at 256 bytes for each small frame. So the one must be small and the other large.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Maximum concurrent requests per HTTP/2 connection.
const MAX_STREAMS: u32 = 100;

/// Maximum size of HTTP/1.1 headers, and of the buffers of a connection, in bytes.
const HTTP1_BUFFER: usize = 64 << 10;

/// How often a connection looks for answers that its client does not take. Most connections are idle, so it is not more
/// often than needed.
const LOOK: Duration = Duration::from_secs(4);

/// Length of the HTTP/2 connection preface in bytes.
const PREFACE_BYTES: usize = 24;

/// How long a stopping server waits for the first byte or the handshake of a new connection.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(300);

/// Pause after a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The same where the oldest connection ends meanwhile, so that its descriptor is free soon. All ports share the
/// descriptors; the one that waits less gets them.
const REPLACE_PAUSE: Duration = Duration::from_millis(5);

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortKind {
    /// HTTP/1.1, or HTTP/2 if negotiated by TLS (ALPN).
    Rest,
    /// HTTP/2 only.
    Grpc,
}

/// The two phases of shutdown.
#[derive(Clone, Debug, Default)]
pub(super) struct Shutdown {
    /// Responses ask clients to close their connections.
    pub(super) draining: CancellationToken,
    /// The port accepts no more connections; running requests finish.
    pub(super) stop: CancellationToken,
}

/// Settings and shared state of a port's connections.
#[derive(Debug)]
pub(super) struct ConnectionPolicy {
    kind: PortKind,
    tls: Option<Arc<ServerTls>>,
    permits: Arc<Semaphore>,
    /// When this many connections are open, a new one takes the place of the oldest; `None`: it is refused.
    replace_above: Option<usize>,
    budget: Arc<MemoryBudget>,
    header_timeout: Duration,
    idle_timeout: Duration,
    response_timeout: Duration,
    http2: GrpcSection,
    shutdown: Shutdown,
    metrics: ConnectionMetrics,
}

impl ConnectionPolicy {
    pub(super) fn new(
        kind: PortKind,
        config: &Config,
        connections: usize,
        budget: Arc<MemoryBudget>,
        tls: Option<Arc<ServerTls>>,
        shutdown: Shutdown,
        metrics: ConnectionMetrics,
    ) -> Self {
        let server = &config.server;
        Self {
            kind,
            tls,
            permits: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            replace_above: None,
            budget,
            header_timeout: Duration::from_secs(server.header_seconds),
            response_timeout: Duration::from_secs(server.response_seconds),
            idle_timeout: Duration::from_secs(server.idle_seconds.max(server.header_seconds)),
            http2: config.grpc.clone(),
            shutdown,
            metrics,
        }
    }
}

impl ConnectionPolicy {
    /// Lets new connections take the place of the oldest ones beyond `most`, so that idle ones cannot lock others out.
    pub(super) fn replacing(mut self, most: usize) -> Self {
        self.permits = Arc::new(Semaphore::new(2 * most));
        self.replace_above = Some(most);
        self
    }
}

/// Serves a port until shutdown, then waits for running requests.
pub(super) async fn serve(listener: TcpListener, router: Router, policy: ConnectionPolicy) {
    let mut port = Port {
        router,
        policy: Arc::new(policy),
        tasks: TaskTracker::new(),
        open: OpenConnections::default(),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = port.policy.shutdown.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => port.start(stream).await,
            Err(error) if is_client_error(&error) => {}
            Err(error) => port.make_room(&listener, &error).await,
        }
    }
    port.drain(listener).await;
    port.tasks.close();
    port.tasks.wait().await;
}

/// The connections of a port.
struct Port {
    router: Router,
    policy: Arc<ConnectionPolicy>,
    tasks: TaskTracker,
    open: OpenConnections,
}

impl Port {
    /// Serves a connection in a task of its own. If there are too many it is closed, or the oldest one where connections
    /// replace each other.
    async fn start(&mut self, stream: TcpStream) {
        let permits = self.policy.permits.clone();
        let Some(most) = self.policy.replace_above else {
            match permits.try_acquire_owned() {
                Ok(permit) => {
                    let connection = connection(stream, self.router.clone(), self.policy.clone(), permit);
                    self.tasks.spawn(connection);
                }
                Err(_) => self.policy.metrics.count_refused(CloseReason::Limit),
            }
            return;
        };
        let replaced = self.open.add(most);
        // Those that were replaced end in tasks of their own, which must run first if many connections come at once.
        let Ok(permit) = permits.acquire_owned().await else {
            return;
        };
        let connection = connection(stream, self.router.clone(), self.policy.clone(), permit);
        self.tasks.spawn(async move {
            let ended = replaced.clone().drop_guard();
            tokio::select! {
                () = connection => {}
                () = replaced.cancelled() => {}
            }
            drop(ended);
        });
        // So that what has just come is read before many others are accepted, which may replace it.
        tokio::task::yield_now().await;
    }

    /// Begins no more connections, serves those that the kernel has accepted, which closing the port would reset, and closes
    /// it.
    async fn drain(&mut self, listener: TcpListener) {
        match handshakes::stop(&listener) {
            Ok(()) => tokio::time::sleep(handshakes::TIME_TO_COMPLETE).await,
            Err(error) => tracing::warn!(%error, "connections that come while the port closes may be reset"),
        }
        // Asks the kernel itself: the runtime learns of a connection a little later.
        let listener = match listener.into_std() {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "waiting connections are reset"),
        };
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let nonblocking = stream
                        .set_nonblocking(true)
                        .and_then(|()| TcpStream::from_std(stream));
                    match nonblocking {
                        Ok(stream) => self.start(stream).await,
                        Err(error) => tracing::error!(%error, "connection not served"),
                    }
                }
                Err(error) if is_client_error(&error) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Without descriptors the system says so also if none waits.
                Err(error) => {
                    if os::is_asked(&listener) {
                        tracing::error!(%error, "waiting connections are reset");
                    }
                    return;
                }
            }
        }
    }

    /// Logs an accept that failed for lack of descriptors or memory, and pauses. Where connections replace each other, the
    /// oldest one ends meanwhile: its descriptor is what the next one needs. Without descriptors the system says so also if no
    /// connection waits; then none has to end.
    async fn make_room(&mut self, listener: &TcpListener, error: &std::io::Error) {
        static PACE: Pace = Pace::new();
        if !os::is_asked(listener) {
            return tokio::time::sleep(REPLACE_PAUSE).await;
        }
        if let Some(times) = PACE.count() {
            tracing::error!(%error, times, "connection not accepted");
        }
        let pause = if self.policy.replace_above.is_some() {
            self.open.end_oldest();
            REPLACE_PAUSE
        } else {
            ACCEPT_PAUSE
        };
        tokio::time::sleep(pause).await;
    }
}

/// Returns whether the client disconnected before the accept.
fn is_client_error(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn connection(
    stream: TcpStream,
    router: Router,
    policy: Arc<ConnectionPolicy>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = policy.metrics.open();
    let peer = stream.peer_addr().ok().map(|peer| PeerAddress(peer.ip()));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let Some(tls) = &policy.tls else {
        let http2 = policy.kind == PortKind::Grpc;
        return serve_http(stream, http2, peer, router, &policy).await;
    };
    let alpn = match policy.kind {
        PortKind::Rest => Alpn::Rest,
        PortKind::Grpc => Alpn::Grpc,
    };
    let handshake = tokio::time::timeout(policy.header_timeout, tls.acceptor(alpn).accept(stream));
    let shutdown = async {
        policy.shutdown.stop.cancelled().await;
        tokio::time::sleep(FIRST_BYTE_TIMEOUT).await;
    };
    let stream = tokio::select! {
        () = shutdown => return,
        stream = handshake => stream,
    };
    match stream {
        Ok(Ok(stream)) => {
            let negotiated_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let http2 = negotiated_http2 || policy.kind == PortKind::Grpc;
            serve_http(stream, http2, peer, router, &policy).await;
        }
        Ok(Err(error)) => {
            static PACE: Pace = Pace::new();
            policy.metrics.count_refused(CloseReason::Handshake);
            if let Some(times) = PACE.count() {
                tracing::debug!(%error, times, "TLS handshake failed");
            }
        }
        Err(_) => policy.metrics.count_refused(CloseReason::Handshake),
    }
}

/// Serves HTTP on a connection until either side closes it.
async fn serve_http<I>(
    io: I,
    http2: bool,
    peer: Option<PeerAddress>,
    router: Router,
    policy: &ConnectionPolicy,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let received = BytesReceived::default();
    let delivery = Delivery::new(policy.budget.clone(), policy.response_timeout);
    let builder = builder(http2, &received, &delivery, policy);
    let draining = policy.shutdown.draining.clone();
    let held = ConnectionMemory::new(policy.budget.clone());
    let pieces = delivery.clone();
    let pipeline = Pipeline::new(received.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let http1 = request.version() < Version::HTTP_2;
        let pipelined = http1 && pipeline.was_buffered();
        let memory = RequestMemory::new(held.clone());
        let mut request = request.map(Body::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        // No `poll_ready`: a router is always ready.
        let response = memory.scope(|| router.clone().call(request));
        let response = memory.scoped(response);
        let (draining, delivery) = (draining.clone(), pieces.clone());
        async move {
            if pipelined {
                // hyper answers what it has buffered without a pause, and other connections would wait for all of it.
                tokio::task::yield_now().await;
            }
            let response = response.await?;
            let compressed = response.headers().contains_key(header::CONTENT_ENCODING);
            let mut response = response.map(|body| {
                let body = OutgoingBody::new(body, delivery, memory, compressed);
                if http1 { body } else { body.of_stream() }
            });
            if http1 && draining.is_cancelled() {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(CountedIo::new(io, received.clone(), policy.idle_timeout));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut max_age = pin!(max_age(policy.http2.max_connection_age_seconds, http2));
    let mut preface_timeout = pin!(tokio::time::sleep(policy.header_timeout));
    let mut stop = pin!(stop_signal(&policy.shutdown.stop, &received));
    let (mut closing, mut awaiting_preface) = (false, http2);
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Behind HTTP/2 a piece may outlive its stream.
    let patience = if http2 { 2 } else { 1 };
    loop {
        tokio::select! {
            // The connection first: a request that has arrived is answered before the connection closes.
            biased;
            ended = connection.as_mut() => {
                return log_end(ended);
            }
            () = &mut stop, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut max_age, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = tick.tick() => {
                if delivery.is_stalled(patience) {
                    tracing::debug!("connection closed: the client does not take the answers");
                    return;
                }
            }
            () = &mut preface_timeout, if awaiting_preface => {
                // hyper has no timeout for the HTTP/2 preface.
                if received.bytes() < PREFACE_BYTES {
                    return;
                }
                awaiting_preface = false;
            }
        }
    }
}

/// Tells whether requests of a connection were sent before the previous one was answered.
struct Pipeline {
    received: BytesReceived,
    at_last_request: AtomicUsize,
}

impl Pipeline {
    fn new(received: BytesReceived) -> Self {
        Self {
            received,
            at_last_request: AtomicUsize::new(0),
        }
    }

    /// Whether the request that begins now had arrived together with the previous one.
    fn was_buffered(&self) -> bool {
        let bytes = self.received.bytes();
        self.at_last_request.swap(bytes, Ordering::Relaxed) == bytes
    }
}

/// Logs that a connection failed, which a client can cause at will.
fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    static PACE: Pace = Pace::new();
    if let Err(error) = ended
        && let Some(times) = PACE.count()
    {
        tracing::debug!(%error, times, "connection ended with an error");
    }
}

fn builder(
    http2: bool,
    received: &BytesReceived,
    delivery: &Arc<Delivery>,
    policy: &ConnectionPolicy,
) -> Builder<StreamExecutor> {
    let mut builder = Builder::new(StreamExecutor::new(delivery.clone()));
    if !http2 {
        let timer = HeaderTimer {
            received: received.clone(),
            header_timeout: policy.header_timeout,
        };
        builder
            .http1()
            .timer(timer)
            .max_buf_size(HTTP1_BUFFER)
            .header_read_timeout(policy.idle_timeout);
        return builder.http1_only();
    }
    let settings = &policy.http2;
    builder
        .http2()
        // gRPC has no use for it, and hyper cannot write the dates of every clock; see `time::check_clock`.
        .auto_date_header(policy.kind == PortKind::Rest)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(seconds(settings.keepalive_seconds));
    if let Some(timeout) = seconds(settings.keepalive_timeout_seconds) {
        builder.http2().keep_alive_timeout(timeout);
    }
    builder.http2_only()
}

/// Waits until a connection should close because the server stops. A new connection gets time for its first request,
/// which may be in transit.
async fn stop_signal(stop: &CancellationToken, received: &BytesReceived) {
    stop.cancelled().await;
    let until = Instant::now() + FIRST_BYTE_TIMEOUT;
    while received.bytes() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a gRPC client should reconnect (`grpc.max_connection_age_seconds`). Running requests finish; `[streams]`
/// limits their duration.
async fn max_age(limit: u64, http2: bool) {
    match seconds(limit).filter(|_| http2) {
        // Add up to 10%, so that clients that connected together do not reconnect together.
        Some(limit) => tokio::time::sleep(limit.mul_f64(1.0 + fastrand::f64() / 10.0)).await,
        None => std::future::pending().await,
    }
}

fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number)).filter(|time| !time.is_zero())
}
