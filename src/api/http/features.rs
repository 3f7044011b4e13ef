//! What a model sees of an entity.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::problem::Problems;
use super::score::ScoreQuery;
use super::score::wire::VersionBody;
use crate::api::context::about_model;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::scoring::trace::EntityFeatures;
use crate::scoring::{ModelRef, VersionSelector};
use crate::values::entity_id::EntityId;
use crate::values::time::rfc3339;

/// The features of an entity, as a model sees them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntityFeaturesBody {
    model: VersionBody<'static>,
    #[schema(example = "C-1042")]
    id: String,
    /// `snapshot`, `cache` or `store`: the furthest away of those that were asked.
    #[schema(example = "snapshot")]
    from: &'static str,
    /// Feature sources that could not be asked; what they hold counts as missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<String>,
    /// In the model's order.
    features: Vec<EntityFeatureBody>,
}

/// One feature of an entity.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntityFeatureBody {
    #[schema(example = "support_calls_30d")]
    feature: String,
    #[schema(example = "Support calls, last 30 days")]
    label: String,
    /// Where the store keeps it.
    #[schema(example = "customer_stats:support_calls_30d")]
    source: String,
    /// What the model sees: a number, a category's name, true or false, or null for missing.
    #[schema(value_type = Object)]
    value: serde_json::Value,
    /// `present`, or all that applies of `missing`, `null`, `stale`, `out_of_range`, `default`.
    #[schema(value_type = Vec<String>, example = json!(["present"]))]
    status: Vec<&'static str>,
    /// When the value was true.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
}

/// Shows what a model sees of an entity.
#[utoipa::path(
    get, path = "/v1/models/{model}/features/{id}", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"), ScoreQuery, RequestHeaders),
    responses(
        (status = 200, body = EntityFeaturesBody),
        Problems,
    )
)]
pub(super) async fn features(
    State(rest): State<HttpState>,
    DeadlineHeader(deadline): DeadlineHeader,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ScoreQuery>, QueryRejection>,
) -> Result<Json<EntityFeaturesBody>, Error> {
    let result = async {
        let deadline = deadline?;
        let Path((name, id)) = path.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        let Query(query) = query.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        about_model(&name);
        let model = ModelRef {
            name,
            version: VersionSelector::from_parts(query.version, query.label)?,
        };
        let asked = rest.scorer.features(&model, EntityId::Text(id.clone()), deadline);
        let found = within(deadline, asked).await?;
        Ok(body(id, &found))
    };
    rest.counters.features.count(result.await).map(Json)
}

fn body(id: String, found: &EntityFeatures) -> EntityFeaturesBody {
    let features = found
        .model
        .inputs
        .iter()
        .zip(&found.features)
        .map(|(input, view)| EntityFeatureBody {
            feature: input.contract.name.clone(),
            label: input.contract.label().to_owned(),
            source: input.contract.source().to_owned(),
            value: input.present(view.value),
            status: view.status.clone(),
            as_of: view.as_of.and_then(rfc3339),
        });
    EntityFeaturesBody {
        model: VersionBody::from(&*found.model).into_owned(),
        id,
        from: found.from.label(),
        unavailable: found.unavailable.clone(),
        features: features.collect(),
    }
}
