//! The replies of Redis, for the fuzz targets.

use std::sync::Arc;

use redis::{RedisError, Value};

use super::connect::Connections;
use super::reply::ReplyShape;
use super::{RedisSource, RedisStore};
use crate::config::source::{RedisDocument, RedisSection};
use crate::features::layout::{Field, Layout, Vector};
use crate::values::feature_type::{FeatureType, Parse};

/// A store of hashes or of documents, with a field of every type.
#[derive(Debug)]
pub struct RedisReader {
    source: RedisSource,
    shape: ReplyShape,
}

impl RedisReader {
    /// Creates a reader; it connects to nothing.
    ///
    /// # Errors
    /// Never for the settings that it has.
    pub fn new(json: bool) -> Result<Self, String> {
        let section = RedisSection {
            document: if json {
                RedisDocument::Json
            } else {
                RedisDocument::Hash
            },
            as_of: if json { "$.at" } else { "at" }.to_owned(),
            ..RedisSection::default()
        };
        let store = RedisStore {
            connections: Arc::new(Connections::new(&section.server)?),
            key: (String::new(), String::new()),
            document: section.document,
            as_of: section.as_of.clone(),
        };
        let fields = FeatureType::ALL
            .into_iter()
            .enumerate()
            .map(|(position, kind)| Field {
                group: None,
                column: match (json, position % 2) {
                    (true, 0) => format!("$.f{position}"),
                    (true, _) => format!("$.list[{position}]"),
                    (false, 0) => format!("f{position}"),
                    (false, _) => format!("document$.f{position}"),
                },
                kind,
                parse: if position % 2 == 0 {
                    Parse::default()
                } else {
                    Parse::Tolerant
                },
                single: false,
                categories: vec!["a".to_owned(), "1".to_owned()],
                whole: true,
            });
        let source = store.source(Arc::new(Layout::new("customer_id", fields.collect())))?;
        let shape = source.shape();
        Ok(Self { source, shape })
    }

    /// Reads a reply of the protocol; `None` if it does not have the shape of an answer.
    ///
    /// # Errors
    /// It is not the protocol.
    pub fn reply(&self, bytes: &[u8]) -> Result<Option<Vector>, RedisError> {
        let value = redis::parse_redis_value(bytes)?;
        Ok(self.shape.fits(&value).then(|| self.source.read(Ok(value), 1.0)))
    }

    /// Reads texts as an answer: the fields of the hash in turn, or the document.
    pub fn texts(&self, bytes: &[u8]) -> Vector {
        let text = |part: &[u8]| Value::BulkString(part.to_vec());
        let reply = match self.shape {
            ReplyShape::Value => text(bytes),
            ReplyShape::Values(count) => {
                let mut parts = bytes.split(|&byte| byte == 0xff).map(text);
                Value::Array((0..count).map(|_| parts.next().unwrap_or(Value::Nil)).collect())
            }
        };
        self.source.read(Ok(reply), 1.0)
    }
}
