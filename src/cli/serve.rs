//! `evergreen serve`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{BOLD, CommandError, GREEN, YELLOW, bytes, progress_bar, say, thousands};
use crate::app::App;
use crate::app::live_settings::LiveSettings;
use crate::config::{Config, Overrides};
use crate::log;
use crate::metrics::Registry;
use crate::server::{self, Addresses};

const EXAMPLES: &str = "\
Examples:
  evergreen serve                                     the shipped sample, from the repository's root
  evergreen serve --config evergreen.toml
  evergreen serve --models models --customers customers.csv --http 127.0.0.1:9000
  EVERGREEN_LOG__LEVEL=debug evergreen serve          any setting as a variable; see evergreen.example.toml";

/// Serve the models of a folder over REST and gRPC
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// Settings (TOML); without it, the defaults of evergreen.example.toml
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Folder with the models: DIR/<model>/<version>/
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Customers: Parquet, CSV or JSON lines, a file or a folder
    #[arg(long, value_name = "FILE")]
    customers: Option<PathBuf>,
    /// Where to listen for REST
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where to listen for gRPC
    #[arg(long, value_name = "ADDR")]
    grpc: Option<SocketAddr>,
    /// Where to listen for probes and metrics
    #[arg(long, value_name = "ADDR")]
    ops: Option<SocketAddr>,
}

impl Serve {
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
        let read = move || {
            let environment = std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            Config::load(config.as_deref(), environment, &overrides)
        };
        let config = read()?;
        let log = log::to_stderr(&config.log)?;
        let settings = LiveSettings::new(config.clone(), Box::new(read), log);
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        let result = runtime.block_on(server::run(config, settings, build, welcome));
        // What still runs, a load or a request that was given up, is not waited for.
        runtime.shutdown_background();
        result.map_err(CommandError::from)
    }
}

impl From<server::ServeError> for CommandError {
    fn from(failure: server::ServeError) -> Self {
        match failure {
            server::ServeError::Wrong(message) => Self::Wrong(message),
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

/// What was loaded, where it listens, and something to try.
fn welcome(app: &App, addresses: Addresses) {
    let live = app.scorer.live();
    say!("{BOLD}Evergreen{BOLD:#} {}", env!("CARGO_PKG_VERSION"));
    for (name, entry) in live.models() {
        match &entry.live {
            Some(served) => {
                let (version, summary) = (served.model.version, served.model.forest.summary());
                let trees = thousands(summary.trees);
                say!(
                    "  model       {GREEN}{name}{GREEN:#} version {version}: {}, {trees} trees",
                    summary.objective
                );
            }
            None => say!(
                "  model       {YELLOW}{name}: no version may go live{YELLOW:#} (evergreen check says why)"
            ),
        }
    }
    if let Some(snapshot) = &live.snapshot {
        let (rows, ids) = snapshot.size_bytes();
        let (count, size, path) = (
            thousands(snapshot.len()),
            bytes(rows + ids),
            snapshot.path().display(),
        );
        say!("  customers   {count} from {path} ({size} in memory)");
    }
    let Addresses { http, grpc, ops } = addresses;
    let scheme = if app.config.tls.is_on() { "https" } else { "http" };
    say!(
        "  REST        {scheme}://{http}      docs: {scheme}://{}/docs",
        reachable(http)
    );
    say!("  gRPC        {grpc}");
    say!("  operations  http://{ops}      /livez /readyz /metrics");
    for reason in app.why_not_ready() {
        say!("  {YELLOW}not ready:{YELLOW:#} {reason}");
    }
    let model = live
        .models()
        .find(|(_, entry)| entry.live.as_ref().is_some_and(|served| served.plan.is_some()));
    let id = live.snapshot.as_ref().and_then(|snapshot| snapshot.id(0));
    if let (Some((name, _)), Some(id)) = (model, id) {
        let scheme = if app.config.tls.is_on() { "https://" } else { "" };
        let key = if app.config.auth.is_on() {
            "-H 'Authorization: Bearer KEY' "
        } else {
            ""
        };
        say!(
            "\nTry:  curl {key}'{scheme}{}/v1/models/{name}/scores/{id}?explain=3'\n",
            reachable(http)
        );
    }
}

/// The address as a client on this machine writes it.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
