//! The life of a server: up, serving, and the way down: unready, serve on for a moment, stop accepting, finish what runs.

mod connection_metrics;
mod connections;
mod listen;
mod operations;
mod signals;
mod timeouts;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::{JoinHandle, JoinSet};
use tonic_health::server::HealthReporter;

use crate::api::auth::secret_metrics::SecretMetrics;
use crate::api::auth::{Guard, PortApi};
use crate::api::request_metrics::RequestMetrics;
use crate::api::{grpc, http};
use crate::app::App;
use crate::app::live_settings::LiveSettings;
use crate::config::Config;
use crate::metrics::Registry;
use connection_metrics::PortMetrics;
use connections::{ConnectionPolicy, PortKind, Shutdown};
pub use listen::Addresses;
use listen::Ports;
use operations::OperationsPort;
use signals::StopSignals;
use tls::ServerTls;

/// How often the health service is told what readiness says.
const HEALTH: Duration = Duration::from_millis(200);

/// Why a server ended otherwise than it should.
#[derive(Debug)]
pub enum ServeError {
    /// A setting, a file or a port is wrong; the text says what.
    Wrong(String),
    /// It was told to stop and did, but not everything was finished; the text says why.
    Unfinished(String),
}

impl From<String> for ServeError {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

/// Loads with `build`, says so with `welcome`, and serves until SIGTERM or Ctrl-C. A second signal ends it at once.
///
/// # Errors
/// It cannot start, or had to stop before everything was finished.
pub async fn run(
    config: Config,
    settings: LiveSettings,
    build: impl FnOnce(Config, Registry) -> Result<App, String> + Send + 'static,
    welcome: impl FnOnce(&App, Addresses),
) -> Result<(), ServeError> {
    let text = |error: std::io::Error| error.to_string();
    let (mut signals, hangup) = (
        StopSignals::new().map_err(text)?,
        signals::hangup().map_err(text)?,
    );
    let registry = Registry::with_process_metrics().map_err(|error| error.to_string())?;
    let metrics = ServerMetrics::new(&registry).map_err(|error| error.to_string())?;
    let ports = Ports::bind(&config.server)?;
    let addresses = ports.addresses();
    let tls = tls::start(&config.tls, &metrics.secrets)?;
    let guard = Guard::start(&config.auth, &metrics.requests, &metrics.secrets)?;
    // It ends on its own, after the others: probes watch the way down.
    let treatment = ConnectionPolicy::new(
        PortKind::Rest,
        &config,
        None,
        Shutdown::default(),
        metrics.ports.of("ops"),
    );
    let loading = http::ops::loading(registry.clone());
    let operations = OperationsPort::start(ports.ops.listen()?, loading, treatment)?;
    let app = tokio::task::spawn_blocking(move || build(config, registry));
    let app = tokio::select! {
        () = signals.next() => {
            tracing::info!("stopped while the models were being loaded");
            return Ok(());
        }
        app = app => Arc::new(app.map_err(|error| format!("loading failed: {error}"))??),
    };
    let server = Server {
        down: Shutdown {
            draining: app.stopping.clone(),
            stop: app.closing.clone(),
        },
        app,
        tls,
        guard,
        operations,
        ports: metrics.ports,
    };
    let mut running = server.listen(ports.http, ports.grpc).await?;
    // Only now: who is told that it is ready must be able to connect.
    let complete = http::ops::router(server.app.clone(), &server.guard);
    server.operations.complete(complete);
    welcome(&server.app, addresses);
    let hangup = tokio::spawn(settings_on_hangup(hangup, server.app.clone(), settings));
    let warm = async {
        server.app.warm().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = signals.next() => {}
        () = warm => {}
        Some(ended) = running.servers.join_next() => {
            let why = ended.err().map_or_else(|| "a port was closed".to_owned(), |error| error.to_string());
            return Err(ServeError::Wrong(why));
        }
    }
    hangup.abort();
    tokio::select! {
        result = server.end(running) => result,
        () = signals.next() => Err(ServeError::Unfinished("a second signal: stopped at once".to_owned())),
    }
}

/// Metrics that the server itself declares.
struct ServerMetrics {
    ports: PortMetrics,
    requests: RequestMetrics,
    secrets: SecretMetrics,
}

impl ServerMetrics {
    fn new(registry: &Registry) -> crate::metrics::Result<Self> {
        Ok(Self {
            ports: PortMetrics::new(registry)?,
            requests: RequestMetrics::new(registry)?,
            secrets: SecretMetrics::new(registry)?,
        })
    }
}

/// Declares the metrics of connections, requests and secrets, as a server does; for reference pages.
///
/// # Errors
/// They are declared already.
pub fn declare_metrics(registry: &Registry) -> crate::metrics::Result<()> {
    ServerMetrics::new(registry).map(drop)
}

/// What runs once REST and gRPC are open.
struct Running {
    servers: JoinSet<()>,
    health: HealthReporter,
    /// Tells the health service.
    teller: JoinHandle<()>,
}

/// A server whose models are there.
struct Server {
    app: Arc<App>,
    tls: Option<Arc<ServerTls>>,
    guard: Guard,
    operations: OperationsPort,
    down: Shutdown,
    ports: PortMetrics,
}

impl Server {
    /// Opens REST and gRPC.
    async fn listen(&self, http: listen::BoundPort, grpc: listen::BoundPort) -> Result<Running, String> {
        let Self { app, tls, guard, .. } = self;
        let poll = app.config.server.poll();
        if let Some(tls) = tls {
            tokio::spawn(tls.clone().keep(poll));
        }
        guard.keep(poll);
        let (routes, health) = grpc::router(app, guard)?;
        grpc::report_health(&health, app.why_not_ready().is_empty()).await;
        let teller = tokio::spawn(keep_health(app.clone(), health.clone()));
        let mut servers = JoinSet::new();
        for (port, api, router) in [
            (http, PortApi::Rest, http::router(app, guard)),
            (grpc, PortApi::Grpc, routes),
        ] {
            let (kind, name) = match api {
                PortApi::Grpc => (PortKind::Grpc, "grpc"),
                _ => (PortKind::Rest, "http"),
            };
            let metrics = self.ports.of(name);
            let treatment = ConnectionPolicy::new(kind, &app.config, tls.clone(), self.down.clone(), metrics);
            servers.spawn(connections::serve(port.listen()?, router, treatment));
        }
        Ok(Running {
            servers,
            health,
            teller,
        })
    }

    /// Stops: unready, serving on while load balancers notice, then finishing what runs.
    async fn end(self, running: Running) -> Result<(), ServeError> {
        let Running {
            mut servers,
            mut health,
            teller,
        } = running;
        self.down.draining.cancel();
        teller.abort();
        // Or its last word might come after this one.
        let _ = teller.await;
        grpc::report_health(&health, false).await;
        let server = &self.app.config.server;
        tracing::info!(drain_seconds = server.drain_seconds, "stopping");
        tokio::time::sleep(Duration::from_secs(server.drain_seconds)).await;
        self.down.stop.cancel();
        grpc::end_health(&mut health).await;
        let finish = async { while servers.join_next().await.is_some() {} };
        let finished = tokio::time::timeout(Duration::from_secs(server.grace_seconds), finish).await;
        self.app.keep_warm();
        self.operations.end().await;
        finished.map_err(|_| {
            let seconds = server.grace_seconds;
            ServeError::Unfinished(format!("requests were still running after {seconds} s"))
        })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Reads the settings anew on every SIGHUP.
async fn settings_on_hangup(mut hangup: Signal, app: Arc<App>, settings: LiveSettings) {
    while hangup.recv().await.is_some() {
        settings.reload(&app).await;
    }
}

/// Has the health service say what readiness says, as models come and go.
async fn keep_health(app: Arc<App>, health: HealthReporter) {
    let mut said = None;
    loop {
        let ready = app.why_not_ready().is_empty();
        if said.replace(ready) != Some(ready) {
            grpc::report_health(&health, ready).await;
        }
        tokio::time::sleep(HEALTH).await;
    }
}
