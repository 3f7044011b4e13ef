//! The settings of the server: one TOML file, then `EVERGREEN_*` environment variables, then the command line.
//! No other module reads files or the environment for settings.

pub mod clients;
pub mod drift;
mod environment;
mod features;
mod grpc;
pub mod location;
pub mod models;
pub mod outcomes;
mod page;
mod prediction_log;
mod ranking;
mod security;
mod server;
pub mod source;
mod storage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::toml_text;
pub use clients::ClientsSection;
pub use drift::DriftSection;
pub use features::SnapshotWatchSection;
use location::is_remote;
pub use models::ModelsSection;
pub use outcomes::OutcomesSection;
pub use page::PageSection;
pub use prediction_log::{LogPolicy, PredictionLogSection};
pub use ranking::RankingSection;
pub use security::{AuthSection, CorsSection, TlsSection};
pub use server::ServerSection;
use source::{SourceSection, Span};
pub use storage::StorageSection;

pub use grpc::{GrpcSection, StreamsSection};

/// All settings; `docs/reference/settings.md` lists them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Ports and connections.
    pub server: ServerSection,
    /// Encryption of REST and gRPC.
    pub tls: TlsSection,
    /// API keys.
    pub auth: AuthSection,
    /// The web page for sales and marketing.
    pub page: PageSection,
    /// Limits of each client.
    pub clients: ClientsSection,
    /// Cross-origin requests.
    pub cors: CorsSection,
    /// The model repository.
    pub models: ModelsSection,
    /// Where features come from.
    pub features: FeaturesSection,
    /// Connections of gRPC.
    pub grpc: GrpcSection,
    /// Object storage.
    pub storage: StorageSection,
    /// Feature stores by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, SourceSection>,
    /// What became of customers.
    pub outcomes: OutcomesSection,
    /// The ranking of all customers.
    pub ranking: RankingSection,
    /// Limits of requests.
    pub limits: LimitsSection,
    /// Streams and bulk requests.
    pub streams: StreamsSection,
    /// Comparison of scored entities with training.
    pub drift: DriftSection,
    /// The log of what was scored.
    pub prediction_log: PredictionLogSection,
    /// The log.
    pub log: LogSection,
}

/// Where features come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSection {
    /// Customers: a Parquet, CSV or JSON lines file, or a folder of them, also in object storage. Empty:
    /// `customers.parquet` in the models folder, if it exists and no `[source.NAME]` is set.
    pub snapshot: PathBuf,
    /// Column with the time at which a row's features were true, compared with each feature's `max_age`. A file
    /// without the column is fine. Empty: none.
    pub as_of: String,
    /// Replacement of the snapshot.
    pub watch: SnapshotWatchSection,
    /// Source of features whose group no `[source.NAME]` lists. Empty: the snapshot, or the only source if there is
    /// no snapshot.
    pub default: String,
    /// File with the ids in the caches: written at shutdown, read to fill the caches at the next start. Empty: none.
    pub warm: PathBuf,
    /// Maximum time that readiness waits for the caches to be filled.
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

/// Limits of requests.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Memory budget in bytes: what all requests together may make the server hold, from bodies that are arriving to
    /// answers that were not taken yet. Requests beyond it are refused at once (429, RESOURCE_EXHAUSTED). 0: half of
    /// what the container's limit leaves after models, snapshot and caches; the start of the server logs it.
    pub memory: usize,
    /// Maximum size of a request body or gRPC message, in bytes.
    pub body_bytes: usize,
    /// Maximum entities or rows per request.
    pub batch: usize,
    /// Maximum entities being scored at the same time; an explained one counts as ten, or as its reasons if they are more. Requests beyond it are refused
    /// at once (429, RESOURCE_EXHAUSTED).
    pub in_flight: usize,
    /// Maximum numbers in a response on tensors: rows × the widths of the requested outputs.
    pub numbers: usize,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            memory: 0,
            body_bytes: 4 << 20,
            batch: 10_000,
            in_flight: 100_000,
            numbers: 10_000_000,
        }
    }
}

/// The log on standard error.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,evergreen=debug`. RUST_LOG overrides it.
    pub level: String,
    /// Format of log lines.
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
    /// Text for people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// Settings given on the command line.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the setting of that name")]
pub struct Overrides {
    pub models: Option<PathBuf>,
    pub customers: Option<PathBuf>,
    pub http: Option<SocketAddr>,
    pub grpc: Option<SocketAddr>,
    pub ops: Option<SocketAddr>,
}

/// The snapshot in the models folder that is read if the settings name none.
const CUSTOMERS: &str = "customers.parquet";

impl Config {
    /// The location of the snapshot, if there is one.
    pub fn snapshot(&self) -> Option<PathBuf> {
        let named = &self.features.snapshot;
        if named.as_os_str().is_empty() {
            // With a feature store the sample customers are of no use.
            let sample = Some(self.models.dir.join(CUSTOMERS)).filter(|_| self.source.is_empty());
            return sample.filter(|path| path.exists());
        }
        Some(named.clone())
    }

    /// Reads `file`, if any, then the `EVERGREEN_*` variables among `environment`, then `overrides`; later ones win.
    ///
    /// # Errors
    /// A setting is not valid; the message names the file, line and key, or the variable.
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
        let text =
            files::read_text(path, files::SMALL).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut config: Self = toml_text::parse(path, &text).map_err(|error| error.to_string())?;
        // Relative paths start at the folder of the file.
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
        config.page.rebase(base);
        config.models.rebase(base);
        config.prediction_log.rebase(base);
        config.outcomes.rebase(base);
        config.drift.rebase(base);
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

    /// Checks every setting.
    ///
    /// # Errors
    /// A value is not allowed; the message names it.
    pub fn validate(&self) -> Result<(), String> {
        self.server.validate()?;
        self.tls.validate()?;
        self.cors.validate()?;
        self.page.validate()?;
        self.clients.validate()?;
        self.streams.validate()?;
        self.models.validate()?;
        self.outcomes.validate()?;
        self.features.watch.validate()?;
        self.drift.validate()?;
        self.ranking.validate()?;
        self.prediction_log.validate()?;
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
                    "{key}: expected at least 1, found 0; remove it to use the default"
                ));
            }
        }
        if limits.memory != 0 && limits.memory < crate::memory::LEAST {
            let (least, found) = (crate::memory::LEAST, limits.memory);
            return Err(format!(
                "limits.memory: expected at least {least} (16 MiB), or 0 for the default, found {found}"
            ));
        }
        if limits.in_flight < limits.batch {
            let (batch, in_flight) = (limits.batch, limits.in_flight);
            return Err(format!(
                "limits.in_flight: expected at least limits.batch ({batch}), found {in_flight}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use evergreen_forest::KernelName;

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
    fn environment_overrides_the_file() {
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
    fn a_list_is_a_json_array_or_texts_with_commas() {
        for (text, expected) in [
            (
                r#"["https://a.example", "https://b.example"]"#,
                vec!["https://a.example", "https://b.example"],
            ),
            (
                "https://a.example, https://b.example",
                vec!["https://a.example", "https://b.example"],
            ),
            ("*", vec!["*"]),
            ("[]", vec![]),
            ("", vec![]),
        ] {
            let config = load(
                "[cors]\norigins = [\"*\"]\n",
                &[("EVERGREEN_CORS__ORIGINS", text)],
            )
            .unwrap();
            assert_eq!(config.cors.origins, expected, "{text}");
        }
        let proxies = ("EVERGREEN_CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8");
        assert_eq!(load("", &[proxies]).unwrap().clients.trusted_proxies.len(), 2);
        for (name, text, expected) in [
            ("EVERGREEN_CORS__ORIGINS", "[1]", "EVERGREEN_CORS__ORIGINS: "),
            (
                "EVERGREEN_CORS__ORIGINS",
                "[\"a\"",
                "EVERGREEN_CORS__ORIGINS: expected a JSON array such as",
            ),
            (
                "EVERGREEN_CORS__ORIGINS",
                "[null]",
                "EVERGREEN_CORS__ORIGINS: expected a JSON array without null",
            ),
            (
                "EVERGREEN_CORS__ORIGINS",
                "a.example",
                "cors.origins: expected \"https://host\"",
            ),
            (
                "EVERGREEN_CLIENTS__TRUSTED_PROXIES",
                "10.0.0.0/99",
                "EVERGREEN_CLIENTS__TRUSTED_PROXIES: ",
            ),
        ] {
            let error = load("", &[(name, text)]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn kernels_have_their_names_of_earlier_releases_too() {
        for (text, expected) in [
            ("auto", None),
            ("binned", Some(KernelName::Binned)),
            ("avx2", Some(KernelName::Binned)),
            ("bit-sliced", Some(KernelName::BitSliced)),
            ("sliced", Some(KernelName::BitSliced)),
        ] {
            let config = load(&format!("[models]\nkernel = \"{text}\"\n"), &[]).unwrap();
            assert_eq!(config.models.kernel, expected, "{text}");
        }
        assert!(
            load("[models]\nkernel = \"fast\"\n", &[]).is_err_and(|reason| reason.contains("bit-sliced"))
        );
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_nearest_known_one() {
        for (text, environment, expected) in [
            ("[limits]\nbach = 5\n", vec![], "e.toml:2: unknown field `bach`"),
            ("[limits]\nbach = 5\n", vec![], "did you mean `batch`?"),
            (
                "[server]\nhttp = \"nowhere\"\n",
                vec![],
                "e.toml:2: expected an address such as",
            ),
            (
                "",
                vec![("EVERGREEN_SERVER__HTPP", "x")],
                "EVERGREEN_SERVER__HTPP: unknown setting; did you mean `EVERGREEN_SERVER__HTTP`?",
            ),
            (
                "",
                vec![("EVERGREEN_LIMITS__BATCH", "many")],
                "EVERGREEN_LIMITS__BATCH",
            ),
            (
                "[limits]\nbatch = 0\n",
                vec![],
                "limits.batch: expected at least 1, found 0",
            ),
        ] {
            let error = load(text, &environment).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_example_has_every_setting_with_its_default() {
        let text = include_str!("../evergreen.example.toml");
        let example: toml::Table = toml::from_str(text).unwrap();
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        assert_eq!(example, defaults);
    }
}
