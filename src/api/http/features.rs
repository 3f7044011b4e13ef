//! `GET /v1/models/{model}/features/{id}`: the features that a model gets for an entity, for debugging.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{EntityQuery, PathParameters, QueryParameters, VersionParameters, entity_query};
use super::problem::Problems;
use super::schema::{FeatureValue, labels};
use super::score::wire::{FeatureOriginName, ModelVersionBody};
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::scoring::trace::EntityFeatures;
use crate::values::entity_id::EntityId;
use crate::values::issues::{PRESENT, STATUSES};
use crate::values::time::rfc3339;

labels! {
    /// The status of a feature: present, or what is wrong with it.
    FeatureStatus = std::iter::once(PRESENT).chain(STATUSES)
}

/// The features of an entity, as the model gets them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntityFeaturesBody {
    model: ModelVersionBody<'static>,
    /// The entity's id.
    #[schema(example = "C-1042")]
    id: String,
    /// Where the features come from: `snapshot`, `cache` or `store`. With several, the slowest of them.
    #[schema(value_type = FeatureOriginName, example = "snapshot")]
    from: &'static str,
    /// Feature sources that did not answer. Their features count as missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unavailable: Vec<String>,
    /// The features, in the model's order.
    features: Vec<EntityFeatureBody>,
}

/// One feature of an entity.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntityFeatureBody {
    /// The feature's name.
    #[schema(example = "support_calls_30d")]
    feature: String,
    /// The feature's name for people.
    #[schema(example = "Support calls, last 30 days")]
    label: String,
    /// Where the feature is stored, as `group:column`.
    #[schema(example = "customer_stats:support_calls_30d")]
    source: String,
    /// The value that the model gets: a number, a category, true, false, or null if missing.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// `present`, or one or more of `missing`, `null`, `stale`, `out_of_range`, `default`.
    #[schema(value_type = Vec<FeatureStatus>, example = json!(["present"]))]
    status: Vec<&'static str>,
    /// When the value was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-21T03:00:00Z")]
    as_of: Option<String>,
}

/// Shows the features that a model gets for an entity.
#[utoipa::path(
    get, path = "/v1/models/{model}/features/{id}", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"),
        VersionParameters, RequestHeaders),
    responses(
        (status = 200, description = "The features", body = EntityFeaturesBody),
        Problems,
    )
)]
pub(super) async fn features(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<(String, String)>,
    QueryParameters(query): QueryParameters,
) -> Result<Json<EntityFeaturesBody>, Error> {
    let result = async {
        let deadline = deadline?;
        let EntityQuery { model, id, .. } = entity_query(parameters, query)?;
        let features = state
            .scorer
            .features(&client, &model, EntityId::Text(id.clone()), deadline);
        let features = within(deadline, features).await?;
        state.counters.features.answered_by(&features.model);
        Ok(entity_features_body(id, &features))
    };
    state.counters.features.count(result.await).map(Json)
}

fn entity_features_body(id: String, entity: &EntityFeatures) -> EntityFeaturesBody {
    let features = entity
        .model
        .inputs
        .iter()
        .zip(&entity.features)
        .map(|(input, view)| EntityFeatureBody {
            feature: input.contract.name.clone(),
            label: input.contract.label().to_owned(),
            source: input.contract.source().to_owned(),
            value: input.present(view.value),
            status: view.status.clone(),
            as_of: view.as_of.and_then(rfc3339),
        });
    EntityFeaturesBody {
        model: ModelVersionBody::from(&*entity.model).into_owned(),
        id,
        from: entity.from.label(),
        unavailable: entity.unavailable.clone(),
        features: features.collect(),
    }
}
