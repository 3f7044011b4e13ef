//! Serves the connections of a port: limit, TLS, HTTP, timeouts and graceful shutdown. REST, gRPC and the operations
//! port differ only in their [`ConnectionPolicy`].

use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Version, header};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::connection_metrics::{CloseReason, ConnectionMetrics};
use super::timeouts::{BytesReceived, CountedIo, HeaderTimer};
use super::tls::{Alpn, ServerTls};
use crate::api::client::PeerAddress;
use crate::config::{Config, GrpcSection};

/// HTTP/2 flow control windows of a stream and of a connection, in bytes. They are larger than the default of 64 KiB,
/// so that a large request does not wait for window updates.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Maximum concurrent requests per HTTP/2 connection.
const MAX_STREAMS: u32 = 1000;

/// Length of the HTTP/2 connection preface in bytes.
const PREFACE_BYTES: usize = 24;

/// How long a stopping server waits for the first byte or the handshake of a new connection.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(300);

/// Pause after a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    header_timeout: Duration,
    idle_timeout: Duration,
    http2: GrpcSection,
    shutdown: Shutdown,
    metrics: ConnectionMetrics,
}

impl ConnectionPolicy {
    pub(super) fn new(
        kind: PortKind,
        config: &Config,
        tls: Option<Arc<ServerTls>>,
        shutdown: Shutdown,
        metrics: ConnectionMetrics,
    ) -> Self {
        let server = &config.server;
        Self {
            kind,
            tls,
            permits: Arc::new(Semaphore::new(server.connections.min(Semaphore::MAX_PERMITS))),
            header_timeout: Duration::from_secs(server.header_seconds),
            idle_timeout: Duration::from_secs(server.idle_seconds.max(server.header_seconds)),
            http2: config.grpc.clone(),
            shutdown,
            metrics,
        }
    }
}

/// Serves a port until shutdown, then waits for running requests.
pub(super) async fn serve(listener: TcpListener, router: Router, policy: ConnectionPolicy) {
    let (policy, tasks) = (Arc::new(policy), TaskTracker::new());
    let start = |stream: TcpStream| match policy.permits.clone().try_acquire_owned() {
        Ok(permit) => {
            let connection = connection(stream, router.clone(), policy.clone(), permit);
            tasks.spawn(connection);
        }
        Err(_) => policy.metrics.count_refused(CloseReason::Limit),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = policy.shutdown.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => start(stream),
            Err(error) => pause_after(&error).await,
        }
    }
    // Drain the backlog: closing the port would reset connections that the kernel has already accepted.
    while let Some(accepted) = listener.accept().now_or_never() {
        match accepted {
            Ok((stream, _)) => start(stream),
            Err(error) if is_client_error(&error) => {}
            Err(_) => break,
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Logs a failed accept and pauses, unless the client caused it.
async fn pause_after(error: &std::io::Error) {
    if !is_client_error(error) {
        tracing::error!(%error, "connection not accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
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
            policy.metrics.count_refused(CloseReason::Handshake);
            tracing::debug!(%error, "TLS handshake failed");
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
    let builder = builder(http2, &received, policy);
    let draining = policy.shutdown.draining.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let http1 = request.version() < Version::HTTP_2;
        // No `poll_ready`: a router is always ready.
        let response = router.clone().call(request.map(Body::new));
        let draining = draining.clone();
        async move {
            let mut response = response.await?;
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
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended with an error");
                }
                return;
            }
            () = &mut stop, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut max_age, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
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

fn builder(http2: bool, received: &BytesReceived, policy: &ConnectionPolicy) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if !http2 {
        let timer = HeaderTimer {
            received: received.clone(),
            header_timeout: policy.header_timeout,
        };
        builder
            .http1()
            .timer(timer)
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
