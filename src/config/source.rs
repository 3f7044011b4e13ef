//! `[source.NAME]`: feature stores.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration, written `50ms`, `30s` or `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span: Result<SignedDuration, _> = text.parse();
        let span = span.ok().and_then(|span| Duration::try_from(span).ok());
        span.filter(|span| !span.is_zero()).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected a duration such as \"50ms\" or \"2h\", found {text:?}"
            ))
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = SignedDuration::try_from(self.0).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("{span:#}"))
    }
}

/// A feature store. A feature of a contract with `source = "group:column"` comes from the source that lists the group
/// or has its name. Set exactly one of the tables `redis`, `feast` and `postgres`. Keep passwords in the environment:
/// EVERGREEN_SOURCE__ONLINE__REDIS__SERVER__PASSWORD.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSection {
    /// Groups of features in this source; the group named like the source need not be listed.
    pub groups: Vec<String>,
    /// Maximum duration of a fetch of up to 99 entities, including a second attempt.
    pub timeout: Span,
    /// Maximum duration of a fetch of 100 entities or more.
    pub bulk_timeout: Span,
    /// Circuit breaker cooldown: how long a store that keeps failing is skipped before it is retried.
    pub rest: Span,
    /// What happens to an entity while the source is unavailable.
    pub on_failure: OnFailure,
    /// Cache in front of the source.
    pub cache: CacheSection,
    /// Hashes or JSON documents in Redis or Valkey.
    pub redis: Option<RedisSection>,
    /// A Feast online store.
    pub feast: Option<FeastSection>,
    /// A table or query in PostgreSQL.
    pub postgres: Option<PostgresSection>,
}

impl Default for SourceSection {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            timeout: Span(Duration::from_millis(50)),
            bulk_timeout: Span(Duration::from_secs(2)),
            rest: Span(Duration::from_millis(250)),
            on_failure: OnFailure::Reject,
            cache: CacheSection::default(),
            redis: None,
            feast: None,
            postgres: None,
        }
    }
}

/// `on_failure` of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// No score for an entity that is not in the cache: it gets an `unavailable` error.
    Reject,
    /// Score without its features: they count as missing, and the answer is `degraded`. `min_known` of the contract
    /// still holds.
    Degrade,
}

/// Cache in front of a source.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// Maximum size in bytes; 0: no cache.
    pub bytes: u64,
    /// Age from which an entry is fetched again while it still answers.
    pub soft: Span,
    /// Age at which an entry is dropped: how stale an answer may be while the store is unavailable.
    pub hard: Span,
    /// Age at which an id unknown to the store is looked up again.
    pub unknown: Span,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            soft: Span(Duration::from_secs(60)),
            hard: Span(Duration::from_secs(3600)),
            unknown: Span(Duration::from_secs(10)),
        }
    }
}

/// Connection to Redis or Valkey.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConnection {
    /// `redis://host:6379/0`, or `rediss://` with TLS; for a cluster, several nodes.
    pub urls: Vec<String>,
    /// Whether the server is a cluster.
    pub cluster: bool,
    /// ACL user.
    pub username: String,
    /// Password of the ACL user.
    pub password: String,
    /// File (PEM) with CA certificates for the server. Empty: those of the system.
    pub ca: PathBuf,
    /// File (PEM) with the client certificate, if the server requires one.
    pub certificate: PathBuf,
    /// File (PEM) with the key of the client certificate.
    pub key: PathBuf,
    /// Connections for up to 99 entities; there is one more for larger fetches.
    pub connections: usize,
}

impl Default for RedisConnection {
    fn default() -> Self {
        Self {
            urls: vec!["redis://localhost:6379".to_owned()],
            cluster: false,
            username: String::new(),
            password: String::new(),
            ca: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            connections: 2,
        }
    }
}

/// Features in Redis or Valkey: one hash or JSON document per entity.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSection {
    /// Connection to the server.
    pub server: RedisConnection,
    /// Key of an entity, such as `customer:{id}`; `{id}` stands for the id.
    pub key: String,
    /// What the key holds.
    pub document: RedisDocument,
    /// Field or path with the time at which the values were true. Empty: none.
    pub as_of: String,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self {
            server: RedisConnection::default(),
            key: "{id}".to_owned(),
            document: RedisDocument::Hash,
            as_of: String::new(),
        }
    }
}

/// `document` of `[source.NAME.redis]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisDocument {
    /// A hash: a column is a field, or a path into the JSON of a field (`profile$.address.zip`).
    Hash,
    /// A string with a JSON document: a column is a path (`$.events.open.count`).
    Json,
}

/// Features in PostgreSQL: one row per entity. Set `table` or `query`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresSection {
    /// `host=db user=evergreen dbname=features`, or a `postgres://` URL; `sslmode=require` for TLS.
    pub connect: String,
    /// Password. Keep it in the environment: EVERGREEN_SOURCE__ONLINE__POSTGRES__PASSWORD.
    pub password: String,
    /// File (PEM) with CA certificates for the server. Empty: those of the system.
    pub ca: PathBuf,
    /// Table or view, optionally with its schema.
    pub table: String,
    /// Query whose only parameter `$1` is an array of ids: `SELECT … WHERE customer_id = ANY($1)`.
    pub query: String,
    /// Column with the ids. Empty: the contract's entity.
    pub id: String,
    /// Column with the time at which the values were true. Empty: none.
    pub as_of: String,
    /// Connections for up to 99 entities, 0 for 2; there is one more for larger fetches.
    pub connections: usize,
}

/// A Feast online store. Set exactly one of `redis`, `postgres`, `sqlite` and `server`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeastSection {
    /// Feast's project.
    pub project: String,
    /// Registry file (`registry.db`) with types, TTLs and feature services. It is read again when it changes.
    pub registry: PathBuf,
    /// Feature service for features without a group. Empty: all feature views.
    pub service: String,
    /// Serialization version of entity keys, 2 or 3: `entity_key_serialization_version` in feature_store.yaml.
    /// Version 3 before Feast 0.44 lacks the number of keys and cannot be read.
    pub key_version: u8,
    /// Seconds between two checks of the registry file.
    pub registry_seconds: u64,
    /// Online store in Redis.
    pub redis: Option<RedisConnection>,
    /// Online store in PostgreSQL.
    pub postgres: Option<FeastPostgres>,
    /// Online store in a SQLite file (builds with `--features sqlite`).
    pub sqlite: Option<PathBuf>,
    /// Any other online store, through Feast's HTTP feature server, such as `http://feast:6566`.
    pub server: Option<String>,
}

impl Default for FeastSection {
    fn default() -> Self {
        Self {
            project: String::new(),
            registry: PathBuf::new(),
            service: String::new(),
            key_version: 3,
            registry_seconds: 10,
            redis: None,
            postgres: None,
            sqlite: None,
            server: None,
        }
    }
}

/// Feast's online store in PostgreSQL.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeastPostgres {
    /// Connection string, as in `[source.NAME.postgres]`.
    pub connect: String,
    /// Password.
    pub password: String,
    /// File (PEM) with CA certificates for the server. Empty: those of the system.
    pub ca: PathBuf,
    /// Schema of the tables. Empty: the user's search path.
    pub schema: String,
    /// Connections for up to 99 entities, 0 for 2; there is one more for larger fetches.
    pub connections: usize,
}

impl SourceSection {
    /// Checks what the types cannot express.
    ///
    /// # Errors
    /// A value is not valid; the message names the key and what to do.
    pub(super) fn validate(&self) -> Result<(), String> {
        let kinds = [
            self.redis.is_some(),
            self.feast.is_some(),
            self.postgres.is_some(),
        ];
        if kinds.iter().filter(|&&kind| kind).count() != 1 {
            return Err("set exactly one of the tables redis, feast and postgres".to_owned());
        }
        let cache = &self.cache;
        if cache.hard.0 < cache.soft.0 {
            return Err("cache.hard: expected at least cache.soft".to_owned());
        }
        if self
            .redis
            .as_ref()
            .is_some_and(|redis| !redis.key.contains("{id}"))
        {
            return Err("redis.key: expected a text with {id}, such as \"customer:{id}\"".to_owned());
        }
        if let Some(postgres) = &self.postgres
            && postgres.table.is_empty() == postgres.query.is_empty()
        {
            return Err("postgres: set table or query".to_owned());
        }
        self.feast.as_ref().map_or(Ok(()), FeastSection::validate)
    }

    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &std::path::Path) {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        if let Some(redis) = &mut self.redis {
            paths.extend(redis.server.paths());
        }
        if let Some(postgres) = &mut self.postgres {
            paths.push(&mut postgres.ca);
        }
        if let Some(feast) = &mut self.feast {
            paths.push(&mut feast.registry);
            paths.extend(&mut feast.sqlite);
            paths.extend(feast.postgres.as_mut().map(|postgres| &mut postgres.ca));
            paths.extend(feast.redis.iter_mut().flat_map(RedisConnection::paths));
        }
        for path in paths {
            if !path.as_os_str().is_empty() {
                *path = base.join(&*path);
            }
        }
    }
}

impl RedisConnection {
    fn paths(&mut self) -> [&mut PathBuf; 3] {
        [&mut self.ca, &mut self.certificate, &mut self.key]
    }
}

impl FeastSection {
    fn validate(&self) -> Result<(), String> {
        let stores = [
            self.redis.is_some(),
            self.postgres.is_some(),
            self.sqlite.is_some(),
            self.server.is_some(),
        ];
        if stores.iter().filter(|&&store| store).count() != 1 {
            return Err("feast: set exactly one of redis, postgres, sqlite and server".to_owned());
        }
        if self.project.is_empty() && self.server.is_none() {
            return Err(
                "feast.project: expected the project of feature_store.yaml, found nothing".to_owned(),
            );
        }
        if self.registry.as_os_str().is_empty() {
            return Err(
                "feast.registry: expected the registry file that `feast apply` writes, found nothing"
                    .to_owned(),
            );
        }
        if !(2..=3).contains(&self.key_version) {
            return Err(format!(
                "feast.key_version: expected 2 or 3, found {}",
                self.key_version
            ));
        }
        Ok(())
    }
}
