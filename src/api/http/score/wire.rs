//! JSON bodies of the scoring requests and answers. Their doc comments are the OpenAPI descriptions.

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use jiff::Timestamp;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::super::schema::{FeatureValue, Id, labels};
use super::reason::{self, ExplanationBody, ReasonBody};
use crate::api::status;
use crate::error::{Error, ErrorKind};
use crate::models::ModelVersion;
use crate::scoring::outcome::{EntityResult, FeatureOrigin, Score};
use crate::scoring::{
    Client, Entity, EntityScore, ModelRef, Outcome, ScoreRequest, Scores, VersionSelector, Wanted,
};
use crate::values::entity_id::EntityId;
use crate::values::issues::FeatureIssues;
use crate::values::json::{Scalars, rewritten};
use crate::values::time::instant;

/// A scoring request: a model and the entities to score.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    deny_unknown_fields,
    expecting = r#"an object such as {"model": "churn", "entities": [{"id": "C-1042"}]}"#
)]
pub(in crate::api::http) struct ScoreBody {
    /// The model's name.
    #[schema(example = "churn")]
    pub(in crate::api::http) model: String,
    /// Version to use. Default: the live one.
    version: Option<u64>,
    /// Label of the version to use, instead of `version`.
    label: Option<String>,
    /// The entities to score; at least one.
    #[schema(min_items = 1)]
    pub(super) entities: Vec<EntityBody>,
    /// Number of reasons per score, whatever their direction. Default: 0.
    #[serde(default)]
    #[schema(example = 3)]
    explain: usize,
    /// Number of reasons that raise the score. Default: 0.
    #[serde(default)]
    explain_raising: usize,
    /// Number of reasons that lower the score. Default: 0.
    #[serde(default)]
    explain_lowering: usize,
}

/// An entity to score: an id, features, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = r#"an object such as {"id": "C-1042"}"#)]
pub(in crate::api::http) struct EntityBody {
    /// Id for the feature lookup.
    #[schema(example = "C-1042", value_type = Option<Id>)]
    #[serde(default, deserialize_with = "id")]
    id: Option<EntityId>,
    /// Values by feature name. They override the feature source; `null` (or a bare `NaN`) is missing.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, FeatureValue>)]
    features: Scalars,
}

labels! {
    /// The result of one entity.
    EntityStatus = EntityResult::ALL.map(EntityResult::label)
}

labels! {
    /// Where features come from.
    FeatureOriginName = FeatureOrigin::ALL.map(FeatureOrigin::label)
}

labels! {
    /// The kind of an error.
    ErrorKindName = ErrorKind::ALL.map(|kind| status::of(kind).label)
}

/// The scores of a request.
#[derive(Serialize, ToSchema)]
pub(in crate::api::http) struct ScoresBody<'a> {
    /// The version that gave the scores.
    model: ModelVersionBody<'a>,
    /// One result per entity, in the request's order.
    #[schema(value_type = Vec<ResultBody>)]
    results: ResultsBody<'a>,
}

/// The results, converted one at a time during serialization.
struct ResultsBody<'a>(&'a Scores);

/// The score of one entity.
#[derive(Serialize, ToSchema)]
pub(in crate::api::http) struct ScoreOneBody<'a> {
    /// The version that gave the score.
    model: ModelVersionBody<'a>,
    #[serde(flatten)]
    result: ResultBody<'a>,
}

/// A version of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VersionBody)]
pub(in crate::api::http) struct ModelVersionBody<'a> {
    /// The model's name.
    #[schema(example = "churn")]
    name: Cow<'a, str>,
    /// The version's number.
    #[schema(example = 3)]
    version: u64,
    /// SHA-256 of the model file.
    sha256: Cow<'a, str>,
}

/// The result of one entity.
#[derive(Serialize, ToSchema)]
pub(in crate::api::http) struct ResultBody<'a> {
    /// The id, as in the request.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_id")]
    #[schema(value_type = Id, required = false)]
    id: Option<&'a EntityId>,
    /// `ok`; `degraded`: scored, but some features have issues, see `features`; `not_found`: unknown id; `error`: no
    /// score, see `error`.
    #[schema(value_type = EntityStatus, example = "ok")]
    status: &'static str,
    /// The score, exactly as the model computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.8123)]
    score: Option<f64>,
    /// Name of the score's band.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "high")]
    band: Option<&'a str>,
    /// The version that gave this score, if it is another than the answer's. This happens during a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 4)]
    pub(in crate::api::http) version: Option<u64>,
    /// `true` if nobody is to contact this customer, who is in the hold-out that measures the effect of contact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = true)]
    hold_out: Option<bool>,
    /// The wanted reasons, the largest contribution first. Contributions are on the margin's scale (log-odds for a
    /// probability).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reasons: Option<Vec<ReasonBody<'a>>>,
    /// How the contributions add up, if reasons are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    explanation: Option<ExplanationBody>,
    /// Where the features come from, and their issues.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    features: Option<FeaturesBody<'a>>,
    /// Why there is no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<EntityErrorBody>,
}

/// Where the features come from, and their issues.
#[derive(Serialize, ToSchema)]
struct FeaturesBody<'a> {
    /// `snapshot`, `cache` or `store`: the slowest of those used; `request` if the request had all features.
    #[schema(value_type = FeatureOriginName, example = "snapshot")]
    from: &'static str,
    /// When the features were observed; the oldest of them counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-21T03:00:00Z")]
    as_of: Option<Timestamp>,
    /// Features that no source has.
    #[serde(skip_serializing_if = "FeatureNames::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    missing: FeatureNames<'a>,
    /// Features without a value (null), as in training.
    #[serde(skip_serializing_if = "FeatureNames::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    null: FeatureNames<'a>,
    /// Features that are older than the contract allows.
    #[serde(skip_serializing_if = "FeatureNames::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    stale: FeatureNames<'a>,
    /// Features outside the contract's range, or with a category that the model does not know.
    #[serde(skip_serializing_if = "FeatureNames::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    out_of_range: FeatureNames<'a>,
    /// Features for which the contract's default was used.
    #[serde(skip_serializing_if = "FeatureNames::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    defaulted: FeatureNames<'a>,
    /// Feature sources that did not answer. Their features count as missing.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    unavailable: &'a [String],
}

/// Feature names, serialized from their positions.
struct FeatureNames<'a> {
    model: &'a ModelVersion,
    positions: &'a [usize],
}

/// Why one entity has no score.
#[derive(Debug, Serialize, ToSchema)]
struct EntityErrorBody {
    /// The kind of error, as in the `type` of problems.
    #[schema(value_type = ErrorKindName, example = "rejected")]
    kind: &'static str,
    /// What is wrong, and how to fix it.
    detail: String,
}

impl ScoreBody {
    pub(in crate::api::http) fn into_domain(
        self,
        client: Client,
        deadline: Option<Instant>,
    ) -> Result<ScoreRequest, Error> {
        let model = ModelRef {
            name: self.model,
            version: VersionSelector::from_parts(self.version, self.label)?,
        };
        Ok(ScoreRequest {
            client,
            model,
            entities: self.entities.into_iter().map(Into::into).collect(),
            explain: Wanted {
                strongest: self.explain,
                raising: self.explain_raising,
                lowering: self.explain_lowering,
            },
            deadline,
        })
    }
}

impl From<EntityBody> for Entity {
    fn from(entity: EntityBody) -> Self {
        Self {
            id: entity.id,
            features: entity.features.0,
        }
    }
}

/// Deserializes an id from a text or a whole number.
pub(in crate::api::http) fn id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<EntityId>, D::Error> {
    struct IdVisitor;
    impl Visitor<'_> for IdVisitor {
        type Value = Option<EntityId>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an id: a text or a whole number")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            self.visit_string(text.to_owned())
        }
        fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
            match rewritten(&text) {
                None => Ok(Some(EntityId::Text(text))),
                Some(_) => Err(de::Error::custom(
                    "expected an id: a text or a whole number, found a number without end",
                )),
            }
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(EntityId::Int(number)))
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            let id = i64::try_from(number)
                .map_err(|_| de::Error::invalid_value(Unexpected::Unsigned(number), &self))?;
            Ok(Some(EntityId::Int(id)))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(IdVisitor)
}

fn write_id<S: Serializer>(id: &Option<&EntityId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(EntityId::Text(id)) => serializer.serialize_str(id),
        Some(EntityId::Int(id)) => serializer.serialize_i64(*id),
        None => serializer.serialize_none(),
    }
}

impl<'a> From<&'a ModelVersion> for ModelVersionBody<'a> {
    fn from(model: &'a ModelVersion) -> Self {
        Self {
            name: model.name.as_str().into(),
            version: model.version,
            sha256: model.sha256.as_str().into(),
        }
    }
}

impl ModelVersionBody<'_> {
    /// Converts to an owned body.
    pub(in crate::api::http) fn into_owned(self) -> ModelVersionBody<'static> {
        ModelVersionBody {
            name: self.name.into_owned().into(),
            sha256: self.sha256.into_owned().into(),
            version: self.version,
        }
    }
}

impl<'a> ScoreOneBody<'a> {
    pub(in crate::api::http) fn new(model: &'a ModelVersion, result: &'a EntityScore) -> Self {
        Self {
            model: model.into(),
            result: ResultBody::new(model, result),
        }
    }
}

impl<'a> From<&'a Scores> for ScoresBody<'a> {
    fn from(scores: &'a Scores) -> Self {
        Self {
            model: (&*scores.model).into(),
            results: ResultsBody(scores),
        }
    }
}

impl Serialize for ResultsBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Scores { model, results } = self.0;
        serializer.collect_seq(results.iter().map(|result| ResultBody::new(model, result)))
    }
}

impl<'a> ResultBody<'a> {
    /// Builds the result of one entity, scored by `model` unless the result names another version.
    pub(in crate::api::http) fn new(model: &'a ModelVersion, result: &'a EntityScore) -> Self {
        let canary = result.model.as_deref();
        let model = canary.unwrap_or(model);
        let empty = ResultBody {
            version: canary.map(|model| model.version),
            hold_out: result.hold_out.then_some(true),
            ..Self::without_score(result.id.as_ref(), result.result())
        };
        match &result.outcome {
            Outcome::Scored(scored) => ResultBody {
                score: Some(scored.score),
                band: scored.band.as_deref(),
                reasons: Some(reason::bodies(model, scored.score, &scored.reasons)),
                explanation: scored.explanation.as_ref().map(Into::into),
                features: Some(FeaturesBody::new(model, scored)),
                ..empty
            },
            Outcome::Failed(error) => ResultBody {
                error: Some(error.into()),
                ..empty
            },
        }
    }

    /// Builds the result of an entity that did not reach the scoring path.
    pub(in crate::api::http) fn failed(error: &Error) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::without_score(None, EntityResult::Error)
        }
    }

    fn without_score(id: Option<&'a EntityId>, status: EntityResult) -> Self {
        Self {
            id,
            status: status.label(),
            score: None,
            band: None,
            version: None,
            hold_out: None,
            reasons: None,
            explanation: None,
            features: None,
            error: None,
        }
    }
}

impl From<&Error> for EntityErrorBody {
    fn from(error: &Error) -> Self {
        Self {
            kind: status::of(error.kind()).label,
            detail: status::message(error),
        }
    }
}

impl<'a> FeaturesBody<'a> {
    fn new(model: &'a ModelVersion, scored: &'a Score) -> Self {
        let names = |positions: &'a [usize]| FeatureNames { model, positions };
        let FeatureIssues {
            missing,
            null,
            stale,
            out_of_range,
            defaulted,
        } = &scored.issues;
        Self {
            from: scored.from.label(),
            as_of: scored.as_of.and_then(instant),
            missing: names(missing),
            null: names(null),
            stale: names(stale),
            out_of_range: names(out_of_range),
            defaulted: names(defaulted),
            unavailable: &scored.unavailable,
        }
    }
}

impl FeatureNames<'_> {
    fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

impl Serialize for FeatureNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.model.input_names(self.positions))
    }
}
