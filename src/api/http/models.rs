//! `GET /v1/models` and `GET /v1/models/{model}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::problem::Problems;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::{FeatureContract, FeatureType};
use crate::models::gate::Report;
use crate::scoring::live::Entry;

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
    /// Every version that was judged, newest first.
    versions: Vec<JudgedBody>,
    /// The live version.
    live: Option<LiveBody>,
}

/// How a version came through the gate.
#[derive(Debug, Serialize, ToSchema)]
struct JudgedBody {
    version: u64,
    /// `live` or `refused`.
    state: &'static str,
    /// The gate's steps in order; the first failure is the last.
    steps: Vec<StepBody>,
}

/// A step of the gate.
#[derive(Debug, Serialize, ToSchema)]
struct StepBody {
    /// `files`, `checksums`, `parse`, `contract`, `golden`, `reference`, `warm_up`, `features`
    #[schema(value_type = String, example = "golden")]
    step: serde_json::Value,
    /// `passed`, `skipped` or `failed`
    #[schema(value_type = String, example = "passed")]
    outcome: serde_json::Value,
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
    #[schema(example = "avx2")]
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
pub(super) async fn list(State(rest): State<Rest>) -> Result<Json<ModelsBody>, Error> {
    let live = rest.scorer.live();
    let models = live.models().map(|(name, entry)| {
        let model = entry.served.as_ref().map(|served| &served.model);
        ModelLine {
            name: name.to_owned(),
            state: state(model.is_some()),
            version: model.map(|model| model.version),
            sha256: model.map(|model| model.sha256.clone()),
        }
    });
    rest.counters
        .list_models
        .count(Ok(ModelsBody {
            models: models.collect(),
        }))
        .map(Json)
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
    State(rest): State<Rest>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelBody>, Error> {
    let live = rest.scorer.live();
    let result = path.map_err(|rejection| Error::Invalid(rejection.body_text()));
    let result = result.and_then(|Path(name)| live.entry(&name).map(|entry| model_body(name.clone(), entry)));
    rest.counters.get_model.count(result).map(Json)
}

fn state(live: bool) -> &'static str {
    if live { "live" } else { "refused" }
}

fn model_body(name: String, entry: &Entry) -> ModelBody {
    let refused = entry
        .refused
        .iter()
        .map(|refused| judged(refused.version, false, &refused.report));
    let model = entry.served.as_ref().map(|served| &*served.model);
    let live = model.map(|model| judged(model.version, true, &model.report));
    let mut versions: Vec<JudgedBody> = refused.chain(live).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    ModelBody {
        name,
        state: state(model.is_some()),
        versions,
        live: model.map(live_body),
    }
}

fn judged(version: u64, live: bool, report: &Report) -> JudgedBody {
    let steps = report.steps.iter().map(|step| StepBody {
        step: serde_json::to_value(step.step).unwrap_or_default(),
        outcome: serde_json::to_value(&step.outcome).unwrap_or_default(),
        detail: step.detail.clone(),
        milliseconds: step.milliseconds,
    });
    JudgedBody {
        version,
        state: state(live),
        steps: steps.collect(),
    }
}

fn live_body(model: &ModelVersion) -> LiveBody {
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
        kernel: model.forest.kernel_name().to_string(),
        entity: model.entity().to_owned(),
        trained_at: contract
            .and_then(|contract| contract.model.trained_at)
            .map(|time| time.to_string()),
        lineage: contract
            .map(|contract| contract.model.lineage.clone())
            .unwrap_or_default(),
        output: contract.map(|contract| format!("{:?}", contract.output.kind).to_lowercase()),
        bands: contract.map_or_else(Vec::new, |contract| {
            contract
                .output
                .bands
                .iter()
                .map(|band| BandBody {
                    name: band.name.clone(),
                    from: band.from,
                })
                .collect()
        }),
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
