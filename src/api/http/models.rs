//! `GET /v1/models` and `GET /v1/models/{model}`.

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

/// The models of the folder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelsBody {
    models: Vec<ModelLine>,
}

/// A model in the list.
#[derive(Debug, Serialize, ToSchema)]
struct ModelLine {
    #[schema(example = "churn")]
    name: String,
    /// `live`, or `refused` when no version passed the gate.
    #[schema(example = "live")]
    state: &'static str,
    /// The live version.
    #[schema(example = 3)]
    version: Option<u64>,
    /// SHA-256 of the live model file.
    sha256: Option<String>,
}

/// A model whole.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelBody {
    #[schema(example = "churn")]
    name: String,
    /// `live`, or `refused` when no version passed the gate.
    #[schema(example = "live")]
    state: &'static str,
    /// Every version that is there or answers, newest first.
    versions: Vec<VersionStatusBody>,
    /// Names for versions.
    labels: BTreeMap<String, u64>,
    /// What happened lately, newest last.
    events: Vec<EventBody>,
    /// Versions being tried beside the one that answers, and those tried lately.
    trials: Vec<TrialBody>,
    /// The live version.
    live: Option<LiveBody>,
}

/// A version being tried: how its scores compare with those of the version that answers.
#[derive(Debug, Serialize, ToSchema)]
struct TrialBody {
    /// `canary`: it answers for a share of the entities; `shadow`: it is only scored beside the answer.
    #[schema(example = "shadow")]
    kind: &'static str,
    /// The share of entities; absent when the trial has ended.
    share: Option<f64>,
    base: u64,
    candidate: u64,
    #[schema(
        example = "version 8 would have moved 3.0% of 1200 customers across a band (20 of 1200 scores went up a band, 16 down)"
    )]
    summary: String,
    /// Scores compared.
    compared: u64,
    same_score: u64,
    same_band: u64,
    /// Scores that the candidate put into a higher band.
    up: u64,
    /// Scores that the candidate put into a lower band.
    down: u64,
    /// Entities that only one of the two gave a score.
    failed: u64,
    /// Entities not compared, for there was no time.
    dropped: u64,
    /// Different customers, each counted when first seen.
    customers: u64,
    moved_customers: u64,
    moved_percent: f64,
    /// The candidate's score less the base's: inner edges of the bins, and scores in each.
    differences: HistogramBody,
}

/// A histogram.
#[derive(Debug, Serialize, ToSchema)]
struct HistogramBody {
    edges: Vec<f64>,
    counts: Vec<u64>,
}

/// Something that happened to the model.
#[derive(Debug, Serialize, ToSchema)]
struct EventBody {
    #[schema(example = "2026-11-21T04:12:09Z")]
    at: Option<String>,
    #[schema(example = "version 8 is live, before it 7")]
    what: String,
}

/// Where a version stands, and how it came through the gate.
#[derive(Debug, Serialize, ToSchema)]
struct VersionStatusBody {
    version: u64,
    /// `live`; `loaded`: answers those who name it; `available`: not asked for; `settling`: its files do not agree
    /// yet; `refused`; `unloaded`; `rolled_back`.
    #[schema(example = "live")]
    state: &'static str,
    /// Why, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    since: Option<String>,
    /// The gate's steps in order; the first failure is the last.
    steps: Vec<StepBody>,
}

/// A step of the gate.
#[derive(Debug, Serialize, ToSchema)]
struct StepBody {
    /// `settle`, `checksums`, `parse`, `contract`, `golden`, `reference`, `features`, `budget`, `warm_up`
    #[schema(example = "golden")]
    step: &'static str,
    /// `passed`, `skipped` or `failed`
    #[schema(example = "passed")]
    outcome: &'static str,
    detail: String,
    milliseconds: f64,
}

/// A live version and its contract.
#[derive(Debug, Serialize, ToSchema)]
struct LiveBody {
    version: u64,
    /// SHA-256 of the model file.
    sha256: String,
    /// The training library and its version.
    #[schema(example = "XgBoost 3.2.0")]
    library: String,
    #[schema(example = "binary:logistic")]
    objective: String,
    trees: usize,
    /// How the trees are walked on this machine.
    #[schema(example = "binned, bit-sliced from 54 rows")]
    kernel: String,
    /// The name of the id.
    #[schema(example = "customer_id")]
    entity: String,
    trained_at: Option<String>,
    /// Where the model comes from, as the bundle says.
    lineage: BTreeMap<String, String>,
    /// What the score is: `probability`, `margin`, `value` or `class`.
    output: Option<String>,
    bands: Vec<BandBody>,
    /// The inputs in the model's order; empty for a bare model.
    features: Vec<FeatureBody>,
}

/// A band.
#[derive(Debug, Serialize, ToSchema)]
struct BandBody {
    #[schema(example = "high")]
    name: String,
    /// The lowest score in it.
    #[schema(example = 0.7)]
    from: f64,
}

/// An input.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelFeature)]
struct FeatureBody {
    name: String,
    label: String,
    source: String,
    #[schema(value_type = String, example = "float")]
    r#type: FeatureType,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    required: bool,
    #[schema(value_type = Option<f64>)]
    default: Option<serde_json::Value>,
    range: Option<[f64; 2]>,
    max_age: Option<String>,
}

/// Lists the models.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelsBody)))]
pub(super) async fn list(State(rest): State<HttpState>) -> Result<Json<ModelsBody>, Error> {
    let models = models_body(&rest.scorer.live());
    rest.counters.list_models.count(Ok(models)).map(Json)
}

pub(super) fn models_body(live: &LiveSet) -> ModelsBody {
    let models = live.models().map(|(name, entry)| {
        let model = entry.live.as_ref().map(|served| &served.model);
        ModelLine {
            name: name.to_owned(),
            state: state(model.is_some()),
            version: model.map(|model| model.version),
            sha256: model.map(|model| model.sha256.clone()),
        }
    });
    ModelsBody {
        models: models.collect(),
    }
}

/// A model's live version with its contract, and how each version came through the gate.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "models",
    params(("model" = String, Path, example = "churn")),
    responses(
        (status = 200, body = ModelBody),
        Problems,
    )
)]
pub(super) async fn get(
    State(rest): State<HttpState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelBody>, Error> {
    let live = rest.scorer.live();
    let result = path.map_err(|rejection| Error::invalid(rejection.body_text()));
    let result = result.and_then(|Path(name)| live.entry(&name).map(|entry| model_body(name.clone(), entry)));
    rest.counters.get_model.count(result).map(Json)
}

fn state(live: bool) -> &'static str {
    if live { "live" } else { "refused" }
}

pub(super) fn model_body(name: String, entry: &ModelEntry) -> ModelBody {
    let events = entry.events.iter().map(|event| EventBody {
        at: time(event.at),
        what: event.what.clone(),
    });
    ModelBody {
        name,
        state: state(entry.live.is_some()),
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

fn live_body(served: &Servable) -> LiveBody {
    let model = &*served.model;
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
        bands: served
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

fn feature_body(contract: &FeatureContract) -> FeatureBody {
    FeatureBody {
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
