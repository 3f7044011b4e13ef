//! `POST /v1/models/{model}/what-if`: how a score depends on the values of an entity.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::HttpState;
use super::body::{self, Body};
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{PathParameters, path};
use super::problem::Problems;
use super::schema::{FeatureValue, Id};
use super::score::wire::{ModelVersionBody, id};
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::Actionable;
use crate::models::sentence::{describe_proposal, score_text};
use crate::scoring::what_if::{Change, ChangedValue, Curve, CurvePoint, WhatIf, WhatIfRequest};
use crate::scoring::{Entity, ModelRef, VersionSelector};
use crate::values::entity_id::EntityId;
use crate::values::json::Scalars;
use crate::work;

/// Approximate size of a point of a curve as JSON.
const POINT_BYTES: usize = 64;

/// Points that a change is as long as.
const CHANGE_POINTS: usize = 8;

/// Approximate size of everything else.
const OTHER_BYTES: usize = 16 << 10;

/// What the answer can be used for, and what not.
const NOTE: &str = "This shows how the model responds to other values, not what customers do: whether a change keeps a customer \
                    is known only from trying it with some and not with others. Values that belong together, such as visits \
                    and their trend, are not adjusted.";

/// A question how a score depends on the values of an entity.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = r#"an object such as {"id": "C-1042"}"#)]
pub(super) struct WhatIfBody {
    /// Version to use. Default: the live one.
    version: Option<u64>,
    /// Label of the version to use, instead of `version`.
    label: Option<String>,
    /// Id for the feature lookup.
    #[schema(example = "C-1042", value_type = Option<Id>)]
    #[serde(default, deserialize_with = "id")]
    id: Option<EntityId>,
    /// Values by feature name. They override the feature source; `null` (or a bare `NaN`) is missing.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, FeatureValue>)]
    features: Scalars,
    /// The features whose curves to return. Default: those that the contract calls actionable, or all if it names none.
    #[schema(example = json!(["visits_30d"]))]
    curves: Option<Vec<String>>,
    /// Whether to look for two changes together, where one is not enough or two are smaller. Default: true.
    #[serde(default = "yes")]
    pairs: bool,
}

fn yes() -> bool {
    true
}

/// How a score depends on the values of an entity.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhatIfAnswer {
    model: ModelVersionBody<'static>,
    /// The id, as in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "C-1042")]
    id: Option<String>,
    /// The score.
    #[schema(example = 0.64)]
    score: f64,
    /// Name of the score's band.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "high")]
    band: Option<String>,
    /// The exact curve of the score over the values of each wanted feature; all other values stay.
    curves: Vec<CurveBody>,
    /// Wanted features without a curve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    skipped: Vec<SkippedBody>,
    /// The smallest changes of actionable features that reach a lower band, the smallest first: of each feature alone, and of
    /// two together if no single one is smaller.
    changes: Vec<ChangeBody>,
    /// `false` if the search for two changes was ended before its end; missing if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pairs_complete: Option<bool>,
    /// What the answer can be used for, and what not.
    note: &'static str,
}

/// The curve of the score over the values of one feature.
#[derive(Debug, Serialize, ToSchema)]
struct CurveBody {
    /// The feature's name.
    #[schema(example = "visits_30d")]
    feature: String,
    /// The feature's name for people.
    label: String,
    /// `up`, `down` or `any`: how somebody can change the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "up")]
    actionable: Option<&'static str>,
    /// The value of the entity.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// Intervals of numbers in ascending order, or single values.
    points: Vec<PointBody>,
}

/// The score for some values.
#[derive(Debug, Serialize, ToSchema)]
struct PointBody {
    /// The first number of the interval, or the category, `true` or `false`.
    #[schema(value_type = FeatureValue)]
    from: serde_json::Value,
    /// Where the interval ends: excluded, but for the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = FeatureValue, required = false)]
    to: Option<serde_json::Value>,
    /// The score for each of these values.
    score: f64,
    /// Name of its band.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    band: Option<String>,
}

/// A wanted feature without a curve.
#[derive(Debug, Serialize, ToSchema)]
struct SkippedBody {
    /// The feature's name.
    feature: String,
    /// Why there is none.
    reason: &'static str,
}

/// A change that reaches a lower band.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeBody {
    /// What changes: one or two features.
    features: Vec<ChangedValueBody>,
    /// The score after it.
    score: f64,
    /// Name of its band.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "medium")]
    band: Option<String>,
    /// The shares of the training rows whose values lie between, added up over the features. Another category, or no instead
    /// of yes, counts as 0.5.
    #[schema(example = 0.12)]
    distance: f64,
    /// Whether no smaller change of the same feature, or of any two features, reaches a lower band: every value was looked at.
    optimal: bool,
    /// The change as a sentence.
    text: String,
}

/// A feature that changes.
#[derive(Debug, Serialize, ToSchema)]
struct ChangedValueBody {
    /// The feature's name.
    #[schema(example = "monthly_price")]
    feature: String,
    /// The value now.
    #[schema(value_type = FeatureValue)]
    from: serde_json::Value,
    /// The value after the change.
    #[schema(value_type = FeatureValue)]
    to: serde_json::Value,
    /// The change in words.
    #[schema(example = "Monthly price: 79 instead of 99")]
    text: String,
}

/// Shows how the score of an entity depends on each of its values, and which smallest changes reach a lower band.
#[utoipa::path(
    post, path = "/v1/models/{model}/what-if", tag = "score",
    params(("model" = String, Path, example = "churn"), RequestHeaders),
    request_body(content = WhatIfBody, example = json!({"id": "C-1042"})),
    responses(
        (status = 200, description = "The curves and changes", body = WhatIfAnswer),
        Problems,
    )
)]
pub(super) async fn what_if(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<String>,
    body: Body,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let name = path(parameters)?;
        record_model(&name);
        let body: WhatIfBody = body.json().await?;
        let model = ModelRef {
            name,
            version: VersionSelector::from_parts(body.version, body.label)?,
        };
        let shown = body.id.as_ref().map(ToString::to_string);
        let request = WhatIfRequest {
            entity: Entity {
                id: body.id,
                features: body.features.0,
            },
            curves: body.curves,
            pairs: body.pairs,
        };
        let found = within(deadline, state.scorer.what_if(&client, &model, request, deadline)).await?;
        state.counters.what_if.answered_by(&found.model);
        let points: usize = found.curves.iter().map(|curve| curve.points.len()).sum();
        let parts = points + found.skipped.len() + found.changes.len() * CHANGE_POINTS;
        let bytes = OTHER_BYTES + parts * POINT_BYTES;
        work::on_bytes(bytes, move || body::answer(&answer(shown, &found), bytes)).await?
    };
    state.counters.what_if.count(result.await)
}

fn answer(id: Option<String>, found: &WhatIf) -> WhatIfAnswer {
    let model = &*found.model;
    let band = |band: &Option<std::sync::Arc<str>>| band.as_deref().map(str::to_owned);
    let skipped = found.skipped.iter().filter_map(|&(input, reason)| {
        Some(SkippedBody {
            feature: model.inputs.get(input)?.contract.name.clone(),
            reason,
        })
    });
    WhatIfAnswer {
        id,
        score: found.score,
        band: band(&found.band),
        curves: found
            .curves
            .iter()
            .filter_map(|curve| curve_body(model, curve, &found.row))
            .collect(),
        skipped: skipped.collect(),
        changes: found
            .changes
            .iter()
            .map(|change| change_body(model, change, found.score))
            .collect(),
        pairs_complete: found.pairs_complete,
        note: NOTE,
        model: ModelVersionBody::from(model).into_owned(),
    }
}

fn curve_body(model: &ModelVersion, curve: &Curve, row: &[f64]) -> Option<CurveBody> {
    let input = model.inputs.get(curve.input)?;
    let ends = curve.points.iter().skip(1).map(|next| Some(next.from));
    let ends = ends.chain([curve.end]);
    let points = curve.points.iter().zip(ends).map(|(point, end)| {
        let CurvePoint { from, score, band } = point;
        PointBody {
            from: input.present(*from),
            to: curve.end.and(end).map(|end| input.present(end)),
            score: *score,
            band: band.as_deref().map(str::to_owned),
        }
    });
    Some(CurveBody {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        actionable: input.contract.actionable.map(Actionable::label),
        value: input.present(*row.get(curve.input)?),
        points: points.collect(),
    })
}

fn change_body(model: &ModelVersion, change: &Change, now: f64) -> ChangeBody {
    let parts: Vec<ChangedValueBody> = change
        .parts
        .iter()
        .filter_map(|part| changed_body(model, *part))
        .collect();
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    let [after, before] = [change.score, now].map(|score| score_text(model, score));
    let band = change
        .band
        .as_deref()
        .map(|band| format!(" ({band})"))
        .unwrap_or_default();
    ChangeBody {
        text: format!("{}. {after}{band} instead of {before}.", texts.join("; ")),
        features: parts,
        score: change.score,
        band: change.band.as_deref().map(str::to_owned),
        distance: change.distance,
        optimal: change.optimal,
    }
}

fn changed_body(model: &ModelVersion, part: ChangedValue) -> Option<ChangedValueBody> {
    let input = model.inputs.get(part.input)?;
    Some(ChangedValueBody {
        feature: input.contract.name.clone(),
        from: input.present(part.from),
        to: input.present(part.to),
        text: describe_proposal(input, part.from, part.to),
    })
}
