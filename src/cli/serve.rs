//! `evergreen serve`: starts the server and prints what it serves.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::welcome::welcome_text;
use super::{CommandError, listen_address, progress_bar};
use crate::app::App;
use crate::app::live_settings::LiveSettings;
use crate::config::{Config, LogFormat, Overrides};
use crate::log;
use crate::metrics::Registry;
use crate::server::{self, Addresses, ServeError};

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
        let format = config.log.format;
        let settings = LiveSettings::new(config.clone(), Box::new(load_config), log);
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        let result = runtime.block_on(server::run(config, settings, build, welcome));
        // Do not wait for an abandoned load or request.
        runtime.shutdown_background();
        let result = result.map_err(|error| logged(error, format));
        log::flush();
        result
    }
}

/// Writes the error that ended the server to the log: as an event if the log is for machines, otherwise as the other
/// commands write theirs.
fn logged(error: ServeError, format: LogFormat) -> CommandError {
    let error = match (error, format) {
        (ServeError::Wrong(error), LogFormat::Json) => {
            tracing::error!(error, "server not started");
            return CommandError::Logged(2);
        }
        (ServeError::Unfinished(error), LogFormat::Json) => {
            tracing::error!(error, "server stopped with requests unfinished");
            return CommandError::Logged(3);
        }
        (ServeError::Failed(error), LogFormat::Json) => {
            tracing::error!(error, "server failed");
            return CommandError::Logged(server::FAILED_CODE);
        }
        (ServeError::Failed(error), LogFormat::Text) => CommandError::Failed(error),
        (ServeError::Wrong(error), LogFormat::Text) => CommandError::Invalid(error),
        (ServeError::Unfinished(error), LogFormat::Text) => CommandError::Unfinished(error),
    };
    if let Some(text) = error.text() {
        log::write_text(&if log::has_colours() {
            text
        } else {
            anstream::adapter::strip_str(&text).to_string()
        });
    }
    CommandError::Logged(error.exit_code())
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
    let text = welcome_text(app, addresses);
    // On a thread of its own: standard output may be a pipe that nobody reads.
    let print = move || {
        // A closed pipe (`| head`) is no failure of the server.
        let _ = anstream::stdout().write_all(text.as_bytes());
    };
    let printing = std::thread::Builder::new()
        .name("welcome".to_owned())
        .spawn(print);
    if let Err(error) = printing {
        tracing::warn!(%error, "addresses not printed");
    }
}
