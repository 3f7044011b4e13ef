//! `GET /v1/models` and `GET /v1/models/{model}`: models, versions and contracts, for clients and operators.

mod wire;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;

use super::HttpState;
use super::parameters::{PathParameters, path};
use super::problem::Problems;
use super::score::reason::usual_body;
use crate::api::client::RequestClient;
use crate::error::Error;
use crate::models::contract::{Actionable, Template};
use crate::models::input::ModelInput;
use crate::models::status::VersionStatus;
use crate::models::usual::Usual;
use crate::scoring::live_set::ModelEntry;
use crate::scoring::rollout::comparison::{Comparison, EDGES, TrialKind};
use crate::scoring::{Client, LiveSet, Servable};
use crate::values::time::rfc3339;
use wire::{
    BandBody, EventBody, HistogramBody, LIVE, LiveBody, ModelFeatureBody, ModelLine, REFUSED, StepBody,
    TrialBody, VersionStatusBody,
};
pub(super) use wire::{ModelBody, ModelsBody};

/// Lists the models.
#[utoipa::path(
    get, path = "/v1/models", tag = "models",
    responses(
        (status = 200, description = "The models", body = ModelsBody),
        Problems,
    )
)]
pub(super) async fn list(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
) -> Result<Json<ModelsBody>, Error> {
    let models = models_body(&state.scorer.live(), &client);
    state.counters.list_models.count(Ok(models)).map(Json)
}

/// Lists the models that a client may use.
pub(super) fn models_body(live: &LiveSet, client: &Client) -> ModelsBody {
    let models = live.models().filter(|(name, _)| client.may_use(name));
    let models = models.map(|(name, entry)| {
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
        (status = 200, description = "The model", body = ModelBody),
        Problems,
    )
)]
pub(super) async fn get(
    State(state): State<HttpState>,
    parameters: PathParameters<String>,
) -> Result<Json<ModelBody>, Error> {
    let live = state.scorer.live();
    let result =
        path(parameters).and_then(|name| live.entry(&name).map(|entry| model_body(name.clone(), entry)));
    state.counters.get_model.count(result).map(Json)
}

fn state_label(live: bool) -> &'static str {
    if live { LIVE } else { REFUSED }
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
        Some(version) => format!("{} {version}", summary.format),
        None => summary.format.to_string(),
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
        output: contract.map(|contract| contract.output.kind.label()),
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
            .zip(&model.usual)
            .map(|(input, usual)| feature_body(input, usual.as_ref()))
            .collect(),
    }
}

fn feature_body(input: &ModelInput, usual: Option<&Usual>) -> ModelFeatureBody {
    let contract = &input.contract;
    let text = |template: &Option<Template>| template.as_ref().map(|template| template.source().to_owned());
    ModelFeatureBody {
        name: contract.name.clone(),
        label: contract.label().to_owned(),
        source: contract.source().to_owned(),
        r#type: contract.kind.label(),
        unit: text(&contract.reason.unit),
        group: text(&contract.reason.group),
        usual: usual.map(|usual| usual_body(usual, |value| input.present(value))),
        categories: contract.categories.clone(),
        required: contract.required,
        default: contract.default().map(default_value),
        range: contract.range,
        max_age: contract.max_age().map(str::to_owned),
        actionable: contract.actionable.map(Actionable::label),
        step: contract.step,
    }
}

/// A default of a contract as JSON; an instant becomes a text, as TOML has a type of its own for it.
fn default_value(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Integer(value) => (*value).into(),
        toml::Value::Float(value) => (*value).into(),
        toml::Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_default_of_any_type_is_a_scalar() {
        let table: toml::Table =
            "at = 2026-11-21T03:00:00Z\nday = 2026-11-21\nyes = true\ncount = 3\nshare = 0.5\nname = \"a\""
                .parse()
                .unwrap();
        let found: Vec<serde_json::Value> = ["at", "day", "yes", "count", "share", "name"]
            .iter()
            .map(|&key| default_value(&table[key]))
            .collect();
        let expected = json!(["2026-11-21T03:00:00Z", "2026-11-21", true, 3, 0.5, "a"]);
        assert_eq!(json!(found), expected);
    }
}
