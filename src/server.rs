//! Listeners, readiness, and the way down: unready, serve on for a moment, stop accepting, finish what runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::api;
use crate::app::App;
use crate::app::settings::Settings;

/// The open ports.
#[derive(Debug)]
pub struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
    ops: TcpListener,
}

/// Where the ports ended up: a port of 0 becomes a free one.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the port of that name")]
pub struct Addresses {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub ops: SocketAddr,
}

impl Listeners {
    /// Opens the ports.
    ///
    /// # Errors
    /// Names the port that cannot be opened and the setting to change.
    pub async fn bind(server: &crate::config::ServerSection) -> Result<Self, String> {
        Ok(Self {
            http: bind("http", server.http).await?,
            grpc: bind("grpc", server.grpc).await?,
            ops: bind("ops", server.ops).await?,
        })
    }

    /// Where they are.
    ///
    /// # Errors
    /// The system does not say.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            http: self.http.local_addr()?,
            grpc: self.grpc.local_addr()?,
            ops: self.ops.local_addr()?,
        })
    }
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound
        .map_err(|error| format!("cannot listen on {address}: {error}; choose another address with --{name}"))
}

/// Serves until SIGTERM or Ctrl-C, then stops gracefully. A second signal stops at once.
///
/// # Errors
/// A listener failed, or requests were still running when the grace period ended.
pub async fn serve(app: Arc<App>, listeners: Listeners, settings: Settings) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|error| error.to_string())?;
    tokio::spawn(settings_on_hangup(app.clone(), settings));
    let (routes, health) = api::grpc::routes(&app)?;
    let healthy = tokio::spawn(keep_health(app.clone(), health.clone()));
    // Two tokens: the operations port stays open until the others are done, for probes watch the way down.
    let (stop, stop_ops) = (app.closing.clone(), CancellationToken::new());
    let mut servers = JoinSet::new();
    let http = axum::serve(no_delay(listeners.http), api::http::router(&app));
    let http = http.with_graceful_shutdown(stop.clone().cancelled_owned());
    servers.spawn(async move { http.await.map_err(|error| format!("http: {error}")) });
    let incoming = TcpIncoming::from(listeners.grpc).with_nodelay(Some(true));
    let grpc = api::grpc::server(&app.config)
        .layer(api::context::ContextLayer)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    servers.spawn(async move { grpc.await.map_err(|error| format!("grpc: {error}")) });
    let ops = serve_operations(
        listeners.ops,
        api::http::ops::router(app.clone()),
        stop_ops.clone(),
    )?;
    let warm = async {
        app.warm().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = signals.next() => {}
        () = warm => {}
        Some(ended) = servers.join_next() => return Err(why(ended)),
    }
    app.stop();
    healthy.abort();
    api::grpc::report_health(&health, false).await;
    let server = &app.config.server;
    tracing::info!(drain_seconds = server.drain_seconds, "stopping");
    let drain = async {
        tokio::time::sleep(Duration::from_secs(server.drain_seconds)).await;
        stop.cancel();
        let finish = async { while servers.join_next().await.is_some() {} };
        let done = tokio::time::timeout(Duration::from_secs(server.grace_seconds), finish).await;
        done.map_err(|_| format!("requests were still running after {} s", server.grace_seconds))
    };
    let result = tokio::select! {
        result = drain => result,
        () = signals.next() => Err("a second signal: stopped at once".to_owned()),
    };
    app.keep_warm();
    stop_ops.cancel();
    // It only waits for the thread to see the token; a panic there has been logged.
    let _ = tokio::task::spawn_blocking(move || ops.join()).await;
    tracing::info!("stopped");
    result
}

/// Reads the settings anew on every SIGHUP.
async fn settings_on_hangup(app: Arc<App>, settings: Settings) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangup) => {
            while hangup.recv().await.is_some() {
                settings.take_over(&app).await;
            }
        }
        Err(error) => tracing::error!(%error, "SIGHUP cannot be listened for"),
    }
}

/// Has the health service say what readiness says, as models come and go.
async fn keep_health(app: Arc<App>, health: tonic_health::server::HealthReporter) {
    let mut said = None;
    loop {
        let ready = app.why_not_ready().is_empty();
        if said.replace(ready) != Some(ready) {
            api::grpc::report_health(&health, ready).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Serves the operations port on a thread of its own, so that a probe waits behind no scoring.
fn serve_operations(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<std::thread::JoinHandle<()>, String> {
    let listener = listener.into_std().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let serve = async move {
        let server = axum::serve(no_delay(TcpListener::from_std(listener)?), router);
        // Open connections of probes and scrapers are not waited for.
        tokio::select! {
            result = server.into_future() => result,
            () = stop.cancelled() => Ok(()),
        }
    };
    let run = move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "the operations port failed");
        }
    };
    std::thread::Builder::new()
        .name("operations".to_owned())
        .spawn(run)
        .map_err(|error| error.to_string())
}

fn no_delay(listener: TcpListener) -> impl axum::serve::Listener<Addr = SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    })
}

fn why(ended: Result<Result<(), String>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "a listener ended".to_owned(),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
