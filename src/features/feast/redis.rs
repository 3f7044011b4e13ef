//! Feast's Redis online store: one hash per entity, with a field per feature and a timestamp per feature view.

use ::redis::{Value as Reply, cmd};

use super::bytes::{field, timestamp};
use super::{FeastFetch, QueryView, finish};
use crate::config::source::RedisConnection;
use crate::features::layout::{Vector, VectorBuilder};
use crate::features::redis::connect::Connections;
use crate::features::redis::reply::ReplyShape;
use crate::features::source::SourceError;
use crate::values::time::now;

#[derive(Debug)]
pub(super) struct FeastRedis(Connections);

impl FeastRedis {
    pub(super) fn new(section: &RedisConnection) -> Result<Self, String> {
        Connections::new(section).map(Self)
    }

    pub(super) async fn fetch(&self, fetch_request: FeastFetch<'_>) -> Result<Vec<Vector>, SourceError> {
        let fields = fields(&fetch_request.wanted.views);
        let keys = fetch_request.wanted.keys(fetch_request.ids);
        let commands = keys.iter().flatten().map(|key| {
            let mut command = cmd("HMGET");
            command
                .arg([key.as_slice(), fetch_request.wanted.project.as_bytes()].concat())
                .arg(&fields);
            command
        });
        let mut replies = self
            .0
            .send(
                commands.collect(),
                fetch_request.lane,
                ReplyShape::Values(fields.len()),
            )
            .await?
            .into_iter();
        let now = now();
        let builders = keys.iter().map(|key| {
            key.as_ref()?;
            match replies.next()? {
                Ok(Reply::Array(values)) => builder(fetch_request, &values, now),
                Ok(_) => None,
                Err(reason) => {
                    let mut builder = fetch_request.layout.builder(now);
                    (0..fetch_request.layout.fields.len())
                        .for_each(|field| builder.mark_invalid(field, &reason));
                    Some(builder)
                }
            }
        });
        Ok(finish(builders.collect()))
    }
}

/// All fields to read: for each view its features, then its timestamp.
fn fields(views: &[QueryView]) -> Vec<Vec<u8>> {
    let of_view = |view: &QueryView| {
        let features: Vec<Vec<u8>> = view
            .features
            .iter()
            .map(|(feature, _)| field(&view.name, feature).to_vec())
            .collect();
        features
            .into_iter()
            .chain([format!("_ts:{}", view.name).into_bytes()])
    };
    views.iter().flat_map(of_view).collect()
}

/// The vector of an entity; `None` if the reply is empty.
fn builder<'a>(fetch_request: FeastFetch<'a>, values: &[Reply], now: f64) -> Option<VectorBuilder<'a>> {
    if values.iter().all(|value| matches!(value, Reply::Nil)) {
        return None;
    }
    let mut builder = fetch_request.layout.builder(now);
    let mut values = values.iter();
    for view in &fetch_request.wanted.views {
        for &(_, field) in &view.features {
            if let Some(Reply::BulkString(bytes)) = values.next() {
                QueryView::set(&mut builder, field, bytes);
            }
        }
        if let Some(Reply::BulkString(bytes)) = values.next()
            && let Some(seconds) = timestamp(bytes)
        {
            view.as_of(&mut builder, seconds);
        }
    }
    Some(builder)
}
