//! `evergreen serve`: starts the server and prints what it serves.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{
    BOLD, CommandError, GREEN, YELLOW, human_bytes, listen_address, print_line, progress_bar, thousands,
};
use crate::app::App;
use crate::app::live_settings::LiveSettings;
use crate::config::{Config, LogFormat, Overrides};
use crate::log;
use crate::metrics::Registry;
use crate::server::{self, Addresses};

const EXAMPLES: &str = "\
Examples:
  evergreen serve                               serve the sample, in the root of the source tree
  evergreen serve --config evergreen.toml
  evergreen serve --models models --customers customers.csv --http 127.0.0.1:9000
  EVERGREEN_LOG__LEVEL=debug evergreen serve    override a setting with a variable

evergreen.example.toml lists all settings.";

/// Serve the models of a folder over REST and gRPC
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeCommand {
    /// Settings file (TOML). Default: the values in evergreen.example.toml
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Repository folder: DIR/<model>/<version>/
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Customers' features: file or folder, Parquet, CSV or JSON lines
    #[arg(long, value_name = "FILE")]
    customers: Option<PathBuf>,
    /// Listen address for REST, HOST:PORT
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    http: Option<SocketAddr>,
    /// Listen address for gRPC, HOST:PORT
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    grpc: Option<SocketAddr>,
    /// Listen address for probes, metrics and administration, HOST:PORT
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    ops: Option<SocketAddr>,
}

impl ServeCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self {
            config,
            models,
            customers,
            http,
            grpc,
            ops,
        } = self;
        let overrides = Overrides {
            models,
            customers,
            http,
            grpc,
            ops,
        };
        let load_config = move || {
            let environment = std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            Config::load(config.as_deref(), environment, &overrides)
        };
        let config = load_config()?;
        let log = log::to_stderr(&config.log)?;
        let json = config.log.format == LogFormat::Json;
        let settings = LiveSettings::new(config.clone(), Box::new(load_config), log);
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        let result = runtime.block_on(server::run(config, settings, build, welcome));
        // Do not wait for an abandoned load or request.
        runtime.shutdown_background();
        result.map_err(|error| if json { logged(error) } else { error.into() })
    }
}

/// Writes the error that ended the server to a log for machines, which takes no other text.
fn logged(error: server::ServeError) -> CommandError {
    match error {
        server::ServeError::Wrong(error) => {
            tracing::error!(error, "server not started");
            CommandError::Logged(2)
        }
        server::ServeError::Unfinished(error) => {
            tracing::error!(error, "server stopped with requests unfinished");
            CommandError::Logged(3)
        }
    }
}

impl From<server::ServeError> for CommandError {
    fn from(error: server::ServeError) -> Self {
        match error {
            server::ServeError::Wrong(message) => Self::Invalid(message),
            server::ServeError::Unfinished(message) => Self::Unfinished(message),
        }
    }
}

fn build(config: Config, registry: Registry) -> Result<App, String> {
    let bar = progress_bar(0, "reading customers");
    let app = App::build(config, registry, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    app
}

/// Says what was loaded and the addresses: as a log event if the log is for machines, otherwise as text with a command to
/// try.
fn welcome(app: &App, addresses: Addresses) {
    if app.config.log.format == LogFormat::Json {
        let Addresses { http, grpc, ops } = addresses;
        let live = app.scorer.live();
        let models = live.models().filter(|(_, entry)| entry.live.is_some()).count();
        let customers = live.snapshot.as_ref().map_or(0, |snapshot| snapshot.len());
        tracing::info!(%http, %grpc, %ops, models, customers, "server started");
        return;
    }
    print_welcome(app, addresses);
}

fn print_welcome(app: &App, addresses: Addresses) {
    let live = app.scorer.live();
    print_line!("{BOLD}Evergreen{BOLD:#} {}", env!("CARGO_PKG_VERSION"));
    for (name, entry) in live.models() {
        match &entry.live {
            Some(servable) => {
                let (version, summary) = (servable.model.version, servable.model.forest.summary());
                let (trees, noun) = (
                    thousands(summary.trees),
                    if summary.trees == 1 { "tree" } else { "trees" },
                );
                print_line!(
                    "  model       {GREEN}{name}{GREEN:#} version {version}: {}, {trees} {noun}",
                    summary.objective
                );
            }
            None => print_line!(
                "  model       {YELLOW}{name}: no version may go live{YELLOW:#}; run evergreen check for the reason"
            ),
        }
    }
    if let Some(snapshot) = &live.snapshot {
        let (rows, ids) = snapshot.size_bytes();
        let (count, size, path) = (
            thousands(snapshot.len()),
            human_bytes(rows + ids),
            snapshot.path().display(),
        );
        print_line!("  customers   {count} from {path} ({size} in memory)");
    }
    let Addresses { http, grpc, ops } = addresses;
    let scheme = if app.config.tls.is_on() { "https" } else { "http" };
    print_line!(
        "  REST        {scheme}://{http}      docs: {scheme}://{}/docs",
        client_address(http)
    );
    print_line!("  gRPC        {grpc}");
    print_line!("  operations  http://{ops}      /livez /readyz /metrics");
    for reason in app.why_not_ready() {
        print_line!("  {YELLOW}not ready:{YELLOW:#} {reason}");
    }
    let model = live.models().find(|(_, entry)| {
        entry
            .live
            .as_ref()
            .is_some_and(|servable| servable.plan.is_some())
    });
    let id = live.snapshot.as_ref().and_then(|snapshot| snapshot.id(0));
    if let (Some((name, _)), Some(id)) = (model, id) {
        let scheme = if app.config.tls.is_on() { "https://" } else { "" };
        let key = if app.config.auth.is_on() {
            "-H 'Authorization: Bearer KEY' "
        } else {
            ""
        };
        print_line!(
            "\nTry:  curl {key}'{scheme}{}/v1/models/{name}/scores/{id}?explain=3'\n",
            client_address(http)
        );
    }
}

/// Returns the address that a local client uses.
fn client_address(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
