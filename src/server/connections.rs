//! Connections of a port: taken up to a limit, encrypted where that is asked for, kept while they are of use, and closed
//! so that nothing is lost. REST, gRPC and the operations port differ only in their [`PortKind`].

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
use crate::config::{Config, GrpcSection};

/// Bytes that a client may have on their way in one stream, and in one connection, before the server has read them:
/// a large request should not wait for the server's word every 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Requests of one HTTP/2 connection that may run at the same time.
const STREAMS: u32 = 1000;

/// What every HTTP/2 connection begins with, in bytes.
const PREFACE: usize = 24;

/// How long a connection that was just made is waited for when the server stops: for its first byte, or its handshake.
const FIRST_BYTE: Duration = Duration::from_millis(300);

/// How long to wait when the system has no more files to open.
const NO_FILES: Duration = Duration::from_millis(100);

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortKind {
    /// HTTP/1.1, and HTTP/2 where TLS agrees on it.
    Rest,
    /// HTTP/2.
    Grpc,
}

/// The two steps of stopping.
#[derive(Clone, Debug, Default)]
pub(super) struct Shutdown {
    /// Answers ask clients to connect elsewhere.
    pub(super) draining: CancellationToken,
    /// Nothing more is accepted; what runs is finished.
    pub(super) stop: CancellationToken,
}

/// How the connections of a port are treated.
#[derive(Debug)]
pub(super) struct ConnectionPolicy {
    kind: PortKind,
    tls: Option<Arc<ServerTls>>,
    room: Arc<Semaphore>,
    header: Duration,
    idle: Duration,
    http2: GrpcSection,
    down: Shutdown,
    metrics: ConnectionMetrics,
}

impl ConnectionPolicy {
    pub(super) fn new(
        kind: PortKind,
        config: &Config,
        tls: Option<Arc<ServerTls>>,
        down: Shutdown,
        metrics: ConnectionMetrics,
    ) -> Self {
        let server = &config.server;
        Self {
            kind,
            tls,
            room: Arc::new(Semaphore::new(server.connections.min(Semaphore::MAX_PERMITS))),
            header: Duration::from_secs(server.header_seconds),
            idle: Duration::from_secs(server.idle_seconds.max(server.header_seconds)),
            http2: config.grpc.clone(),
            down,
            metrics,
        }
    }
}

/// Serves a port until it is told to stop and what runs is finished.
pub(super) async fn serve(listener: TcpListener, router: Router, treatment: ConnectionPolicy) {
    let (treatment, tasks) = (Arc::new(treatment), TaskTracker::new());
    let take = |stream: TcpStream| match treatment.room.clone().try_acquire_owned() {
        Ok(room) => {
            let connection = connection(stream, router.clone(), treatment.clone(), room);
            tasks.spawn(connection);
        }
        Err(_) => treatment.metrics.refused(CloseReason::Limit),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = treatment.down.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => take(stream),
            Err(error) => wait_after(&error).await,
        }
    }
    // Closing the port would reset connections that the system has taken on its behalf.
    while let Some(accepted) = listener.accept().now_or_never() {
        match accepted {
            Ok((stream, _)) => take(stream),
            Err(error) if is_clients(&error) => {}
            Err(_) => break,
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// A client that went away is no reason to wait; a lack of files is.
async fn wait_after(error: &std::io::Error) {
    if !is_clients(error) {
        tracing::error!(%error, "a connection cannot be accepted");
        tokio::time::sleep(NO_FILES).await;
    }
}

/// Whether a client went away before it was accepted.
fn is_clients(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn connection(
    stream: TcpStream,
    router: Router,
    treatment: Arc<ConnectionPolicy>,
    _room: OwnedSemaphorePermit,
) {
    let _open = treatment.metrics.open();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let Some(tls) = &treatment.tls else {
        let http2 = treatment.kind == PortKind::Grpc;
        return converse(stream, http2, router, &treatment).await;
    };
    let alpn = match treatment.kind {
        PortKind::Rest => Alpn::Rest,
        PortKind::Grpc => Alpn::Grpc,
    };
    let handshake = tokio::time::timeout(treatment.header, tls.acceptor(alpn).accept(stream));
    let given_up = async {
        treatment.down.stop.cancelled().await;
        tokio::time::sleep(FIRST_BYTE).await;
    };
    let stream = tokio::select! {
        () = given_up => return,
        stream = handshake => stream,
    };
    match stream {
        Ok(Ok(stream)) => {
            let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let http2 = agreed || treatment.kind == PortKind::Grpc;
            converse(stream, http2, router, &treatment).await;
        }
        Ok(Err(error)) => {
            treatment.metrics.refused(CloseReason::Handshake);
            tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => treatment.metrics.refused(CloseReason::Handshake),
    }
}

/// Speaks HTTP on a connection until one side has had enough.
async fn converse<I>(io: I, http2: bool, router: Router, treatment: &ConnectionPolicy)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let received = BytesReceived::default();
    let builder = builder(http2, &received, treatment);
    let draining = treatment.down.draining.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let http1 = request.version() < Version::HTTP_2;
        // A router is always ready.
        let answer = router.clone().call(request.map(Body::new));
        let draining = draining.clone();
        async move {
            let mut answer = answer.await?;
            if http1 && draining.is_cancelled() {
                answer
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(CountedIo::new(io, received.clone(), treatment.idle));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut age = pin!(age(treatment.http2.max_connection_age_seconds, http2));
    let mut silence = pin!(tokio::time::sleep(treatment.header));
    let mut stop = pin!(stop(&treatment.down.stop, &received));
    let (mut closing, mut listening) = (false, http2);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = &mut stop, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut age, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut silence, if listening => {
                // hyper waits for the preface of HTTP/2 for ever.
                if received.bytes() < PREFACE {
                    return;
                }
                listening = false;
            }
        }
    }
}

fn builder(http2: bool, received: &BytesReceived, treatment: &ConnectionPolicy) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if !http2 {
        let timer = HeaderTimer {
            received: received.clone(),
            header: treatment.header,
        };
        builder.http1().timer(timer).header_read_timeout(treatment.idle);
        return builder.http1_only();
    }
    let settings = &treatment.http2;
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(seconds(settings.keepalive_seconds));
    if let Some(timeout) = seconds(settings.keepalive_timeout_seconds) {
        builder.http2().keep_alive_timeout(timeout);
    }
    builder.http2_only()
}

/// Ends when a connection should be closed because the server stops. On one that has just been made, the first request
/// may still be on its way.
async fn stop(stop: &CancellationToken, received: &BytesReceived) {
    stop.cancelled().await;
    let until = Instant::now() + FIRST_BYTE;
    while received.bytes() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends when a client should be asked to connect anew. What runs is finished, however long it takes: `[streams]` bounds
/// that.
async fn age(limit: u64, http2: bool) {
    match seconds(limit).filter(|_| http2) {
        // Up to a tenth more, or clients that came together would come together again.
        Some(limit) => tokio::time::sleep(limit.mul_f64(1.0 + fastrand::f64() / 10.0)).await,
        None => std::future::pending().await,
    }
}

fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number)).filter(|time| !time.is_zero())
}
