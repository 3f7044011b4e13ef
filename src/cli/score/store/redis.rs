//! Scores in Redis or Valkey: a hash per entity, replaced as a whole.

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use redis::Cmd;

use super::{Backend, Common, StoreError, StoreOptions, StoredScore};
use crate::config::source::RedisConnection;
use crate::features::redis::connect::Connections;
use crate::features::redis::reply::ReplyShape;
use crate::features::source::Lane;
use crate::values::time::{now, rfc3339};

/// Replaces a hash and sets when it expires, in one step: no reader sees half of it, and no field of an earlier run stays.
const REPLACE: &str = "redis.call('DEL', KEYS[1]) \
                       redis.call('HSET', KEYS[1], unpack(ARGV, 2)) \
                       if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
                       return 'done'";

/// Commands in a pipeline.
const PIPELINE: usize = 1000;

/// Pipelines on their way to the store at a time.
const PIPELINES: usize = 2;

/// A connection for writing.
pub(super) struct RedisWriter {
    connections: Connections,
    key: String,
}

impl RedisWriter {
    /// Prepares a connection.
    ///
    /// # Errors
    /// The URL, a certificate or the key is not valid.
    pub(super) fn new(section: &RedisConnection, options: &StoreOptions) -> Result<Self, String> {
        if !options.key.contains("{id}") {
            let key = &options.key;
            return Err(format!(
                "--key: expected a key with {{id}}, such as score:{{model}}:{{id}}, found \"{key}\""
            ));
        }
        Ok(Self {
            connections: Connections::new(section)?,
            key: options.key.clone(),
        })
    }

    async fn write_scores(&self, common: &Common, scores: &[StoredScore<'_>]) -> Result<(), String> {
        let expire = common.expire.map_or(0, |expire| expire.as_millis()).to_string();
        let at = rfc3339(now()).unwrap_or_default();
        let key = self.key.replace("{model}", &common.model);
        let replace = |score: &StoredScore<'_>| {
            let mut command = Cmd::new();
            command.arg("EVAL").arg(REPLACE).arg(1);
            command.arg(key.replace("{id}", &score.id)).arg(&expire);
            for (field, value) in fields(common, score, &at) {
                command.arg(field).arg(value);
            }
            command
        };
        // The next pipeline is made while the store works. The nodes of a cluster get bursts of both, in any order, which
        // does no harm: all ids of a batch differ.
        let mut sent = FuturesOrdered::new();
        for scores in scores.chunks(PIPELINE) {
            let commands = scores.iter().map(replace).collect();
            if sent.len() == PIPELINES {
                sent.next().await.transpose()?;
            }
            sent.push_back(self.send(commands));
        }
        sent.try_collect().await
    }

    async fn send(&self, commands: Vec<Cmd>) -> Result<(), String> {
        let replies = self
            .connections
            .send(commands, Lane::Bulk, ReplyShape::Value)
            .await;
        let replies = replies.map_err(|error| error.to_string())?;
        replies.into_iter().try_for_each(|reply| reply.map(drop))
    }
}

impl Backend for RedisWriter {
    fn prepare(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut echo = Cmd::new();
        echo.arg("ECHO").arg("evergreen");
        async { Ok(self.send(vec![echo]).await?) }.boxed()
    }

    fn write<'a>(
        &'a self,
        common: &'a Common,
        scores: &'a [StoredScore<'a>],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async { Ok(self.write_scores(common, scores).await?) }.boxed()
    }

    fn remove_expired<'a>(
        &'a self,
        _: &'a Common,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        std::future::ready(Ok(None)).boxed()
    }
}

/// The fields of a hash. A score without a band or reasons has no such field.
fn fields(common: &Common, score: &StoredScore<'_>, at: &str) -> Vec<(&'static str, String)> {
    let detail = score.detail;
    let mut fields = vec![
        ("score", detail.score.to_string()),
        ("status", detail.status.label().to_owned()),
        ("missing", detail.missing.to_string()),
        ("out_of_range", detail.out_of_range.to_string()),
        ("version", common.version.to_string()),
        ("sha256", common.sha256.clone()),
        ("scored_at", at.to_owned()),
    ];
    fields.extend(detail.band.as_deref().map(|band| ("band", band.to_owned())));
    fields.extend(score.reasons.clone().map(|reasons| ("reasons", reasons)));
    fields
}
