//! The settings of the server: one TOML file, then `EVERGREEN_*` environment variables, then the command line.
//! The only reader of files and environment for settings.

mod environment;
mod features;
mod grpc;
pub mod location;
pub mod models;
mod security;
mod server;
pub mod source;
mod storage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::toml_text;
pub use features::SnapshotWatchSection;
use location::is_remote;
pub use models::ModelsSection;
pub use security::{AuthSection, CorsSection, TlsSection};
pub use server::ServerSection;
use source::{SourceSection, Span};
pub use storage::StorageSection;

pub use grpc::{GrpcSection, StreamsSection};

/// All settings. Every key is explained in `evergreen.example.toml`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub server: ServerSection,
    /// Encryption of REST and gRPC.
    pub tls: TlsSection,
    /// Who may ask.
    pub auth: AuthSection,
    /// Which pages may ask.
    pub cors: CorsSection,
    /// Where the models are.
    pub models: ModelsSection,
    /// Where the features are.
    pub features: FeaturesSection,
    /// Connections of gRPC.
    pub grpc: GrpcSection,
    /// How object storage is reached.
    pub storage: StorageSection,
    /// Remote feature stores, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, SourceSection>,
    /// What a request may ask for.
    pub limits: LimitsSection,
    /// Streams of requests.
    pub streams: StreamsSection,
    /// What is logged.
    pub log: LogSection,
}

/// `[features]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSection {
    /// A Parquet, CSV or JSON lines file, or a folder of them; empty for `customers.parquet` in the models' folder, if it
    /// is there.
    pub snapshot: PathBuf,
    /// The column with the instant at which a row was true; empty for none.
    pub as_of: String,
    /// How new customers are looked for.
    pub watch: SnapshotWatchSection,
    /// The source of features whose group no source names; empty for the snapshot, or the only source without one.
    pub default: String,
    /// A file for the ids in the caches: written when stopping, read to fill the caches at the next start. Empty for
    /// none.
    pub warm: PathBuf,
    /// The longest that readiness waits for the caches to be filled.
    pub warm_timeout: Span,
}

impl Default for FeaturesSection {
    fn default() -> Self {
        Self {
            snapshot: PathBuf::new(),
            as_of: "as_of".to_owned(),
            watch: SnapshotWatchSection::default(),
            default: String::new(),
            warm: PathBuf::new(),
            warm_timeout: Span(Duration::from_secs(10)),
        }
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Most entities in a request.
    pub batch: usize,
    /// Most entities being scored at the same time, an explained one counting for ten; more is refused at once.
    pub in_flight: usize,
    /// Most numbers in an answer on tensors.
    pub numbers: usize,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            batch: 10_000,
            in_flight: 100_000,
            numbers: 10_000_000,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,evergreen=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// `format` of `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says, where it says anything.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the setting of that name")]
pub struct Overrides {
    pub models: Option<PathBuf>,
    pub customers: Option<PathBuf>,
    pub http: Option<SocketAddr>,
    pub grpc: Option<SocketAddr>,
    pub ops: Option<SocketAddr>,
}

/// The snapshot in the models' folder that is read when the settings name none.
const CUSTOMERS: &str = "customers.parquet";

impl Config {
    /// The snapshot to read, if there is one.
    pub fn snapshot(&self) -> Option<PathBuf> {
        let named = &self.features.snapshot;
        if named.as_os_str().is_empty() {
            // Who names a store has no use for the sample.
            let sample = Some(self.models.dir.join(CUSTOMERS)).filter(|_| self.source.is_empty());
            return sample.filter(|path| path.exists());
        }
        Some(named.clone())
    }

    /// Reads `file` if there is one, then the `EVERGREEN_*` variables among `environment`, then `overrides`.
    ///
    /// # Errors
    /// Names the file, line and key, or the variable, and what to do.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, String> {
        let mut config = match file {
            None => Self::default(),
            Some(path) => Self::from_file(path)?,
        };
        environment::apply(&mut config, environment)?;
        config.apply(overrides);
        config.validate()?;
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut config: Self = toml_text::parse(path, &text).map_err(|error| error.to_string())?;
        // Paths in a file are meant from where the file is.
        let base = path.parent().unwrap_or(Path::new(""));
        for path in [
            &mut config.models.dir,
            &mut config.features.snapshot,
            &mut config.storage.cache,
        ] {
            if !path.as_os_str().is_empty() && !is_remote(path) {
                *path = base.join(&*path);
            }
        }
        if !config.features.warm.as_os_str().is_empty() {
            config.features.warm = base.join(&config.features.warm);
        }
        config.tls.rebase(base);
        config.auth.rebase(base);
        config.models.rebase(base);
        config.source.values_mut().for_each(|source| source.rebase(base));
        Ok(config)
    }

    fn apply(&mut self, overrides: &Overrides) {
        fn put<T: Clone>(setting: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                *setting = value.clone();
            }
        }
        put(&mut self.models.dir, overrides.models.as_ref());
        put(&mut self.features.snapshot, overrides.customers.as_ref());
        put(&mut self.server.http, overrides.http.as_ref());
        put(&mut self.server.grpc, overrides.grpc.as_ref());
        put(&mut self.server.ops, overrides.ops.as_ref());
    }

    fn validate(&self) -> Result<(), String> {
        self.server.validate()?;
        self.tls.validate()?;
        self.cors.validate()?;
        self.streams.validate()?;
        self.models.validate()?;
        self.features.watch.validate()?;
        for (name, source) in &self.source {
            source
                .validate()
                .map_err(|message| format!("[source.{name}] {message}"))?;
        }
        let limits = &self.limits;
        for (key, value) in [
            ("limits.body_bytes", limits.body_bytes),
            ("limits.batch", limits.batch),
            ("limits.in_flight", limits.in_flight),
            ("limits.numbers", limits.numbers),
        ] {
            if value == 0 {
                return Err(format!(
                    "{key} is 0: nothing could be asked; leave it out for the default"
                ));
            }
        }
        if limits.in_flight < limits.batch {
            let (batch, in_flight) = (limits.batch, limits.in_flight);
            return Err(format!(
                "limits.in_flight ({in_flight}) is less than limits.batch ({batch})"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Config::load(Some(&path), environment, &Overrides::default())
    }

    #[test]
    fn environment_goes_before_the_file() {
        let text = "[server]\nhttp = \"127.0.0.1:1\"\n[limits]\nbatch = 5\n";
        let config = load(
            text,
            &[
                ("EVERGREEN_SERVER__HTTP", "127.0.0.1:2"),
                ("EVERGREEN_LOG__FORMAT", "json"),
                ("EVERGREEN_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
                ("EVERGREEN_SERVICE_HOST", "10.0.0.1"),
            ],
        )
        .unwrap();
        assert_eq!((config.server.http.port(), config.limits.batch), (2, 5));
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn what_is_misspelt_is_refused_with_the_nearest_right_name() {
        for (text, environment, expected) in [
            ("[limits]\nbach = 5\n", vec![], "e.toml:2: unknown field `bach`"),
            ("[limits]\nbach = 5\n", vec![], "did you mean `batch`?"),
            (
                "[server]\nhttp = \"nowhere\"\n",
                vec![],
                "e.toml:2: invalid socket address",
            ),
            (
                "",
                vec![("EVERGREEN_SERVER__HTPP", "x")],
                "EVERGREEN_SERVER__HTPP: there is no such setting; did you mean `EVERGREEN_SERVER__HTTP`?",
            ),
            (
                "",
                vec![("EVERGREEN_LIMITS__BATCH", "many")],
                "EVERGREEN_LIMITS__BATCH",
            ),
            ("[limits]\nbatch = 0\n", vec![], "limits.batch is 0"),
        ] {
            let error = load(text, &environment).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_example_names_every_setting_with_its_default() {
        let text = include_str!("../evergreen.example.toml");
        let example: toml::Table = toml::from_str(text).unwrap();
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        assert_eq!(example, defaults);
    }
}
