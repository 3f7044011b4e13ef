//! Feast's HTTP feature server, for online stores that cannot be read directly.

use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{FeastFetch, QueryView, finish};
use crate::features::layout::{Vector, VectorBuilder};
use crate::features::source::SourceError;
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::feature_type::FeatureType;
use crate::values::json::standard;
use crate::values::time::now;

#[derive(Debug)]
pub(super) struct FeatureServer {
    client: Client<HttpConnector, Full<axum::body::Bytes>>,
    uri: axum::http::Uri,
}

/// Maximum bytes of a response, per entity and feature.
const MOST_BYTES: usize = 1024;

#[derive(Deserialize)]
struct OnlineResponse {
    metadata: ResponseMetadata,
    results: Vec<FeatureValues>,
}

#[derive(Deserialize)]
struct ResponseMetadata {
    feature_names: Vec<String>,
}

/// A feature of all entities.
#[derive(Deserialize)]
struct FeatureValues {
    values: Vec<Json>,
    #[serde(default)]
    statuses: Vec<String>,
    #[serde(default)]
    event_timestamps: Vec<String>,
}

impl FeatureServer {
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let uri = format!("{}/get-online-features", address.trim_end_matches('/'));
        let uri: axum::http::Uri = uri
            .parse()
            .map_err(|error| format!("feast.server {address:?}: {error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!(
                "feast.server: expected an address such as http://feast:6566 (without TLS), found {address:?}"
            ));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(std::time::Duration::from_secs(2)));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, uri })
    }

    pub(super) async fn fetch(&self, fetch_request: FeastFetch<'_>) -> Result<Vec<Vector>, SourceError> {
        // An id of another type than the keys would fail the whole request, so it is left out.
        let keys = fetch_request.wanted.keys(fetch_request.ids);
        let requested: Vec<(usize, &EntityId)> = fetch_request
            .ids
            .iter()
            .enumerate()
            .filter(|(at, _)| keys[*at].is_some())
            .collect();
        let ids: Vec<Json> = requested
            .iter()
            .map(|(_, id)| fetch_request.wanted.json(id))
            .collect();
        let name = |view: &QueryView, feature: &str| format!("{}:{feature}", view.name);
        let features = fetch_request
            .wanted
            .views
            .iter()
            .flat_map(|view| view.features.iter().map(|(feature, _)| name(view, feature)));
        let body = json!({
            "features": features.collect::<Vec<_>>(),
            "entities": { &fetch_request.wanted.entity: ids },
            "full_feature_names": true,
        });
        let answer = self.post(&body, requested.len()).await?;
        let now = now();
        let mut builders: Vec<Option<VectorBuilder<'_>>> = fetch_request.ids.iter().map(|_| None).collect();
        for view in &fetch_request.wanted.views {
            for (feature, field) in &view.features {
                let full = format!("{}__{feature}", view.name);
                let column = answer
                    .metadata
                    .feature_names
                    .iter()
                    .position(|name| *name == full);
                let Some(column) = column.and_then(|column| answer.results.get(column)) else {
                    return Err(SourceError::Failed(format!(
                        "the response of the feature server has no {full}"
                    )));
                };
                for (row, &(position, _)) in requested.iter().enumerate() {
                    if let Some((cell, seconds)) = column.get(row) {
                        let builder =
                            builders[position].get_or_insert_with(|| fetch_request.layout.builder(now));
                        match cell {
                            Ok(cell) => builder.set(*field, cell),
                            Err(reason) => builder.mark_invalid(*field, reason),
                        }
                        if let Some(seconds) = seconds {
                            view.as_of(builder, seconds);
                        }
                    }
                }
            }
        }
        Ok(finish(builders))
    }

    async fn post(&self, body: &Json, entities: usize) -> Result<OnlineResponse, SourceError> {
        let request = axum::http::Request::post(self.uri.clone())
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .map_err(|error| SourceError::Failed(error.to_string()))?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| SourceError::Dropped(error.to_string()))?;
        let status = response.status();
        let most = MOST_BYTES * (entities + 1) * 64;
        let bytes = http_body_util::Limited::new(response.into_body(), most)
            .collect()
            .await;
        let bytes = bytes
            .map_err(|error| SourceError::Dropped(error.to_string()))?
            .to_bytes();
        // The server's own text can quote an id, and is not repeated.
        if !status.is_success() {
            return Err(SourceError::Failed(format!(
                "the feature server answered {status}"
            )));
        }
        let answer = serde_json::from_slice(&standard(&bytes));
        answer.map_err(|error: serde_json::Error| {
            let (kind, line, column) = (error.classify(), error.line(), error.column());
            SourceError::Failed(format!(
                "the feature server's answer cannot be read ({kind:?} error at line {line}, column {column})"
            ))
        })
    }
}

impl FeatureValues {
    /// The value of an entity and its timestamp; `None` if the store does not know it. For an unknown entity Feast's server
    /// says PRESENT with a null of the year 1970.
    fn get(&self, row: usize) -> Option<(Result<Cell<'_>, &'static str>, Option<f64>)> {
        let seconds = self.event_timestamps.get(row).and_then(|text| {
            Cell::Text(text)
                .number(FeatureType::Timestamp)
                .ok()
                .flatten()
                .filter(|&seconds| seconds > 0.0)
        });
        let value = self.values.get(row)?;
        let unknown = self.statuses.get(row).is_some_and(|status| status == "NOT_FOUND");
        if unknown || (value.is_null() && seconds.is_none()) {
            return None;
        }
        let cell = match value {
            Json::Null => Ok(Cell::Null),
            Json::Bool(value) => Ok(Cell::Bool(*value)),
            // Numbers that JSON cannot express arrive as texts.
            Json::String(text) if text == "NaN" => Ok(Cell::Null),
            Json::String(text) if text == "Infinity" => Ok(Cell::Float(f64::INFINITY)),
            Json::String(text) if text == "-Infinity" => Ok(Cell::Float(f64::NEG_INFINITY)),
            Json::String(text) => Ok(Cell::Text(text)),
            Json::Number(number) => number
                .as_i64()
                .map(Cell::Int)
                .or_else(|| number.as_f64().map(Cell::Float))
                .ok_or("a number out of range"),
            Json::Array(_) | Json::Object(_) => Err("expected one value, found a list"),
        };
        Some((cell, seconds))
    }
}
