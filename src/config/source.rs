//! `[source.NAME]`: where features are kept beside the snapshot.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written `50ms`, `30s`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span: Result<SignedDuration, _> = text.parse();
        let span = span.ok().and_then(|span| Duration::try_from(span).ok());
        span.filter(|span| !span.is_zero()).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected a length of time such as \"50ms\" or \"2h\", found {text:?}"
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

/// One remote source: how it is asked, and exactly one of `redis`, `feast`, `postgres`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSection {
    /// The groups (`source = "group:column"` in contracts) that it holds; a group of its own name need not be listed.
    pub groups: Vec<String>,
    /// The longest that a fetch of a few entities may take, with its second attempt.
    pub timeout: Span,
    /// The longest that a fetch of many entities may take.
    pub bulk_timeout: Span,
    /// How long it is left alone when it keeps failing.
    pub rest: Span,
    /// What an entity's score does when the source cannot be asked.
    pub on_failure: OnFailure,
    /// The cache in front of it.
    pub cache: CacheSection,
    /// Hashes or JSON documents in Redis or Valkey.
    pub redis: Option<RedisSection>,
    /// A Feast online store.
    pub feast: Option<FeastSection>,
    /// A table or a query in PostgreSQL.
    pub postgres: Option<PostgresSection>,
}

impl Default for SourceSection {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            timeout: Span(Duration::from_millis(50)),
            bulk_timeout: Span(Duration::from_secs(2)),
            rest: Span(Duration::from_millis(250)),
            on_failure: OnFailure::Degrade,
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
    /// Score with what there is; its features count as missing.
    Degrade,
    /// No score: the entity's answer is `unavailable`.
    Reject,
}

/// `[source.NAME.cache]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// Bytes that it may hold; 0 for no cache.
    pub bytes: u64,
    /// Age from which an entity is fetched anew, while the cached values still answer.
    pub soft: Span,
    /// Age at which cached values are gone: how stale an answer may be while the store is away.
    pub hard: Span,
    /// Age at which "the store does not know it" is asked again.
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

/// How to reach Redis or Valkey.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConnection {
    /// `redis://host:6379/0`, or `rediss://` with TLS; several for the nodes of a cluster.
    pub urls: Vec<String>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// The ACL user.
    pub username: String,
    /// Its password. Keep it out of the file: EVERGREEN_SOURCE__NAME__REDIS__SERVER__PASSWORD.
    pub password: String,
    /// A file with the certificates (PEM) that vouch for the server; empty for the system's.
    pub ca: PathBuf,
    /// A file with this client's certificate (PEM), where the server wants one.
    pub certificate: PathBuf,
    /// A file with its key (PEM).
    pub key: PathBuf,
    /// Connections for single entities; there is one more for bulk.
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

/// `[source.NAME.redis]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSection {
    /// The server.
    pub server: RedisConnection,
    /// The key of an entity: `{id}` stands for its id.
    pub key: String,
    /// What is at the key.
    pub document: RedisDocument,
    /// The field or path with the instant at which the values were true; empty for none.
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

/// `[source.NAME.postgres]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresSection {
    /// `host=db user=evergreen dbname=features`, or a `postgres://` URL; `sslmode=require` for TLS.
    pub connect: String,
    /// The password. Keep it out of the file: EVERGREEN_SOURCE__NAME__POSTGRES__PASSWORD.
    pub password: String,
    /// A file with the certificates (PEM) that vouch for the server; empty for the system's.
    pub ca: PathBuf,
    /// The table or view, with its schema if need be; or a `query`.
    pub table: String,
    /// A query whose only parameter is `$1`, an array of ids: `SELECT … WHERE customer_id = ANY($1)`.
    pub query: String,
    /// The column with the ids; empty for the contract's entity.
    pub id: String,
    /// The column with the instant at which the values were true; empty for none.
    pub as_of: String,
    /// Connections for single entities, 0 for 2; there is one more for bulk.
    pub connections: usize,
}

/// `[source.NAME.feast]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeastSection {
    /// The project.
    pub project: String,
    /// The registry file (`registry.db`), which holds types, TTLs and feature services. It is read again when it changes.
    pub registry: PathBuf,
    /// A feature service: features without a group are looked up in it.
    pub service: String,
    /// How entity keys are written: 2 or 3, as `entity_key_serialization_version` in feature_store.yaml. What Feast wrote
    /// as 3 before 0.44 lacked the number of keys, and is not read.
    pub key_version: u8,
    /// Seconds between looks at the registry file.
    pub registry_seconds: u64,
    /// The online store: Redis.
    pub redis: Option<RedisConnection>,
    /// The online store: PostgreSQL.
    pub postgres: Option<FeastPostgres>,
    /// The online store: a SQLite file.
    pub sqlite: Option<PathBuf>,
    /// The online store: whatever Feast's HTTP feature server reads, for example `http://feast:6566`.
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

/// `[source.NAME.feast.postgres]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeastPostgres {
    /// As `connect` of `[source.NAME.postgres]`.
    pub connect: String,
    /// The password.
    pub password: String,
    /// A file with the certificates (PEM) that vouch for the server; empty for the system's.
    pub ca: PathBuf,
    /// The schema of the tables; empty for the user's own search path.
    pub schema: String,
    /// Connections for single entities, 0 for 2; there is one more for bulk.
    pub connections: usize,
}

impl SourceSection {
    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// Names the key and what to do.
    pub(super) fn validate(&self) -> Result<(), String> {
        let kinds = [
            self.redis.is_some(),
            self.feast.is_some(),
            self.postgres.is_some(),
        ];
        if kinds.iter().filter(|&&kind| kind).count() != 1 {
            return Err("needs exactly one of the tables redis, feast, postgres".to_owned());
        }
        let cache = &self.cache;
        if cache.hard.0 < cache.soft.0 {
            return Err("cache.hard must not be shorter than cache.soft".to_owned());
        }
        if self
            .redis
            .as_ref()
            .is_some_and(|redis| !redis.key.contains("{id}"))
        {
            return Err("redis.key must contain {id}".to_owned());
        }
        if let Some(postgres) = &self.postgres
            && postgres.table.is_empty() == postgres.query.is_empty()
        {
            return Err("postgres needs a table or a query".to_owned());
        }
        self.feast.as_ref().map_or(Ok(()), FeastSection::validate)
    }

    /// Takes relative paths as meant from `base`.
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
            return Err("feast needs exactly one of redis, postgres, sqlite, server".to_owned());
        }
        if self.project.is_empty() && self.server.is_none() {
            return Err("feast.project is empty: name it as feature_store.yaml does".to_owned());
        }
        if self.registry.as_os_str().is_empty() {
            return Err(
                "feast.registry is empty: name the registry file that `feast apply` writes".to_owned(),
            );
        }
        if !(2..=3).contains(&self.key_version) {
            return Err(format!("feast.key_version {}: 2 or 3", self.key_version));
        }
        Ok(())
    }
}
