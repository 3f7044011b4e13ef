//! JSON bodies of the answers about models. Their doc comments are the OpenAPI descriptions.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::super::schema::{FeatureValue, labels};
use super::super::score::reason::UsualBody;
use crate::models::contract::{Actionable, ScoreKind};
use crate::models::report::{GateStep, StepOutcome};
use crate::models::status::VersionState;
use crate::scoring::rollout::comparison::TrialKind;
use crate::values::feature_type::FeatureType;

/// The states of a model: whether a version is live.
pub(super) const LIVE: &str = "live";
pub(super) const REFUSED: &str = "refused";

labels! {
    /// Whether a model has a live version.
    ModelState = [LIVE, REFUSED]
}

labels! {
    /// The state of a version.
    VersionStateName = VersionState::ALL.map(VersionState::label)
}

labels! {
    /// The kind of a trial.
    TrialKindName = [TrialKind::Canary, TrialKind::Shadow].map(TrialKind::label)
}

labels! {
    /// In which direction somebody can change a value.
    ActionableName = Actionable::ALL.map(Actionable::label)
}

labels! {
    /// A step of the gate.
    GateStepName = GateStep::ALL.map(GateStep::label)
}

labels! {
    /// How a step of the gate ended.
    StepOutcomeName = StepOutcome::ALL.map(StepOutcome::label)
}

labels! {
    /// What a score is made from.
    ScoreKindName = ScoreKind::ALL.map(ScoreKind::label)
}

labels! {
    /// The type of a feature's values.
    FeatureTypeName = FeatureType::ALL.map(FeatureType::label)
}

/// The models in the repository.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct ModelsBody {
    /// The models, by name.
    pub(super) models: Vec<ModelLine>,
}

/// A model in the list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelLine {
    /// The model's name.
    #[schema(example = "churn")]
    pub(super) name: String,
    /// `live`, or `refused` if no version passed the gate.
    #[schema(value_type = ModelState, example = "live")]
    pub(super) state: &'static str,
    /// The live version.
    #[schema(required = true, example = 3)]
    pub(super) version: Option<u64>,
    /// SHA-256 of the live model file.
    #[schema(required = true)]
    pub(super) sha256: Option<String>,
}

/// A model with its versions, events and trials.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct ModelBody {
    /// The model's name.
    #[schema(example = "churn")]
    pub(super) name: String,
    /// `live`, or `refused` if no version passed the gate.
    #[schema(value_type = ModelState, example = "live")]
    pub(super) state: &'static str,
    /// Every version in the repository or in memory, newest first.
    pub(super) versions: Vec<VersionStatusBody>,
    /// Labels and the versions that they name.
    pub(super) labels: BTreeMap<String, u64>,
    /// Recent events, newest last.
    pub(super) events: Vec<EventBody>,
    /// Running and recent trials (canary or shadow) of versions.
    pub(super) trials: Vec<TrialBody>,
    /// The live version and its contract.
    #[schema(required = true)]
    pub(super) live: Option<LiveBody>,
}

/// A trial: compares a candidate's scores with those of the base version, which answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrialBody {
    /// `canary`: the candidate answers for a share of the entities. `shadow`: it is scored, but does not answer.
    #[schema(value_type = TrialKindName, example = "shadow")]
    pub(super) kind: &'static str,
    /// Share of the entities, from 0 to 1; null if the trial has ended.
    #[schema(required = true)]
    pub(super) share: Option<f64>,
    /// The version that answers.
    pub(super) base: u64,
    /// The version on trial.
    pub(super) candidate: u64,
    /// The comparison in one sentence.
    #[schema(
        example = "version 8 would have moved 3.0% of 1200 customers across a band (20 of 1200 scores went up a band, 16 down)"
    )]
    pub(super) summary: String,
    /// Number of scores compared.
    pub(super) compared: u64,
    /// Scores that are equal.
    pub(super) same_score: u64,
    /// Scores in the same band.
    pub(super) same_band: u64,
    /// Scores that the candidate moved to a higher band.
    pub(super) up: u64,
    /// Scores that the candidate moved to a lower band.
    pub(super) down: u64,
    /// Entities that only one of the two versions could score.
    pub(super) failed: u64,
    /// Entities not compared for lack of capacity.
    pub(super) dropped: u64,
    /// Distinct customers compared; each counts once.
    pub(super) customers: u64,
    /// Distinct customers whose band differed at their first comparison.
    pub(super) moved_customers: u64,
    /// `moved_customers` in percent of `customers`.
    pub(super) moved_percent: f64,
    /// Histogram of the candidate's score minus the base's.
    pub(super) differences: HistogramBody,
}

/// A histogram of score differences.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistogramBody {
    /// Inner edges of the bins, ascending.
    pub(super) edges: Vec<f64>,
    /// Scores in each bin: one more than edges.
    pub(super) counts: Vec<u64>,
}

/// An event in a model's lifecycle.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventBody {
    /// When it happened.
    #[schema(required = true, format = DateTime, example = "2026-11-21T04:12:09Z")]
    pub(super) at: Option<String>,
    /// What happened.
    #[schema(example = "version 8 is live, before it 7")]
    pub(super) what: String,
}

/// A version's state and its gate report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionStatusBody {
    /// The version's number.
    pub(super) version: u64,
    /// `live`; `loaded`: answers requests that name it; `available`: not wanted by the policy; `settling`: its files
    /// are still changing; `refused`: failed the gate; `unloaded`; `rolled_back`.
    #[schema(value_type = VersionStateName, example = "live")]
    pub(super) state: &'static str,
    /// Why it is in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) reason: Option<String>,
    /// Since when it is in this state.
    #[schema(required = true, format = DateTime, example = "2026-11-21T04:12:09Z")]
    pub(super) since: Option<String>,
    /// The gate's steps, in order. The gate stops at the first failure.
    pub(super) steps: Vec<StepBody>,
}

/// A step of the gate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepBody {
    /// The step.
    #[schema(value_type = GateStepName, example = "golden")]
    pub(super) step: &'static str,
    /// How it ended.
    #[schema(value_type = StepOutcomeName, example = "passed")]
    pub(super) outcome: &'static str,
    /// What was checked, or why it failed.
    pub(super) detail: String,
    /// Duration in milliseconds.
    pub(super) milliseconds: f64,
}

/// A live version and its contract.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LiveBody {
    /// The version's number.
    pub(super) version: u64,
    /// SHA-256 of the model file.
    pub(super) sha256: String,
    /// The training library and its version.
    #[schema(example = "XGBoost 3.2.0")]
    pub(super) library: String,
    /// The training objective, as the library writes it.
    #[schema(example = "binary:logistic")]
    pub(super) objective: String,
    /// Number of trees.
    pub(super) trees: usize,
    /// The kernels that score the model on this machine.
    #[schema(example = "binned, bit-sliced from 54 rows")]
    pub(super) kernel: String,
    /// Name of the entity's id.
    #[schema(example = "customer_id")]
    pub(super) entity: String,
    /// When the model was trained, as the bundle records it.
    #[schema(required = true, example = "2026-11-20T18:00:00Z")]
    pub(super) trained_at: Option<String>,
    /// The model's origin, as the bundle records it.
    pub(super) lineage: BTreeMap<String, String>,
    /// Kind of score; null for a bare model.
    #[schema(value_type = Option<ScoreKindName>, required = true)]
    pub(super) output: Option<&'static str>,
    /// The bands of the score.
    pub(super) bands: Vec<BandBody>,
    /// The inputs in the model's order; empty for a bare model.
    pub(super) features: Vec<ModelFeatureBody>,
}

/// A band of scores.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BandBody {
    /// The band's name.
    #[schema(example = "high")]
    pub(super) name: String,
    /// The lowest score in the band; null if it has no lower end.
    #[schema(value_type = Option<f64>, required = true, example = 0.7)]
    pub(super) from: f64,
}

/// An input of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelFeature)]
pub(super) struct ModelFeatureBody {
    /// The feature's name.
    pub(super) name: String,
    /// The feature's name for people.
    pub(super) label: String,
    /// Where the feature is stored, as `group:column`.
    pub(super) source: String,
    /// Type of the values.
    #[schema(value_type = FeatureTypeName, example = "float")]
    pub(super) r#type: &'static str,
    /// The unit of the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "EUR")]
    pub(super) unit: Option<String>,
    /// The group of the feature in reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Support")]
    pub(super) group: Option<String>,
    /// What was usual at training.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) usual: Option<UsualBody>,
    /// The categories that the model knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) categories: Vec<String>,
    /// Whether an entity without a value gets no score.
    pub(super) required: bool,
    /// Value to use if the feature is missing; null for none.
    #[schema(value_type = FeatureValue, required = true)]
    pub(super) default: Option<serde_json::Value>,
    /// Smallest and largest expected value; an end that is null is open.
    #[schema(value_type = Option<Vec<Option<f64>>>, required = true, min_items = 2, max_items = 2)]
    pub(super) range: Option<[f64; 2]>,
    /// Age from which a value is stale, such as `36h`.
    #[schema(required = true)]
    pub(super) max_age: Option<String>,
    /// In which direction somebody can change the value, such as with an offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ActionableName, required = false, example = "up")]
    pub(super) actionable: Option<&'static str>,
    /// The least change of the value that is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1.0)]
    pub(super) step: Option<f64>,
}
