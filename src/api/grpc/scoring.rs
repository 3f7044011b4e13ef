//! `evergreen.v1.ScoringService`: Evergreen's own gRPC API.

mod changes;
mod paths;
mod ranking;
mod reason;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use tonic::server::NamedService as _;
use tonic::{Request, Response, Status, Streaming};

use super::options::{respond, with_options};
use super::proto;
use super::proto::scoring_service_server::{ScoringService, ScoringServiceServer};
use crate::api::client;
use crate::api::context::{deadline, record_model};
use crate::api::ranking as shared;
use crate::api::request_metrics::{RequestCounters, RequestMetrics};
use crate::api::status;
use crate::app::App;
use crate::error::Error;
use crate::memory;
use crate::models::ModelVersion;
use crate::record::service::OutcomeService;
use crate::scoring::changes::DEFAULT_REASONS;
use crate::scoring::outcome::EntityResult;
use crate::scoring::outcome::Score;
use crate::scoring::paths::DEFAULT_TREES;
use crate::scoring::ranking::Rankings;
use crate::scoring::{
    Client, Entity, EntityScore, ModelRef, Outcome, ScoreRequest, Scorer, Scores, VersionSelector, Wanted,
};
use crate::values::entity_id::EntityId;
use crate::values::issues::FeatureIssues;
use crate::values::json::Scalar;
use crate::work;
use stream::BatchStream;

/// Bytes that a client may send before a stream reads them: the window of HTTP/2.
const STREAM_WINDOW: usize = 64 << 10;

/// The service's full name.
pub(super) const NAME: &str = ScoringServiceServer::<Scoring>::NAME;

/// Builds the service.
pub(super) fn service(app: &Arc<App>, metrics: &RequestMetrics) -> ScoringServiceServer<Scoring> {
    let counters = |operation| metrics.counters("grpc", operation);
    let scoring = Scoring {
        scorer: app.scorer.clone(),
        score: counters("score"),
        score_one: counters("score_one"),
        stream: BatchStream::new(app, metrics),
        get_paths: counters("paths"),
        get_changes: counters("changes"),
        list_ranking: counters("ranking"),
        rank_ids: counters("rank_ids"),
        rankings: app.rankings.clone(),
        outcomes: app.outcomes.clone(),
        list_models: counters("list_models"),
        get_model: counters("get_model"),
        compress_bytes: app.config.server.compress_bytes,
    };
    with_options!(ScoringServiceServer::new(scoring), app.config.limits.body_bytes)
}

pub(super) struct Scoring {
    scorer: Arc<Scorer>,
    score: RequestCounters,
    /// Requests for one entity.
    score_one: RequestCounters,
    stream: BatchStream,
    get_paths: RequestCounters,
    get_changes: RequestCounters,
    list_ranking: RequestCounters,
    rank_ids: RequestCounters,
    rankings: Arc<Rankings>,
    outcomes: Option<Arc<OutcomeService>>,
    list_models: RequestCounters,
    get_model: RequestCounters,
    compress_bytes: usize,
}

#[tonic::async_trait]
impl ScoringService for Scoring {
    async fn score(
        &self,
        request: Request<proto::ScoreRequest>,
    ) -> Result<Response<proto::ScoreResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        record_model(&request.model);
        let counters = match request.entities.len() {
            1 => &self.score_one,
            _ => &self.score,
        };
        let result = async {
            let deadline = deadline::of(&extensions)?;
            let request = into_domain(client::of(&extensions), request, deadline)?;
            deadline::within(deadline, self.scorer.answer(request)).await
        };
        let scores = counters.count(result.await)?;
        counters.answered_by(&scores.model);
        let response = work::on_bytes(scores.text_bytes(), move || response(scores)).await?;
        Ok(respond(response, self.compress_bytes))
    }

    type ScoreStreamStream = stream::Answers;

    async fn score_stream(
        &self,
        request: Request<Streaming<proto::ScoreStreamRequest>>,
    ) -> Result<Response<stream::Answers>, Status> {
        let (_, extensions, batches) = request.into_parts();
        let deadline = deadline::of(&extensions)?;
        let client = client::of(&extensions).in_bulk();
        let memory = memory::current();
        // What arrives while the server works on other batches waits in the window of the stream.
        let window = memory.as_ref().map(|memory| memory.reserve(STREAM_WINDOW));
        let window = window.transpose().map_err(Error::from)?;
        Ok(Response::new(
            self.stream.answers(client, batches, deadline, memory, window),
        ))
    }

    async fn get_paths(
        &self,
        request: Request<proto::GetPathsRequest>,
    ) -> Result<Response<proto::GetPathsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        record_model(&request.model);
        let result = async {
            let deadline = deadline::of(&extensions)?;
            let model = model_ref(request.model, request.version, request.label)?;
            let most = request.trees.map_or(DEFAULT_TREES, |trees| trees as usize);
            let (client, id) = (client::of(&extensions), EntityId::Text(request.id));
            let paths = self.scorer.paths(&client, &model, id, most, deadline);
            deadline::within(deadline, paths).await
        };
        let paths = self.get_paths.count(result.await)?;
        self.get_paths.answered_by(&paths.model);
        let response = paths::message(paths);
        Ok(respond(response, self.compress_bytes))
    }

    async fn get_changes(
        &self,
        request: Request<proto::GetChangesRequest>,
    ) -> Result<Response<proto::GetChangesResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        record_model(&request.model);
        let result = async {
            let deadline = deadline::of(&extensions)?;
            let model = model_ref(request.model, request.version, request.label)?;
            let most = request.explain.map_or(DEFAULT_REASONS, |most| most as usize);
            let (client, id) = (client::of(&extensions), EntityId::Text(request.id));
            let changes = self.scorer.changes(&client, &model, id, most, deadline);
            deadline::within(deadline, changes).await
        };
        let changes = self.get_changes.count(result.await)?;
        self.get_changes.answered_by(&changes.model);
        let response = changes::message(&changes);
        Ok(respond(response, self.compress_bytes))
    }

    async fn list_ranking(
        &self,
        request: Request<proto::ListRankingRequest>,
    ) -> Result<Response<proto::ListRankingResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        record_model(&request.model);
        let result = async {
            let deadline = deadline::of(&extensions)?;
            let client = client::of(&extensions);
            let token = shared::page_token(request.page_token)?;
            let query = ranking::query(request.options)?;
            let most = shared::page_size(request.page_size.into()).min(self.scorer.limits().batch);
            let (outcomes, model) = (self.outcomes.as_ref(), request.model.as_str());
            let page = async {
                let exclusion = shared::exclusion(outcomes, &self.rankings, &client, model, &query).await?;
                let list = self.rankings.list(&client, model, &query, exclusion).await?;
                let start = list.start(Some(&token))?;
                let items = list.items(&self.rankings, &client, start, most, deadline).await?;
                let version = list.ranking().model();
                let contacts = shared::contacts(outcomes, &query.fields, version, &items).await?;
                Ok((start, list, items, contacts))
            };
            let (start, list, items, contacts) = deadline::within(deadline, page).await?;
            self.list_ranking.answered_by(list.ranking().model());
            let next = list.token(start + items.len());
            let bytes = ranking::message_bytes(&query.fields, items.len());
            let write = move || ranking::page(&list, &query.fields, &items, &contacts, next);
            work::on_bytes(bytes, write).await
        };
        let response = self.list_ranking.count(result.await)?;
        Ok(respond(response, self.compress_bytes))
    }

    async fn rank_ids(
        &self,
        request: Request<proto::RankIdsRequest>,
    ) -> Result<Response<proto::RankIdsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        record_model(&request.model);
        let result = async {
            let deadline = deadline::of(&extensions)?;
            let client = client::of(&extensions);
            let query = ranking::query(request.options)?;
            let fields = query.fields.clone();
            let ids = request.ids.into_iter().map(EntityId::Text).collect();
            let (outcomes, model) = (self.outcomes.as_ref(), request.model.as_str());
            let listed = async {
                let exclusion = shared::exclusion(outcomes, &self.rankings, &client, model, &query).await?;
                let ranked = self
                    .rankings
                    .rank_ids(&client, model, ids, query, exclusion, deadline);
                let ranked = ranked.await?;
                let contacts = shared::contacts(outcomes, &fields, &ranked.model, &ranked.items).await?;
                Ok((ranked, contacts))
            };
            let (ranked, contacts) = deadline::within(deadline, listed).await?;
            self.rank_ids.answered_by(&ranked.model);
            let bytes = ranking::message_bytes(&fields, ranked.items.len());
            work::on_bytes(bytes, move || ranking::listed(&ranked, &fields, &contacts)).await
        };
        let response = self.rank_ids.count(result.await)?;
        Ok(respond(response, self.compress_bytes))
    }

    async fn list_models(
        &self,
        request: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let live = self.scorer.live();
        let client = client::of(request.extensions());
        let models = live.models().filter(|(name, _)| client.may_use(name));
        let models = models.filter_map(|(_, entry)| entry.live.as_ref());
        let models = models.map(|servable| version(&servable.model)).collect();
        let response = self.list_models.count(Ok(proto::ListModelsResponse { models }))?;
        Ok(respond(response, self.compress_bytes))
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::GetModelResponse>, Status> {
        let live = self.scorer.live();
        let client = client::of(request.extensions());
        let name = ModelRef {
            name: request.into_inner().model,
            version: VersionSelector::Live,
        };
        let model = self
            .get_model
            .count(live.find_for(&client, &name).map(|servable| &*servable.model))?;
        Ok(respond(model_description(model), self.compress_bytes))
    }
}

fn version(model: &ModelVersion) -> proto::ModelVersion {
    proto::ModelVersion {
        name: model.name.clone(),
        version: model.version,
        sha256: model.sha256.clone(),
    }
}

/// Converts scores to the response message.
fn response(scores: Scores) -> proto::ScoreResponse {
    let model = &*scores.model;
    let results = scores.results.into_iter();
    proto::ScoreResponse {
        model: Some(version(model)),
        results: results.map(|result| score_result(model, result)).collect(),
    }
}

fn model_ref(name: String, version: Option<u64>, label: Option<String>) -> Result<ModelRef, Error> {
    let version = VersionSelector::from_parts(version, label)?;
    Ok(ModelRef { name, version })
}

pub(super) fn into_domain(
    client: Client,
    request: proto::ScoreRequest,
    deadline: Option<Instant>,
) -> Result<ScoreRequest, Error> {
    Ok(ScoreRequest {
        client,
        model: model_ref(request.model, request.version, request.label)?,
        entities: request.entities.into_iter().map(Into::into).collect(),
        explain: Wanted {
            strongest: request.explain as usize,
            raising: request.explain_raising as usize,
            lowering: request.explain_lowering as usize,
        },
        deadline,
    })
}

impl From<proto::Entity> for Entity {
    fn from(entity: proto::Entity) -> Self {
        let id = entity.id.map(|id| match id {
            proto::entity::Id::TextId(id) => EntityId::Text(id),
            proto::entity::Id::IntegerId(id) => EntityId::Int(id),
        });
        let features = entity
            .features
            .into_iter()
            .map(|(name, value)| (name, scalar(value)))
            .collect();
        Self { id, features }
    }
}

fn scalar(value: proto::FeatureValue) -> Scalar {
    use proto::feature_value::Kind;
    match value.kind {
        None => Scalar::Null,
        Some(Kind::Number(value)) => Scalar::Float(value),
        Some(Kind::Integer(value)) => Scalar::Int(value),
        Some(Kind::Boolean(value)) => Scalar::Bool(value),
        Some(Kind::Text(value)) => Scalar::Text(value),
    }
}

fn score_result(model: &ModelVersion, result: EntityScore) -> proto::ScoreResult {
    let status = match result.result() {
        EntityResult::Ok => proto::ScoreStatus::Ok,
        EntityResult::Degraded => proto::ScoreStatus::Degraded,
        EntityResult::NotFound => proto::ScoreStatus::NotFound,
        EntityResult::Error => proto::ScoreStatus::Error,
    };
    let id = result.id.map(|id| match id {
        EntityId::Text(id) => proto::score_result::Id::TextId(id),
        EntityId::Int(id) => proto::score_result::Id::IntegerId(id),
    });
    let canary = result.model.clone();
    let model = canary.as_deref().unwrap_or(model);
    let empty = proto::ScoreResult {
        id,
        version: canary.as_ref().map(|model| model.version),
        hold_out: result.hold_out,
        status: status.into(),
        ..Default::default()
    };
    match result.outcome {
        Outcome::Scored(scored) => proto::ScoreResult {
            reasons: reason::messages(model, scored.score, &scored.reasons),
            explanation: scored.explanation.as_ref().map(reason::explanation),
            features: Some(feature_report(model, &scored)),
            score: Some(scored.score),
            band: scored.band.as_deref().map(str::to_owned),
            ..empty
        },
        Outcome::Failed(error) => proto::ScoreResult {
            error: Some(entity_error(&error)),
            ..empty
        },
    }
}

fn entity_error(error: &Error) -> proto::EntityError {
    proto::EntityError {
        kind: status::of(error.kind()).label.to_owned(),
        detail: status::message(error),
    }
}

fn feature_value(value: &serde_json::Value) -> Option<proto::FeatureValue> {
    use proto::feature_value::Kind;
    let kind = match value {
        serde_json::Value::Bool(value) => Kind::Boolean(*value),
        serde_json::Value::String(text) => Kind::Text(text.clone()),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Kind::Integer(integer),
            None => Kind::Number(number.as_f64()?),
        },
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => return None,
    };
    Some(proto::FeatureValue { kind: Some(kind) })
}

fn feature_report(model: &ModelVersion, scored: &Score) -> proto::FeatureReport {
    let names = |positions: &[usize]| model.input_names(positions).map(str::to_owned).collect();
    let FeatureIssues {
        missing,
        null,
        stale,
        out_of_range,
        defaulted,
    } = &scored.issues;
    proto::FeatureReport {
        from: scored.from.label().to_owned(),
        unavailable: scored.unavailable.clone(),
        as_of: scored.as_of,
        missing: names(missing),
        null: names(null),
        stale: names(stale),
        out_of_range: names(out_of_range),
        defaulted: names(defaulted),
    }
}

fn model_description(model: &ModelVersion) -> proto::GetModelResponse {
    let features = model.inputs.iter().map(|input| proto::Feature {
        name: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        r#type: input.contract.kind.label().to_owned(),
        categories: input.contract.categories.clone(),
        required: input.contract.required,
    });
    let lineage = model
        .contract
        .as_ref()
        .map(|contract| contract.model.lineage.clone())
        .unwrap_or_default();
    proto::GetModelResponse {
        model: Some(version(model)),
        entity: model.entity().to_owned(),
        objective: model.forest.summary().objective.clone(),
        lineage: lineage.into_iter().collect(),
        features: features.collect(),
    }
}
