//! The Open Inference Protocol (V2) over HTTP, for its standard clients, with JSON or binary tensors.

mod binary;
mod wire;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::HttpState;
use super::body::Body;
use super::deadline::DeadlineHeader;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::api::open_inference::{
    EXTENSIONS, TensorMetadata, index, load_or_unload, metadata, server_name, version,
};
use crate::api::status;
use crate::error::{Error, ErrorKind};
use crate::scoring::{ModelRef, Servable};

/// Header with the length of the JSON part in bytes; binary tensors follow it.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// Returns the routes, with and without a version.
pub(super) fn router() -> axum::Router<HttpState> {
    let mut router = axum::Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(|| async { Json(json!({"live": true})) }))
        .route("/v2/health/ready", get(server_ready))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/repository/index", post(repository_index));
    for (name, load) in [("load", true), ("unload", false)] {
        let path = format!("/v2/repository/models/{{model}}/{name}");
        let handler = move |State(state): State<HttpState>, Path(model): Path<String>| async move {
            load_or_unload(state.repository_api.as_ref(), model, load)
                .await
                .map_err(V2Error)
        };
        router = router.route(&path, post(handler));
    }
    for path in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        router = router
            .route(path, get(model))
            .route(&format!("{path}/ready"), get(model_ready))
            .route(&format!("{path}/config"), get(config))
            .route(&format!("{path}/stats"), get(statistics))
            .route(&format!("{path}/infer"), post(infer));
    }
    router
}

/// An error in this protocol's format.
pub(super) struct V2Error(Error);

impl From<Error> for V2Error {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for V2Error {
    fn into_response(self) -> Response {
        let status = status::of(self.0.kind());
        let text = status::message(&self.0);
        let mut response = (status.http, Json(json!({"error": text}))).into_response();
        if let Some(after) = status.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, after.as_secs().into());
        }
        response
    }
}

/// The model in a path, with or without a version.
type ModelPath = Path<Vec<(String, String)>>;

fn model_ref(Path(parts): ModelPath) -> Result<ModelRef, Error> {
    let part = |name: &str| {
        parts
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let name = part("model").unwrap_or_default();
    let version = part("version")
        .map(|text| version(&text))
        .transpose()?
        .unwrap_or_default();
    Ok(ModelRef { name, version })
}

async fn server() -> Json<Value> {
    Json(json!({"name": server_name(), "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS}))
}

async fn server_ready(State(state): State<HttpState>) -> Response {
    let ready = state.scorer.live().why_not_ready().is_empty();
    ready_response(ready)
}

/// Answers 200 or 503; some clients read the body.
fn ready_response(ready: bool) -> Response {
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": ready}))).into_response()
}

async fn model_ready(State(state): State<HttpState>, path: ModelPath) -> Result<Response, V2Error> {
    let model = model_ref(path)?;
    Ok(match state.scorer.live().find(&model) {
        Ok(_) => Json(json!({"name": model.name, "ready": true})).into_response(),
        Err(error) if error.kind() == ErrorKind::Unavailable => ready_response(false),
        Err(error) => return Err(error.into()),
    })
}

async fn model(State(state): State<HttpState>, path: ModelPath) -> Result<Json<Value>, V2Error> {
    let live = state.scorer.live();
    let model = &live.find(&model_ref(path)?)?.model;
    let described = metadata(model);
    let tensors = |tensors: &[TensorMetadata]| -> Vec<Value> {
        let describe = |tensor: &TensorMetadata| json!({"name": tensor.name, "datatype": tensor.datatype.name(), "shape": tensor.shape});
        tensors.iter().map(describe).collect()
    };
    Ok(Json(json!({
        "name": model.name,
        "versions": [model.version.to_string()],
        "platform": described.platform,
        "inputs": tensors(&described.inputs),
        "outputs": tensors(&described.outputs),
    })))
}

async fn config(State(state): State<HttpState>, path: ModelPath) -> Result<Json<Value>, V2Error> {
    let live = state.scorer.live();
    let model = &live.find(&model_ref(path)?)?.model;
    let described = metadata(model);
    let tensor = |tensor: &TensorMetadata| {
        let name = tensor.datatype.name().replace("BYTES", "STRING");
        json!({"name": tensor.name, "data_type": format!("TYPE_{name}"), "dims": &tensor.shape[1..]})
    };
    Ok(Json(json!({
        "name": model.name,
        "platform": described.platform,
        "backend": server_name(),
        "max_batch_size": state.scorer.limits().batch,
        "input": described.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "output": described.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })))
}

async fn statistics(State(state): State<HttpState>, path: ModelPath) -> Result<Json<Value>, V2Error> {
    let live = state.scorer.live();
    let servable = live.find(&model_ref(path)?)?;
    Ok(Json(json!({"model_stats": [model_statistics(servable)]})))
}

async fn all_statistics(State(state): State<HttpState>) -> Json<Value> {
    let live = state.scorer.live();
    let servable = live.models().filter_map(|(_, entry)| entry.live.as_deref());
    Json(json!({"model_stats": servable.map(model_statistics).collect::<Vec<_>>()}))
}

fn model_statistics(servable: &Servable) -> Value {
    let duration = |(count, ns): (u64, u64)| json!({"count": count, "ns": ns});
    let success = servable.tensor_stats.success();
    let none = duration((0, 0));
    json!({
        "name": servable.model.name,
        "version": servable.model.version.to_string(),
        "inference_count": success.0,
        "execution_count": success.0,
        "inference_stats": {
            "success": duration(success),
            "fail": duration(servable.tensor_stats.failure()),
            "queue": none,
            "compute_input": none,
            "compute_infer": duration(success),
            "compute_output": none,
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": [],
    })
}

async fn repository_index(State(state): State<HttpState>) -> Json<Value> {
    let entries = index(&state.scorer.live()).into_iter().map(|entry| {
        json!({"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason})
    });
    Json(entries.collect())
}

async fn infer(
    State(state): State<HttpState>,
    path: ModelPath,
    DeadlineHeader(deadline): DeadlineHeader,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, V2Error> {
    let result = async {
        let body = super::body::bytes(body)?;
        let (head, tensors) = binary::split(&headers, &body)?;
        let request: wire::InferBody = super::body::parse(head)?;
        let id = request.id.clone();
        let plan = request.output_plan();
        let model = model_ref(path)?;
        record_model(&model.name);
        let request = request.into_domain(model, tensors, deadline?)?;
        let inferred = within(request.deadline, state.scorer.infer(request)).await?;
        Ok((inferred, id, plan))
    };
    let (inferred, id, plan) = state.counters.infer.count(result.await)?;
    let (head, tensors) = wire::response(&inferred, id, &plan)?;
    if tensors.is_empty() {
        return Ok(([(header::CONTENT_TYPE, "application/json")], head).into_response());
    }
    let mut response = [head.as_slice(), tensors.as_slice()].concat().into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(HEADER_LENGTH, HeaderValue::from(head.len()));
    Ok(response)
}
