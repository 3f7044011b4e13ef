//! The Open Inference Protocol (V2) over HTTP, for its standard clients, with JSON or binary tensors.

mod binary;
mod bodies;
mod flat;
mod wire;

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, OpenApi, PathItem, RefOr, Required, Type};
use utoipa::{IntoParams, IntoResponses, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::body::Body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::error_format::InferenceErrorBody;
use super::parameters::{PathParameters, path};
use super::problem::described_failures;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::api::open_inference::{index, load_or_unload, metadata, version};
use crate::error::{Error, ErrorKind};
use crate::scoring::{Client, InferRequest, ModelRef};
use crate::work;
use bodies::{
    BinaryTensors, ConfigBody, IndexBody, IndexRequestBody, LiveBody, MetadataBody, ReadyBody, ServerBody,
    StatisticsBody,
};
use wire::{InferBody, InferResponseBody, OutputPlan};

/// Header with the length of the JSON part in bytes; binary tensors follow it.
pub(super) const HEADER_LENGTH: &str = "inference-header-content-length";

/// The path of a model, and that of one of its versions. Each operation on the first exists on the second.
const MODEL: &str = "/v2/models/{model}";
const MODEL_VERSION: &str = "/v2/models/{model}/versions/{version}";

/// The failures of every operation, for the OpenAPI description.
struct Failures;

impl IntoResponses for Failures {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described_failures(&InferenceErrorBody::name(), "application/json")
    }
}

/// Header of a request with binary tensors.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only describes the header")]
struct TensorHeaders {
    /// Length of the JSON part in bytes; binary tensors follow it.
    #[param(rename = "Inference-Header-Content-Length", nullable = false)]
    length: Option<u64>,
}

/// Returns the routes without a version, with their descriptions.
pub(super) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(server))
        .routes(routes!(server_live))
        .routes(routes!(server_ready))
        .routes(routes!(all_statistics))
        .routes(routes!(repository_index))
        .routes(routes!(load))
        .routes(routes!(unload))
        .routes(routes!(model))
        .routes(routes!(model_ready))
        .routes(routes!(config))
        .routes(routes!(model_statistics))
        .routes(routes!(infer))
}

/// Returns the same routes for one version of a model.
pub(super) fn version_routes() -> axum::Router<HttpState> {
    axum::Router::new()
        .route(MODEL_VERSION, get(model))
        .route(&format!("{MODEL_VERSION}/ready"), get(model_ready))
        .route(&format!("{MODEL_VERSION}/config"), get(config))
        .route(&format!("{MODEL_VERSION}/stats"), get(model_statistics))
        .route(&format!("{MODEL_VERSION}/infer"), post(infer))
}

/// Adds the description of [`version_routes`], made from the operations without a version.
pub(super) fn describe_versions(description: &mut OpenApi) {
    let versioned = |(path, item): (&String, &PathItem)| {
        let rest = path.strip_prefix(MODEL)?;
        Some((format!("{MODEL_VERSION}{rest}"), with_version(item.clone())))
    };
    let paths: Vec<(String, PathItem)> = description.paths.paths.iter().filter_map(versioned).collect();
    description.paths.paths.extend(paths);
}

fn with_version(mut item: PathItem) -> PathItem {
    for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
        let version = ParameterBuilder::new()
            .name("version")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("Number or label of the version."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .example(Some("1".into()))
            .build();
        operation
            .parameters
            .get_or_insert_default()
            .insert(1, version.into());
        if let Some(id) = &mut operation.operation_id {
            id.push_str("_of_version");
        }
    }
    item
}

/// The model in a path, with or without a version.
type ModelPath = PathParameters<Vec<(String, String)>>;

fn model_ref(parameters: ModelPath) -> Result<ModelRef, Error> {
    let parts = path(parameters)?;
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

/// Describes the server and its protocol extensions.
#[utoipa::path(get, path = "/v2", operation_id = "server_metadata", tag = "inference", responses((status = 200, description = "The server", body = ServerBody), Failures))]
async fn server() -> Json<ServerBody> {
    Json(ServerBody::new())
}

/// Answers while the server runs.
#[utoipa::path(
    get, path = "/v2/health/live", tag = "inference", security(()),
    responses((status = 200, description = "The server runs", body = LiveBody), Failures)
)]
async fn server_live() -> Json<LiveBody> {
    Json(LiveBody { live: true })
}

/// Answers 200 if at least one model can answer, otherwise 503.
#[utoipa::path(
    get, path = "/v2/health/ready", tag = "inference", security(()),
    responses((status = 200, description = "Ready", body = ReadyBody), Failures, (status = 503, description = "Not ready", body = ReadyBody))
)]
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
    (status, Json(ReadyBody { name: None, ready })).into_response()
}

/// Answers 200 if the model can answer, otherwise 503.
#[utoipa::path(
    get, path = "/v2/models/{model}/ready", tag = "inference",
    params(("model" = String, Path, example = "churn")),
    responses((status = 200, description = "Ready", body = ReadyBody), Failures, (status = 503, description = "Not ready", body = ReadyBody))
)]
async fn model_ready(State(state): State<HttpState>, parameters: ModelPath) -> Result<Response, Error> {
    let model = model_ref(parameters)?;
    Ok(match state.scorer.live().find(&model) {
        Ok(_) => Json(ReadyBody {
            name: Some(model.name),
            ready: true,
        })
        .into_response(),
        Err(error) if error.kind() == ErrorKind::Unavailable => ready_response(false),
        Err(error) => return Err(error),
    })
}

/// Describes the inputs and outputs of a model.
#[utoipa::path(
    get, path = "/v2/models/{model}", operation_id = "model_metadata", tag = "inference",
    params(("model" = String, Path, example = "churn")),
    responses((status = 200, description = "Inputs and outputs", body = MetadataBody), Failures)
)]
async fn model(State(state): State<HttpState>, parameters: ModelPath) -> Result<Json<MetadataBody>, Error> {
    let live = state.scorer.live();
    let model = &live.find(&model_ref(parameters)?)?.model;
    Ok(Json(MetadataBody::new(model, metadata(model))))
}

/// Shows the configuration of a model.
#[utoipa::path(
    get, path = "/v2/models/{model}/config", operation_id = "model_config", tag = "inference",
    params(("model" = String, Path, example = "churn")),
    responses((status = 200, description = "The configuration", body = ConfigBody), Failures)
)]
async fn config(State(state): State<HttpState>, parameters: ModelPath) -> Result<Json<ConfigBody>, Error> {
    let live = state.scorer.live();
    let model = &live.find(&model_ref(parameters)?)?.model;
    let max_rows = state.scorer.limits().batch;
    Ok(Json(ConfigBody::new(model, metadata(model), max_rows)))
}

/// Counts the requests of a model.
#[utoipa::path(
    get, path = "/v2/models/{model}/stats", tag = "inference",
    params(("model" = String, Path, example = "churn")),
    responses((status = 200, description = "The statistics", body = StatisticsBody), Failures)
)]
async fn model_statistics(
    State(state): State<HttpState>,
    parameters: ModelPath,
) -> Result<Json<StatisticsBody>, Error> {
    let live = state.scorer.live();
    let servable = &**live.find(&model_ref(parameters)?)?;
    let model_stats = vec![servable.into()];
    Ok(Json(StatisticsBody { model_stats }))
}

/// Counts the requests of every live model.
#[utoipa::path(
    get, path = "/v2/models/stats", operation_id = "statistics", tag = "inference",
    responses((status = 200, description = "The statistics", body = StatisticsBody), Failures)
)]
async fn all_statistics(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
) -> Json<StatisticsBody> {
    let live = state.scorer.live();
    let models = live.models().filter(|(name, _)| client.may_use(name));
    let servable = models.filter_map(|(_, entry)| entry.live.as_deref());
    let model_stats = servable.map(Into::into).collect();
    Json(StatisticsBody { model_stats })
}

/// Lists the versions in the repository.
#[utoipa::path(
    post, path = "/v2/repository/index", tag = "inference",
    request_body(content = Option<IndexRequestBody>, example = json!({"ready": true})),
    responses((status = 200, description = "The versions", body = Vec<IndexBody>), Failures)
)]
async fn repository_index(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    body: Body,
) -> Result<Json<Vec<IndexBody>>, Error> {
    let IndexRequestBody { ready } = body.json_or_default().await?;
    let entries = index(&state.scorer.live(), &client, ready).into_iter();
    Ok(Json(entries.map(Into::into).collect()))
}

/// Loads a model as its policy says. The setting `models.repository_api` turns this on.
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/load", operation_id = "load_model", tag = "inference",
    params(("model" = String, Path, example = "churn")),
    responses((status = 200, description = "Loaded"), Failures)
)]
async fn load(
    State(state): State<HttpState>,
    parameters: PathParameters<String>,
    body: Body,
) -> Result<(), Error> {
    // The protocol's parameters have no meaning here, but a body that is not read would close the connection.
    body.bytes()?;
    load_or_unload(state.repository_api.as_ref(), path(parameters)?, true).await
}

/// Unloads a model. The setting `models.repository_api` turns this on.
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/unload", operation_id = "unload_model", tag = "inference",
    params(("model" = String, Path, example = "churn")),
    responses((status = 200, description = "Unloaded"), Failures)
)]
async fn unload(
    State(state): State<HttpState>,
    parameters: PathParameters<String>,
    body: Body,
) -> Result<(), Error> {
    // The protocol's parameters have no meaning here, but a body that is not read would close the connection.
    body.bytes()?;
    load_or_unload(state.repository_api.as_ref(), path(parameters)?, false).await
}

/// Reads a request: its JSON, and the binary tensors after it. Returns with it the id and which outputs to return.
pub(super) fn decode(
    headers: &HeaderMap,
    body: &[u8],
    client: Client,
    model: ModelRef,
    deadline: Option<Instant>,
) -> Result<(InferRequest, Option<String>, OutputPlan), Error> {
    let (head, tensors) = binary::split(headers, body)?;
    let request: InferBody = super::body::parse(head)?;
    let (id, plan) = (request.id.clone(), request.output_plan());
    Ok((request.into_domain(client, model, tensors, deadline)?, id, plan))
}

/// Computes outputs of a model: for ids whose features are looked up, or for features in tensors.
#[utoipa::path(
    post, path = "/v2/models/{model}/infer", tag = "inference",
    params(("model" = String, Path, example = "churn"), TensorHeaders, RequestHeaders),
    request_body(content(
        (InferBody = "application/json", example = json!({
            "inputs": [{"name": "customer_id", "shape": [1], "datatype": "BYTES", "data": ["C-1042"]}]
        })),
        (BinaryTensors = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "The outputs", content(
            (InferResponseBody = "application/json"),
            (BinaryTensors = "application/octet-stream"),
        )),
        Failures,
    )
)]
async fn infer(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    parameters: ModelPath,
    DeadlineHeader(deadline): DeadlineHeader,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let result = async {
        let body = body.bytes()?;
        let bytes = body.len();
        let model = model_ref(parameters)?;
        record_model(&model.name);
        let deadline = deadline?;
        let parse = move || decode(&headers, &body, client, model, deadline);
        let (request, id, plan) = super::body::parsed(bytes, parse).await?;
        let inferred = within(request.deadline, state.scorer.infer(request)).await?;
        state.counters.infer.answered_by(&inferred.model);
        Ok((inferred, id, plan))
    };
    let (inferred, id, plan) = state.counters.infer.count(result.await)?;
    let bytes = inferred.bytes();
    let (head, tensors) = work::on_bytes(bytes, move || wire::response(&inferred, id, &plan)).await??;
    super::body::hold_answer(head.len() + tensors.len());
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
