//! `GET /v1/models` and `GET /v1/models/{model}`: models, versions and contracts, for clients and operators.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::problem::Problems;
use crate::error::Error;
use crate::models::contract::FeatureContract;
use crate::models::status::VersionStatus;
use crate::scoring::live_set::ModelEntry;
use crate::scoring::rollout::comparison::{Comparison, EDGES, TrialKind};
use crate::scoring::{LiveSet, Servable};
use crate::values::feature_type::FeatureType;
use crate::values::time::rfc3339;

/// The models in the repository.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelsBody {
    /// The models, by name.
    models: Vec<ModelLine>,
}

/// A model in the list.
#[derive(Debug, Serialize, ToSchema)]
struct ModelLine {
    /// The model's name.
    #[schema(example = "churn")]
    name: String,
    /// `live`, or `refused` if no version passed the gate.
    #[schema(example = "live")]
    state: &'static str,
    /// The live version.
    #[schema(example = 3)]
    version: Option<u64>,
    /// SHA-256 of the live model file.
    sha256: Option<String>,
}

/// A model with its versions, events and trials.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelBody {
    /// The model's name.
    #[schema(example = "churn")]
    name: String,
    /// `live`, or `refused` if no version passed the gate.
    #[schema(example = "live")]
    state: &'static str,
    /// Every version in the repository or in memory, newest first.
    versions: Vec<VersionStatusBody>,
    /// Labels and the versions that they name.
    labels: BTreeMap<String, u64>,
    /// Recent events, newest last.
    events: Vec<EventBody>,
    /// Running and recent trials (canary or shadow) of versions.
    trials: Vec<TrialBody>,
    /// The live version and its contract.
    live: Option<LiveBody>,
}

/// A trial: compares a candidate's scores with those of the base version, which answers.
#[derive(Debug, Serialize, ToSchema)]
struct TrialBody {
    /// `canary`: the candidate answers for a share of the entities. `shadow`: it is scored, but does not answer.
    #[schema(example = "shadow")]
    kind: &'static str,
    /// Share of the entities, from 0 to 1; absent if the trial has ended.
    share: Option<f64>,
    /// The version that answers.
    base: u64,
    /// The version on trial.
    candidate: u64,
    /// The comparison in one sentence.
    #[schema(
        example = "version 8 would have moved 3.0% of 1200 customers across a band (20 of 1200 scores went up a band, 16 down)"
    )]
    summary: String,
    /// Number of scores compared.
    compared: u64,
    /// Scores that are equal.
    same_score: u64,
    /// Scores in the same band.
    same_band: u64,
    /// Scores that the candidate moved to a higher band.
    up: u64,
    /// Scores that the candidate moved to a lower band.
    down: u64,
    /// Entities that only one of the two versions could score.
    failed: u64,
    /// Entities not compared for lack of capacity.
    dropped: u64,
    /// Distinct customers compared; each counts once.
    customers: u64,
    /// Distinct customers whose band differed at their first comparison.
    moved_customers: u64,
    /// `moved_customers` in percent of `customers`.
    moved_percent: f64,
    /// Histogram of the candidate's score minus the base's.
    differences: HistogramBody,
}

/// A histogram of score differences.
#[derive(Debug, Serialize, ToSchema)]
struct HistogramBody {
    /// Inner edges of the bins, ascending.
    edges: Vec<f64>,
    /// Scores in each bin: one more than edges.
    counts: Vec<u64>,
}

/// An event in a model's lifecycle.
#[derive(Debug, Serialize, ToSchema)]
struct EventBody {
    /// When it happened.
    #[schema(example = "2026-11-21T04:12:09Z")]
    at: Option<String>,
    /// What happened.
    #[schema(example = "version 8 is live, before it 7")]
    what: String,
}

/// A version's state and its gate report.
#[derive(Debug, Serialize, ToSchema)]
struct VersionStatusBody {
    /// The version's number.
    version: u64,
    /// `live`; `loaded`: answers requests that name it; `available`: not wanted by the policy; `settling`: its files
    /// are still changing; `refused`: failed the gate; `unloaded`; `rolled_back`.
    #[schema(example = "live")]
    state: &'static str,
    /// Why it is in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when it is in this state.
    since: Option<String>,
    /// The gate's steps, in order. The gate stops at the first failure.
    steps: Vec<StepBody>,
}

/// A step of the gate.
#[derive(Debug, Serialize, ToSchema)]
struct StepBody {
    /// One of `settle`, `checksums`, `parse`, `contract`, `golden`, `reference`, `features`, `budget`, `warm_up`
    #[schema(example = "golden")]
    step: &'static str,
    /// `passed`, `skipped` or `failed`
    #[schema(example = "passed")]
    outcome: &'static str,
    /// What was checked, or why it failed.
    detail: String,
    /// Duration in milliseconds.
    milliseconds: f64,
}

/// A live version and its contract.
#[derive(Debug, Serialize, ToSchema)]
struct LiveBody {
    /// The version's number.
    version: u64,
    /// SHA-256 of the model file.
    sha256: String,
    /// The training library and its version.
    #[schema(example = "XgBoost 3.2.0")]
    library: String,
    /// The training objective, as the library writes it.
    #[schema(example = "binary:logistic")]
    objective: String,
    /// Number of trees.
    trees: usize,
    /// The kernels that score the model on this machine.
    #[schema(example = "binned, bit-sliced from 54 rows")]
    kernel: String,
    /// Name of the entity's id.
    #[schema(example = "customer_id")]
    entity: String,
    /// When the model was trained.
    trained_at: Option<String>,
    /// The model's origin, as the bundle records it.
    lineage: BTreeMap<String, String>,
    /// Kind of score: `probability`, `margin`, `value` or `class`.
    output: Option<String>,
    /// The bands of the score.
    bands: Vec<BandBody>,
    /// The inputs in the model's order; empty for a bare model.
    features: Vec<ModelFeatureBody>,
}

/// A band of scores.
#[derive(Debug, Serialize, ToSchema)]
struct BandBody {
    /// The band's name.
    #[schema(example = "high")]
    name: String,
    /// The lowest score in the band.
    #[schema(example = 0.7)]
    from: f64,
}

/// An input of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelFeature)]
struct ModelFeatureBody {
    /// The feature's name.
    name: String,
    /// The feature's name for people.
    label: String,
    /// Where the feature is stored, as `group:column`.
    source: String,
    /// `float`, `int`, `bool`, `category` or `timestamp`.
    #[schema(value_type = String, example = "float")]
    r#type: FeatureType,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// The categories that the model knows.
    categories: Vec<String>,
    /// Whether an entity without a value gets no score.
    required: bool,
    /// Value to use if the feature is missing.
    #[schema(value_type = Option<f64>)]
    default: Option<serde_json::Value>,
    /// Smallest and largest expected value.
    range: Option<[f64; 2]>,
    /// Age from which a value is stale, such as `36h`.
    max_age: Option<String>,
}

/// Lists the models.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelsBody)))]
pub(super) async fn list(State(state): State<HttpState>) -> Result<Json<ModelsBody>, Error> {
    let models = models_body(&state.scorer.live());
    state.counters.list_models.count(Ok(models)).map(Json)
}

pub(super) fn models_body(live: &LiveSet) -> ModelsBody {
    let models = live.models().map(|(name, entry)| {
        let model = entry.live.as_ref().map(|servable| &servable.model);
        ModelLine {
            name: name.to_owned(),
            state: state_label(model.is_some()),
            version: model.map(|model| model.version),
            sha256: model.map(|model| model.sha256.clone()),
        }
    });
    ModelsBody {
        models: models.collect(),
    }
}

/// Shows a model's live version with its contract, and the gate report of each version.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "models",
    params(("model" = String, Path, example = "churn")),
    responses(
        (status = 200, body = ModelBody),
        Problems,
    )
)]
pub(super) async fn get(
    State(state): State<HttpState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelBody>, Error> {
    let live = state.scorer.live();
    let result = path.map_err(|rejection| Error::invalid(rejection.body_text()));
    let result = result.and_then(|Path(name)| live.entry(&name).map(|entry| model_body(name.clone(), entry)));
    state.counters.get_model.count(result).map(Json)
}

fn state_label(live: bool) -> &'static str {
    if live { "live" } else { "refused" }
}

pub(super) fn model_body(name: String, entry: &ModelEntry) -> ModelBody {
    let events = entry.events.iter().map(|event| EventBody {
        at: time(event.at),
        what: event.what.clone(),
    });
    ModelBody {
        name,
        state: state_label(entry.live.is_some()),
        versions: entry.versions.iter().map(version_body).collect(),
        labels: entry.labels.clone(),
        events: events.collect(),
        trials: entry
            .comparisons
            .iter()
            .map(|comparison| trial_body(entry, comparison))
            .collect(),
        live: entry.live.as_deref().map(live_body),
    }
}

fn trial_body(entry: &ModelEntry, comparison: &Comparison) -> TrialBody {
    let running = match comparison.kind {
        TrialKind::Canary => &entry.rollout.canary,
        TrialKind::Shadow => &entry.rollout.shadow,
    };
    let running = running
        .as_ref()
        .filter(|share| std::ptr::eq(&*share.comparison, comparison));
    let figures = comparison.figures();
    TrialBody {
        kind: comparison.kind.label(),
        share: running.map(|share| share.share),
        base: comparison.base,
        candidate: comparison.candidate,
        summary: comparison.summary(),
        compared: figures.compared(),
        same_score: figures.same_score,
        same_band: figures.same_band,
        up: figures.up,
        down: figures.down,
        failed: figures.failed,
        dropped: figures.dropped,
        customers: figures.customers,
        moved_customers: figures.moved,
        moved_percent: figures.moved_percent(),
        differences: HistogramBody {
            edges: EDGES.to_vec(),
            counts: figures.bins,
        },
    }
}

fn time(at: SystemTime) -> Option<String> {
    let seconds = at.duration_since(UNIX_EPOCH).ok()?.as_secs();
    #[expect(clippy::cast_precision_loss, reason = "whole seconds of this age")]
    rfc3339(seconds as f64)
}

fn version_body(status: &VersionStatus) -> VersionStatusBody {
    let steps = status.report.steps.iter().map(|step| StepBody {
        step: step.step.label(),
        outcome: step.outcome.label(),
        detail: step.detail.clone(),
        milliseconds: step.milliseconds,
    });
    VersionStatusBody {
        version: status.version,
        state: status.state.label(),
        reason: status.reason.clone(),
        since: time(status.since),
        steps: steps.collect(),
    }
}

fn live_body(servable: &Servable) -> LiveBody {
    let model = &*servable.model;
    let summary = model.forest.summary();
    let library = match &summary.library_version {
        Some(version) => format!("{:?} {version}", summary.format),
        None => format!("{:?}", summary.format),
    };
    let contract = model.contract.as_ref();
    LiveBody {
        version: model.version,
        sha256: model.sha256.clone(),
        library,
        objective: summary.objective.clone(),
        trees: summary.trees,
        kernel: model.forest.kernels().to_string(),
        entity: model.entity().to_owned(),
        trained_at: contract
            .and_then(|contract| contract.model.trained_at)
            .map(|time| time.to_string()),
        lineage: contract
            .map(|contract| contract.model.lineage.clone())
            .unwrap_or_default(),
        output: contract.map(|contract| format!("{:?}", contract.output.kind).to_lowercase()),
        bands: servable
            .bands
            .iter()
            .map(|band| BandBody {
                name: band.name.to_string(),
                from: band.from,
            })
            .collect(),
        features: model
            .inputs
            .iter()
            .map(|input| feature_body(&input.contract))
            .collect(),
    }
}

fn feature_body(contract: &FeatureContract) -> ModelFeatureBody {
    ModelFeatureBody {
        name: contract.name.clone(),
        label: contract.label().to_owned(),
        source: contract.source().to_owned(),
        r#type: contract.kind,
        categories: contract.categories.clone(),
        required: contract.required,
        default: contract
            .default()
            .and_then(|value| serde_json::to_value(value).ok()),
        range: contract.range,
        max_age: contract.max_age().map(str::to_owned),
    }
}
