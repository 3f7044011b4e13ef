//! Features in Redis or Valkey: a hash or a JSON document per entity.

pub(crate) mod connect;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod path;
pub(crate) mod reply;

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::{Cmd, Value, cmd};

use super::layout::{Layout, Vector, VectorBuilder};
use super::source::{FeatureSource, Lane, SourceError};
use crate::config::source::{RedisDocument, RedisSection};
use crate::features::store_client::{StoreClient, StoreIdentity};
use crate::models::contract::FeatureContract;
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::feature_type::FeatureType;
use crate::values::json::{self, Scalar};
use crate::values::time::now;
use connect::Connections;
use path::JsonPath;
use reply::{Reply, ReplyShape};

/// A Redis server with features.
#[derive(Clone, Debug)]
pub struct RedisStore {
    connections: Arc<Connections>,
    /// The parts of the key before and after the id.
    key: (String, String),
    document: RedisDocument,
    as_of: String,
}

/// A store bound to a layout.
#[derive(Debug)]
struct RedisSource {
    store: RedisStore,
    layout: Arc<Layout>,
    /// Hash fields to read; empty for a document.
    columns: Vec<String>,
    /// The position of each field of the layout.
    places: Vec<FieldPath>,
    as_of: Option<FieldPath>,
}

/// A column, and the path in its JSON.
#[derive(Debug)]
struct FieldPath {
    column: usize,
    path: Option<JsonPath>,
}

impl RedisStore {
    /// Prepares a store; nothing is connected yet.
    ///
    /// # Errors
    /// A URL or a certificate cannot be read.
    pub fn new(section: &RedisSection) -> Result<Self, String> {
        let (before, after) = section.key.split_once("{id}").unwrap_or((&section.key, ""));
        Ok(Self {
            connections: Arc::new(Connections::new(&section.server)?),
            key: (before.to_owned(), after.to_owned()),
            document: section.document,
            as_of: section.as_of.clone(),
        })
    }

    fn source(&self, layout: Arc<Layout>) -> Result<RedisSource, String> {
        let mut columns = Vec::new();
        let mut place = |column: &str| self.place(column, &mut columns);
        let places = layout.fields.iter().map(|field| place(&field.column));
        let places = places.collect::<Result<_, _>>()?;
        let as_of = Some(self.as_of.as_str()).filter(|column| !column.is_empty());
        let as_of = as_of.map(place).transpose()?;
        Ok(RedisSource {
            store: self.clone(),
            layout,
            columns,
            places,
            as_of,
        })
    }

    fn place(&self, column: &str, columns: &mut Vec<String>) -> Result<FieldPath, String> {
        let (field, path) = match column.find('$') {
            Some(at) => (&column[..at], Some(JsonPath::parse(&column[at..])?)),
            None => (column, None),
        };
        if self.document == RedisDocument::Json {
            return match (field, path) {
                ("", Some(path)) => Ok(FieldPath {
                    column: 0,
                    path: Some(path),
                }),
                _ => Err(format!(
                    "`{column}`: expected a path in the JSON document, such as $.events.count"
                )),
            };
        }
        if field.is_empty() {
            return Err(format!(
                "`{column}`: expected a hash field before the path, such as profile$.zip"
            ));
        }
        let known = columns.iter().position(|known| known == field);
        let column = known.unwrap_or_else(|| {
            columns.push(field.to_owned());
            columns.len() - 1
        });
        Ok(FieldPath { column, path })
    }
}

/// Asks a server for its version, role and clock. An account may not be allowed to ask for the first two.
pub(in crate::features) async fn identify(connections: &Connections) -> Result<StoreIdentity, String> {
    let ask = async |commands, shape| {
        let replies = connections.send(commands, Lane::Online, shape).await;
        replies.map_err(|error| error.to_string())
    };
    let time = ask(vec![cmd("TIME")], ReplyShape::Values(2)).await?;
    let time = time.into_iter().next().and_then(Result::ok);
    let clock = time.and_then(|time| redis::from_redis_value::<(f64, f64)>(time).ok());
    let sections = ["server", "replication"].map(|section| cmd("INFO").arg(section).to_owned());
    let replies = ask(sections.into(), ReplyShape::Value).await?;
    let info: Vec<String> = replies
        .into_iter()
        .filter_map(|reply| redis::from_redis_value::<String>(reply.ok()?).ok())
        .collect();
    let field = |name: &str| {
        let mut lines = info.iter().flat_map(|text| text.lines());
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let version = match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "Redis".to_owned(),
    };
    Ok(StoreIdentity {
        product: match field("role") {
            Some(role) => format!("{version}, {role}"),
            None => version,
        },
        clock: clock.map(|(seconds, micros)| seconds + micros / 1e6),
    })
}

impl StoreClient for RedisStore {
    fn identify(&self) -> Option<BoxFuture<'_, Result<StoreIdentity, String>>> {
        Some(identify(&self.connections).boxed())
    }

    fn check(&self, feature: &FeatureContract, _entity: &str) -> Result<(), String> {
        self.place(feature.column(), &mut Vec::new()).map(|_| ())
    }

    fn bind(&self, layout: Arc<Layout>) -> Result<Arc<dyn FeatureSource>, String> {
        Ok(Arc::new(self.source(layout)?))
    }
}

impl FeatureSource for RedisSource {
    fn fetch<'a>(
        &'a self,
        ids: &'a [EntityId],
        lane: Lane,
    ) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>> {
        async move {
            let commands = ids.iter().map(|id| self.command(id)).collect();
            let replies = self.store.connections.send(commands, lane, self.shape()).await?;
            let now = now();
            Ok(replies.into_iter().map(|reply| self.read(reply, now)).collect())
        }
        .boxed()
    }
}

impl RedisSource {
    /// What every command answers.
    fn shape(&self) -> ReplyShape {
        match self.store.document {
            RedisDocument::Hash => ReplyShape::Values(self.columns.len()),
            RedisDocument::Json => ReplyShape::Value,
        }
    }

    fn command(&self, id: &EntityId) -> Cmd {
        let (before, after) = &self.store.key;
        let key = format!("{before}{id}{after}");
        match self.store.document {
            RedisDocument::Hash => {
                let mut command = cmd("HMGET");
                command.arg(key).arg(&self.columns);
                command
            }
            RedisDocument::Json => {
                let mut command = cmd("GET");
                command.arg(key);
                command
            }
        }
    }

    fn read(&self, reply: Reply, now: f64) -> Vector {
        let texts = match reply {
            Ok(Value::Array(values)) => values,
            Ok(value) => vec![value],
            Err(reason) => return self.layout.invalid(now, &reason),
        };
        if texts.iter().all(|text| matches!(text, Value::Nil)) {
            return Layout::unknown(now);
        }
        let texts: Vec<Option<&str>> = texts.iter().map(text).collect();
        let mut documents: Vec<Option<Result<serde_json::Value, String>>> =
            texts.iter().map(|_| None).collect();
        let mut builder = self.layout.builder(now);
        for (field, place) in self.places.iter().enumerate() {
            let Some(text) = texts.get(place.column).copied().flatten() else {
                continue;
            };
            match &place.path {
                None => builder.set(field, Cell::Untyped(text)),
                Some(path) => {
                    let document = documents[place.column].get_or_insert_with(|| parse(text));
                    set_json(&mut builder, field, document, path);
                }
            }
        }
        builder.as_of_all(self.as_of(&texts, &documents));
        builder.finish()
    }

    fn as_of(
        &self,
        texts: &[Option<&str>],
        documents: &[Option<Result<serde_json::Value, String>>],
    ) -> Result<Option<f64>, String> {
        let Some(place) = &self.as_of else { return Ok(None) };
        let Some(text) = texts.get(place.column).copied().flatten() else {
            return Ok(None);
        };
        let Some(path) = &place.path else {
            return Cell::Untyped(text).number(FeatureType::Timestamp);
        };
        let own;
        let document = match documents.get(place.column) {
            Some(Some(Ok(document))) => document,
            _ => {
                own = parse(text)?;
                &own
            }
        };
        let Some(value) = path.find(document) else {
            return Ok(None);
        };
        cell(value)?.number(FeatureType::Timestamp)
    }
}

/// The text of a value; one that is not UTF-8 counts as no value.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn parse(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_slice(&json::standard(text.as_bytes())).map_err(|error| format!("not JSON: {error}"))
}

fn set_json(
    builder: &mut VectorBuilder<'_>,
    field: usize,
    document: &Result<serde_json::Value, String>,
    path: &JsonPath,
) {
    match document {
        Err(reason) => builder.mark_invalid(field, reason),
        Ok(document) => {
            // A path without a value leaves the field absent.
            let Some(value) = path.find(document) else { return };
            match cell(value) {
                Ok(cell) => builder.set(field, cell),
                Err(reason) => builder.mark_invalid(field, reason),
            }
        }
    }
}

/// A JSON value as a cell.
fn cell(value: &serde_json::Value) -> Result<Cell<'_>, &'static str> {
    match value {
        serde_json::Value::Null => Ok(Cell::Null),
        serde_json::Value::Bool(value) => Ok(Cell::Bool(*value)),
        serde_json::Value::String(text) => match json::rewritten(text) {
            None => Ok(Cell::Text(text)),
            Some(Scalar::Float(value)) => Ok(Cell::Float(value)),
            Some(_) => Err("a number beyond 64-bit floats"),
        },
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Ok(Cell::Int(whole)),
            // A larger whole number exceeds 2^53, and is refused where it must be exact.
            None => number.as_f64().map(Cell::Float).ok_or("a number out of range"),
        },
        serde_json::Value::Array(_) => Err("expected one value, found a list"),
        serde_json::Value::Object(_) => Err("expected one value, found an object"),
    }
}
