//! The life of a server: start-up, serving and graceful shutdown. On shutdown it first reports unready and keeps
//! serving for `server.drain_seconds`, then stops accepting and finishes running requests.

mod connection_metrics;
mod connections;
mod delivery;
mod handshakes;
mod listen;
mod open_connections;
mod open_files;
mod operations;
mod signals;
mod timeouts;
pub mod tls;
mod watchdog;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::task::{JoinHandle, JoinSet};
use tonic_health::server::HealthReporter;

use crate::api::auth::secret_metrics::SecretMetrics;
use crate::api::auth::{ApiKind, Guard};
use crate::api::request_metrics::RequestMetrics;
use crate::api::{grpc, http};
use crate::app::App;
use crate::app::live_settings::LiveSettings;
use crate::config::Config;
use crate::log;
use crate::memory::MemoryBudget;
use crate::metrics::Registry;
use crate::scoring::client::metrics::ClientMetrics;
use crate::values::time;
use connection_metrics::PortMetrics;
use connections::{ConnectionPolicy, PortKind, Shutdown};
pub use listen::Addresses;
use listen::Ports;
pub(crate) use open_files::needed as files_needed;
use operations::{OperationsPort, OperationsRuntime};
use signals::{ShutdownSignals, StopRequests};
use tls::ServerTls;
pub use watchdog::FAILED_CODE;
use watchdog::WatchdogMetrics;

/// How often the gRPC health status is updated from readiness.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// The least time to complete the prediction log, if requests have used up `server.grace_seconds`. It is within the time
/// after which the process is ended.
const LEAST_LOG_TIME: Duration = Duration::from_secs(1);

/// Memory budget of the operations port in bytes.
const OPERATIONS_MEMORY: usize = 16 << 20;

/// Why a server ended with an error.
#[derive(Debug)]
pub enum ServeError {
    /// A setting, a file or a port cannot be used; the text says why.
    Wrong(String),
    /// The server stopped on request, but left requests unfinished; the text says why.
    Unfinished(String),
    /// The server stopped itself, because a background thread failed; the text says which.
    Failed(String),
}

impl From<String> for ServeError {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

/// Loads the application with `build`, reports it with `welcome`, and serves until SIGTERM or Ctrl-C. A second signal
/// stops it at once.
///
/// # Errors
/// The server cannot start, or stopped with requests unfinished.
pub async fn run(
    config: Config,
    settings: LiveSettings,
    build: impl FnOnce(Config, Registry) -> Result<App, String> + Send + 'static,
    welcome: impl FnOnce(&App, Addresses),
) -> Result<(), ServeError> {
    time::check_clock()?;
    let text = |error: std::io::Error| error.to_string();
    let operations_runtime = OperationsRuntime::new().map_err(text)?;
    let signals = ShutdownSignals::new(&operations_runtime).map_err(text)?;
    let hangup = signals::hangup().map_err(text)?;
    let registry = Registry::with_process_metrics().map_err(|error| error.to_string())?;
    let metrics = ServerMetrics::new(&registry).map_err(|error| error.to_string())?;
    let connections = open_files::connections(&config);
    let ports = Ports::bind(&config.server)?;
    let addresses = ports.addresses();
    let (requests, limit) = (StopRequests::default(), stop_limit(&config));
    // Stops last, so that probes work during shutdown.
    let policy = ConnectionPolicy::new(
        PortKind::Rest,
        &config,
        connections.operations,
        // Its own budget, so that clients cannot use up that of probes.
        MemoryBudget::new(OPERATIONS_MEMORY),
        None,
        Shutdown::default(),
        metrics.ports.of("ops"),
    )
    .replacing(connections.operations);
    let loading_router = http::ops::loading(registry.clone());
    let operations = OperationsPort::start(
        operations_runtime,
        ports.ops.listen()?,
        loading_router,
        policy,
        signals.pass_on(requests.clone(), limit),
    )?;
    let tls = tls::start(&config.tls, &metrics.secrets)?;
    let guard = Guard::start(&config, &metrics.clients, &metrics.requests, &metrics.secrets)?;
    let app = tokio::task::spawn_blocking(move || build(config, registry));
    let app = tokio::select! {
        () = requests.stop.cancelled() => {
            tracing::info!("stopped while loading models");
            return Ok(());
        }
        app = app => Arc::new(app.map_err(|error| format!("loading failed: {error}"))??),
    };
    let failure = watchdog::start(app.heartbeats.clone(), metrics.watchdog).map_err(text)?;
    let server = Server {
        shutdown: Shutdown {
            draining: app.stopping.clone(),
            stop: app.closing.clone(),
        },
        app,
        tls,
        guard,
        operations,
        connections: connections.clients,
        ports: metrics.ports,
    };
    let mut running = server.listen(ports.http, ports.grpc).await?;
    // Only after the ports listen: a client that sees the server ready must be able to connect.
    let full_router = http::ops::router(server.app.clone(), &server.guard);
    server.operations.set_router(full_router);
    welcome(&server.app, addresses);
    #[cfg(debug_assertions)]
    workers::block_for_tests();
    let hangup = tokio::spawn(reload_settings_on_hangup(hangup, server.app.clone(), settings));
    let warm_up = async {
        server.app.warm().await;
        std::future::pending::<()>().await;
    };
    let mut failed = None;
    tokio::select! {
        () = requests.stop.cancelled() => {}
        reason = failure.occurred() => {
            signals::end_after(limit, FAILED_CODE.into());
            failed = Some(reason);
        }
        () = warm_up => {}
        Some(ended) = running.servers.join_next() => {
            let why = ended.err().map_or_else(|| "a port closed unexpectedly".to_owned(), |error| error.to_string());
            return Err(ServeError::Wrong(why));
        }
    }
    hangup.abort();
    let stopped = tokio::select! {
        result = server.stop(running) => result,
        () = requests.at_once.cancelled() => Err(ServeError::Unfinished("stopped at once by a second signal".to_owned())),
    };
    match failed {
        Some(reason) => Err(ServeError::Failed(reason)),
        None => stopped,
    }
}

/// The time in which a server that is asked to stop has stopped.
fn stop_limit(config: &Config) -> Duration {
    let server = &config.server;
    Duration::from_secs(server.drain_seconds.saturating_add(server.grace_seconds))
}

/// The server's own metrics.
struct ServerMetrics {
    ports: PortMetrics,
    requests: RequestMetrics,
    secrets: SecretMetrics,
    watchdog: WatchdogMetrics,
    clients: ClientMetrics,
}

impl ServerMetrics {
    fn new(registry: &Registry) -> crate::metrics::Result<Self> {
        log::declare_metrics(registry)?;
        Ok(Self {
            ports: PortMetrics::new(registry)?,
            requests: RequestMetrics::new(registry)?,
            secrets: SecretMetrics::new(registry)?,
            watchdog: WatchdogMetrics::new(registry)?,
            clients: ClientMetrics::new(registry)?,
        })
    }
}

/// Declares the metrics of connections, requests, secrets and the log, for the reference pages.
///
/// # Errors
/// The metrics are already declared.
pub fn declare_metrics(registry: &Registry) -> crate::metrics::Result<()> {
    ServerMetrics::new(registry).map(drop)
}

/// The tasks of a server that serves REST and gRPC.
struct RunningServer {
    servers: JoinSet<()>,
    health: HealthReporter,
    /// Updates the gRPC health status.
    health_task: JoinHandle<()>,
}

/// A server whose models are loaded.
struct Server {
    app: Arc<App>,
    tls: Option<Arc<ServerTls>>,
    guard: Guard,
    operations: OperationsPort,
    shutdown: Shutdown,
    /// Maximum connections of REST and of gRPC.
    connections: usize,
    ports: PortMetrics,
}

impl Server {
    /// Starts REST and gRPC.
    async fn listen(
        &self,
        http: listen::BoundPort,
        grpc: listen::BoundPort,
    ) -> Result<RunningServer, String> {
        let Self { app, tls, guard, .. } = self;
        let poll = app.config.server.poll();
        if let Some(tls) = tls {
            let heartbeat = app.heartbeats.watch("certificates");
            tokio::spawn(tls.clone().watch(poll, heartbeat, false));
        }
        guard.watch(poll, &app.heartbeats);
        let (routes, health) = grpc::router(app, guard)?;
        grpc::report_health(&health, app.why_not_ready().is_empty()).await;
        let health_task = tokio::spawn(update_health(app.clone(), health.clone()));
        let mut servers = JoinSet::new();
        for (port, api, router) in [
            (http, ApiKind::Rest, http::router(app, guard)),
            (grpc, ApiKind::Grpc, routes),
        ] {
            let (kind, name) = match api {
                ApiKind::Grpc => (PortKind::Grpc, "grpc"),
                _ => (PortKind::Rest, "http"),
            };
            let metrics = self.ports.of(name);
            let policy = ConnectionPolicy::new(
                kind,
                &app.config,
                self.connections,
                app.memory.clone(),
                tls.clone(),
                self.shutdown.clone(),
                metrics,
            );
            servers.spawn(connections::serve(port.listen()?, router, policy));
        }
        Ok(RunningServer {
            servers,
            health,
            health_task,
        })
    }

    /// Shuts down: reports unready, keeps serving while load balancers notice, then finishes running requests.
    async fn stop(self, running: RunningServer) -> Result<(), ServeError> {
        let RunningServer {
            mut servers,
            mut health,
            health_task,
        } = running;
        self.shutdown.draining.cancel();
        health_task.abort();
        // Join it first, or it could overwrite this status.
        let _ = health_task.await;
        grpc::report_health(&health, false).await;
        let server = &self.app.config.server;
        tracing::info!(drain_seconds = server.drain_seconds, "server stopping");
        tokio::time::sleep(Duration::from_secs(server.drain_seconds)).await;
        self.shutdown.stop.cancel();
        grpc::end_health(&mut health).await;
        let finish = async { while servers.join_next().await.is_some() {} };
        let (start, grace) = (Instant::now(), Duration::from_secs(server.grace_seconds));
        let finished = tokio::time::timeout(grace, finish).await;
        self.app.keep_warm();
        self.close_prediction_log(grace.saturating_sub(start.elapsed()))
            .await;
        self.app.flush_spans().await;
        self.app.keep_scores();
        self.app.keep_drift().await;
        self.operations.stop().await;
        finished.map_err(|_| {
            let seconds = server.grace_seconds;
            ServeError::Unfinished(format!(
                "requests still running after {seconds} s (server.grace_seconds)"
            ))
        })?;
        tracing::info!("server stopped");
        Ok(())
    }
}

impl Server {
    /// Completes the prediction log in what is left of the time to stop.
    async fn close_prediction_log(&self, left: Duration) {
        let app = self.app.clone();
        let limit = left.max(LEAST_LOG_TIME);
        // Fails only if it panics, which is logged.
        let _ = tokio::task::spawn_blocking(move || app.close_prediction_log(limit)).await;
    }
}

/// Reloads the settings on every SIGHUP.
async fn reload_settings_on_hangup(mut hangup: Signal, app: Arc<App>, settings: LiveSettings) {
    while hangup.recv().await.is_some() {
        settings.reload(&app).await;
    }
}

/// Keeps the gRPC health status equal to readiness.
async fn update_health(app: Arc<App>, health: HealthReporter) {
    let mut reported = None;
    loop {
        let ready = app.why_not_ready().is_empty();
        if reported.replace(ready) != Some(ready) {
            grpc::report_health(&health, ready).await;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}
