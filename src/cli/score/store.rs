//! Writes scores into a store from which applications read them, and Evergreen's own sources too.

#![cfg_attr(
    not(all(feature = "redis", feature = "postgres")),
    allow(dead_code, reason = "what only the stores use that this build lacks")
)]

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

use super::compute::{ScoredBatch, id_of};
use super::details::Detail;
use super::error::JobError;
use crate::cli::thousands;
use crate::config::Config;
use crate::config::source::{PostgresSection, RedisConnection};
use crate::models::ModelVersion;
use crate::words::shorten::shorten;

/// Attempts to write a batch, the first included.
const ATTEMPTS: u32 = 6;

/// Pause after the first failed attempt; it doubles each time, which makes six seconds in all.
const PAUSE: Duration = Duration::from_millis(200);

/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where to write scores, as the command line says it.
#[derive(Debug)]
pub(super) struct StoreOptions {
    /// A URL, or the name of a source in the settings.
    pub(super) to: String,
    /// How long a score may be read.
    pub(super) expire: Option<Duration>,
    /// The key in Redis, with `{model}` and `{id}`.
    pub(super) key: String,
    /// The table in PostgreSQL.
    pub(super) table: String,
}

/// What the scores of a job have in common.
#[derive(Debug)]
struct Common {
    model: String,
    version: i64,
    sha256: String,
    expire: Option<Duration>,
}

/// A score to store.
#[derive(Debug)]
struct StoredScore<'a> {
    id: String,
    detail: &'a Detail,
    /// The reasons as JSON.
    reasons: Option<String>,
}

/// A store, with its connection.
pub(super) struct Store {
    backend: Box<dyn Backend>,
    common: Common,
    runtime: Runtime,
    name: String,
    written: u64,
}

/// Why a store did not do what it should.
#[derive(Debug)]
struct StoreError {
    message: String,
    /// Whether it stays so, however often the action is repeated.
    lasts: bool,
}

impl From<String> for StoreError {
    fn from(message: String) -> Self {
        Self {
            message,
            lasts: false,
        }
    }
}

/// A kind of store. Every action may be repeated.
trait Backend {
    /// Reaches the store, and makes what it needs there.
    fn prepare(&self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Writes scores, at least one, whose ids differ.
    fn write<'a>(
        &'a self,
        common: &'a Common,
        scores: &'a [StoredScore<'a>],
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Removes what has expired of some ids, the first of which is `from`, if the store does not do so by itself. Returns the
    /// first id of the others; `None` if there are no others.
    fn remove_expired<'a>(
        &'a self,
        common: &'a Common,
        from: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;
}

fn backend(options: &StoreOptions, config: &Config) -> Result<Box<dyn Backend>, String> {
    let to = options.to.as_str();
    if to.starts_with("redis://") || to.starts_with("rediss://") {
        let section = RedisConnection {
            urls: vec![to.to_owned()],
            ..RedisConnection::default()
        };
        return redis(&section, options);
    }
    if to.starts_with("postgres://") || to.starts_with("postgresql://") {
        let section = PostgresSection {
            connect: to.to_owned(),
            ..PostgresSection::default()
        };
        return postgres(&section, options);
    }
    let source = config.source.get(to);
    match source.map(|source| (&source.redis, &source.postgres)) {
        Some((Some(section), _)) => redis(&section.server, options),
        Some((_, Some(section))) => postgres(section, options),
        Some(_) => Err(format!("--write {to}: expected a source with redis or postgres")),
        None => Err(format!(
            "--write: expected redis://host:6379/0, postgres://user@host/database, or the name of a source in the \
             settings, found \"{}\"",
            shorten(scheme(to))
        )),
    }
}

/// A store without user and password: the name of a source, or scheme, host, port and database.
pub(super) fn address(to: &str) -> String {
    let Some((scheme, rest)) = to.split_once("://") else {
        return to.to_owned();
    };
    let rest = rest.split('?').next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    // A password with a question mark cannot be told from the host: then neither is said.
    match to.matches('@').count() == rest.matches('@').count() {
        true => format!("{scheme}://{place}"),
        false => scheme.to_owned(),
    }
}

/// What is before the host of a URL, which has no password.
fn scheme(url: &str) -> &str {
    url.split("://").next().unwrap_or_default()
}

#[cfg(feature = "redis")]
fn redis(section: &RedisConnection, options: &StoreOptions) -> Result<Box<dyn Backend>, String> {
    Ok(Box::new(redis::RedisWriter::new(section, options)?))
}

#[cfg(not(feature = "redis"))]
fn redis(_: &RedisConnection, _: &StoreOptions) -> Result<Box<dyn Backend>, String> {
    Err("--write: this build has no Redis; build with --features redis".to_owned())
}

#[cfg(feature = "postgres")]
fn postgres(section: &PostgresSection, options: &StoreOptions) -> Result<Box<dyn Backend>, String> {
    Ok(Box::new(postgres::PostgresWriter::new(section, options)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &PostgresSection, _: &StoreOptions) -> Result<Box<dyn Backend>, String> {
    Err("--write: this build has no PostgreSQL; build with --features postgres".to_owned())
}

impl Store {
    /// Connects to a store, and prepares it for scores of `model`.
    ///
    /// # Errors
    /// The options are not valid, or the store cannot be reached; the message has no password.
    pub(super) fn open(
        options: &StoreOptions,
        config: &Config,
        model: &ModelVersion,
    ) -> Result<Self, JobError> {
        // The connection has a thread of its own, so that it sends while the next statement is made.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build();
        let store = Self {
            backend: backend(options, config)?,
            common: Common {
                model: model.name.clone(),
                version: i64::try_from(model.version).unwrap_or(i64::MAX),
                sha256: model.sha256.clone(),
                expire: options.expire,
            },
            runtime: runtime.map_err(|error| error.to_string())?,
            name: scheme(&options.to).to_owned(),
            written: 0,
        };
        store.attempt(|| store.backend.prepare())?;
        Ok(store)
    }

    /// Writes the scores of a batch. A row without a score writes nothing: what the store has of it stays until it expires.
    ///
    /// # Errors
    /// Every attempt failed; the message says how many scores were written before. Or the store will never take them.
    pub(super) fn write(&mut self, batch: &ScoredBatch) -> Result<(), JobError> {
        let rows = batch.details.iter().enumerate();
        let scores = rows
            .filter_map(|(row, detail)| {
                let detail = detail.as_ref()?;
                let reasons = (!detail.reasons.is_empty()).then(|| serde_json::to_string(&detail.reasons));
                Some(StoredScore {
                    id: id_of(&batch.output, row)?,
                    detail,
                    reasons: reasons.and_then(Result::ok),
                })
            })
            .collect();
        let scores = last_of_each_id(scores);
        if scores.is_empty() {
            return Ok(());
        }
        self.attempt(|| self.backend.write(&self.common, &scores))?;
        self.written += scores.len() as u64;
        Ok(())
    }

    /// Removes what has expired, where the store does not do so by itself.
    ///
    /// # Errors
    /// Every attempt failed.
    pub(super) fn end(&self) -> Result<(), JobError> {
        // Each step has a time limit of its own, so that the whole may take as long as the store has rows.
        let mut from = Some(String::new());
        while let Some(first) = from {
            from = self.attempt(|| self.backend.remove_expired(&self.common, &first))?;
        }
        Ok(())
    }

    /// Scores written by this run.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Carries an action out, again after a pause if it fails and that may help: every action may be repeated.
    fn attempt<'a, T>(
        &self,
        action: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, JobError> {
        let mut pause = PAUSE;
        let mut number = 1;
        loop {
            let done = self.runtime.block_on(async {
                let late = |_| format!("no answer in {} s", TIMEOUT.as_secs());
                tokio::time::timeout(TIMEOUT, action()).await.map_err(late)?
            });
            let error = match done {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let (name, written) = (&self.name, thousands(self.written));
            let StoreError { message, lasts } = error;
            if lasts {
                let error = format!("{name}: {message}; {written} scores were written by this run");
                return Err(JobError::Input(error));
            }
            if number == ATTEMPTS {
                return Err(JobError::Output(format!(
                    "{name}: {message}, after {ATTEMPTS} attempts; {written} scores were written by this run"
                )));
            }
            std::thread::sleep(pause);
            pause *= 2;
            number += 1;
        }
    }
}

/// The last score of each id. A statement of PostgreSQL cannot write a row twice, and the nodes of a Redis Cluster may get two
/// scores of one id in another order.
fn last_of_each_id(mut scores: Vec<StoredScore<'_>>) -> Vec<StoredScore<'_>> {
    let numbered = scores.iter().enumerate();
    let last: HashMap<&str, usize> = numbered
        .map(|(position, score)| (score.id.as_str(), position))
        .collect();
    let numbered = scores.iter().enumerate();
    let keep: Vec<bool> = numbered
        .map(|(position, score)| last.get(score.id.as_str()) == Some(&position))
        .collect();
    let mut keep = keep.into_iter();
    scores.retain(|_| keep.next().unwrap_or(true));
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::outcome::EntityResult;

    #[test]
    fn of_two_scores_of_one_id_the_last_one_is_kept() {
        let details = [0.1, 0.2, 0.3, 0.4].map(|score| Detail {
            score,
            band: None,
            status: EntityResult::Ok,
            missing: 0,
            out_of_range: 0,
            reasons: Vec::new(),
        });
        let ids = ["a", "b", "a", "c"].into_iter().zip(&details);
        let scores = ids.map(|(id, detail)| StoredScore {
            id: id.to_owned(),
            detail,
            reasons: None,
        });
        let kept = last_of_each_id(scores.collect());
        let kept: Vec<(&str, f64)> = kept
            .iter()
            .map(|kept| (kept.id.as_str(), kept.detail.score))
            .collect();
        assert_eq!(kept, [("b", 0.2), ("a", 0.3), ("c", 0.4)]);
    }

    #[test]
    fn an_address_has_no_password() {
        for (to, shown) in [
            ("online", "online"),
            ("redis://cache:6379/0", "redis://cache:6379/0"),
            ("redis://:p@ss@cache:6379/1", "redis://cache:6379/1"),
            (
                "postgres://me:secret@db:5432/scores?sslmode=require",
                "postgres://db:5432/scores",
            ),
            ("postgres://db/scores?user=me&password=p@ss", "postgres"),
            ("postgres://me:p?ss@db/scores", "postgres"),
        ] {
            assert_eq!(address(to), shown);
        }
    }
}
