//! `GET /v1/models/{model}/drift`: how far features and scores are from those at training.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::parameters::{
    PathParameters, QueryParameters, ScoreQuery, VersionParameters, WindowParameter, path,
};
use super::problem::Problems;
use super::schema::{WindowName, labels};
use super::score::wire::ModelVersionBody;
use crate::api::client::RequestClient;
use crate::api::context::record_model;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::observe::monitor::WindowReport;
use crate::observe::report::{Cause, Drift, DriftReport, FeatureDrift};
use crate::observe::window::WindowKind;
use crate::scoring::ModelRef;
use crate::values::time::{instant, now};
use crate::work::off_thread;

labels! {
    /// What has moved.
    CauseName = Cause::ALL.map(Cause::label)
}

/// How far features and scores are from those at training.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DriftBody {
    model: ModelVersionBody<'static>,
    /// The newest window with enough rows; the present one if none has enough.
    window: WindowBody,
    #[serde(flatten)]
    report: ReportBody,
    /// The windows that have ended, oldest first.
    past: Vec<PastWindowBody>,
}

/// Entities compared with training.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportBody {
    /// Entities; each counts once.
    #[schema(example = 12400)]
    rows: u64,
    /// Entities that are needed to judge. A feature with many categories needs 20 for each of them.
    #[schema(example = 200)]
    needed: u64,
    /// Whether there are enough.
    enough: bool,
    /// A summary.
    #[schema(
        example = "12,400 customers: 1 of 24 features moved, with 18% of what the model relies on: support_calls_30d; \
                        the scores did not"
    )]
    text: String,
    /// The share of the features that moved in what the model relies on.
    #[schema(example = 0.18)]
    drifted_weight: f64,
    /// Every feature, in the model's order.
    features: Vec<FeatureDriftBody>,
    /// The model's value before calibration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    score: Option<DistributionBody>,
}

/// A window of time.
#[derive(Debug, Serialize, ToSchema)]
struct WindowBody {
    /// Its length.
    #[schema(value_type = WindowName, example = "day")]
    kind: &'static str,
    /// Its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-21T00:00:00Z")]
    from: Option<Timestamp>,
    /// Its end; later than now unless it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-22T00:00:00Z")]
    to: Option<Timestamp>,
    /// Whether it has ended.
    ended: bool,
}

/// A feature compared with training.
#[derive(Debug, Serialize, ToSchema)]
struct FeatureDriftBody {
    /// The feature's name.
    #[schema(example = "support_calls_30d")]
    feature: String,
    /// The feature's name for people.
    #[schema(example = "Support calls, last 30 days")]
    label: String,
    /// Whether anything about it has moved.
    drifted: bool,
    /// What has moved: the distribution of its `values`, or the share of those that are `beyond_training`, `out_of_range` (or
    /// unknown categories), `stale` or `missing`, or the contract's `default` stands where training had other values.
    #[schema(value_type = Vec<CauseName>)]
    causes: Vec<&'static str>,
    /// A sentence.
    #[schema(
        example = "support_calls_30d moved: usually 0 to 2, now 3 to 6; PSI 0.31 over 12,400 customers"
    )]
    text: String,
    /// Its share in what the model relies on: in the mean absolute contribution over the golden rows.
    #[schema(example = 0.18)]
    weight: f64,
    /// Shares of entities by status.
    shares: SharesBody,
    #[serde(flatten)]
    values: DistributionBody,
}

/// Shares of entities, 0 to 1.
#[derive(Debug, Serialize, ToSchema)]
struct SharesBody {
    /// No source has a value.
    missing: f64,
    /// The source holds null.
    null: f64,
    /// Older than `max_age`.
    stale: f64,
    /// Outside the range, or an unknown category.
    out_of_range: f64,
    /// The default is used.
    default: f64,
    /// A number below the least or above the greatest at training.
    beyond_training: f64,
}

/// A distribution compared with training.
#[derive(Debug, Serialize, ToSchema)]
struct DistributionBody {
    /// Whether the distribution has moved.
    moved: bool,
    /// Whether there are enough entities for its bins.
    judged: bool,
    /// Population stability index: Σ (q − p) · ln(q / p) over the bins, with 0.5 added to each count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.31)]
    psi: Option<f64>,
    /// The 99.9th percentile of `psi` for this many entities without drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.004)]
    chance: Option<f64>,
    /// The probability of such a `psi`, or a larger one, without drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.0)]
    p_value: Option<f64>,
    /// The bins; the last one is for missing values.
    bins: Vec<BinBody>,
}

/// A bin.
#[derive(Debug, Serialize, ToSchema)]
struct BinBody {
    /// What it holds.
    #[schema(example = "3 to 6")]
    label: String,
    /// Its share at training.
    #[schema(example = 0.1)]
    expected: f64,
    /// Its share in the window.
    #[schema(example = 0.4)]
    observed: f64,
}

/// A window that has ended.
#[derive(Debug, Serialize, ToSchema)]
struct PastWindowBody {
    /// Its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-20T00:00:00Z")]
    from: Option<Timestamp>,
    /// Entities.
    #[schema(example = 12400)]
    rows: u64,
    /// The features that moved.
    drifted: Vec<String>,
    /// The population stability index of the scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.01)]
    score_psi: Option<f64>,
}

/// Shows how far the features and scores of present entities are from those at training. Each entity counts once in an hour and once in a
/// day; what-if requests do not count. Each server counts what it scores itself, and begins anew when it starts.
#[utoipa::path(
    get, path = "/v1/models/{model}/drift", tag = "models",
    params(("model" = String, Path, example = "churn"), VersionParameters, WindowParameter),
    responses(
        (status = 200, description = "The drift", body = DriftBody),
        Problems,
    )
)]
pub(super) async fn drift(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    parameters: PathParameters<String>,
    QueryParameters(query): QueryParameters,
) -> Result<Json<DriftBody>, Error> {
    let result = async {
        let name = path(parameters)?;
        record_model(&name);
        let ScoreQuery { version, window, .. } = query?;
        let model = ModelRef { name, version };
        let servable = state.scorer.live().find_for(&client, &model)?.clone();
        state.counters.drift.answered_by(&servable.model);
        let monitor = servable.drift.clone().ok_or_else(|| {
            Error::invalid(format!(
                "model `{}` version {} has no drift: expected a bundle with reference.json and drift.enabled = true",
                servable.model.name, servable.model.version
            ))
            .about("model")
        })?;
        let (kind, thresholds) = (window.unwrap_or(WindowKind::Day), state.drift);
        // A wide model has thousands of distributions.
        off_thread(move || {
            let (model, now) = (&*servable.model, now());
            let latest = monitor.latest(model, kind, thresholds, now);
            let past = monitor.past(model, kind, thresholds, now);
            drift_body(model, latest, &past)
        })
        .await
    };
    state.counters.drift.count(result.await).map(Json)
}

fn drift_body(model: &ModelVersion, latest: WindowReport, past: &[WindowReport]) -> DriftBody {
    let window = WindowBody {
        kind: latest.kind.label(),
        from: time(latest.from),
        to: time(latest.to()),
        ended: latest.ended,
    };
    DriftBody {
        model: ModelVersionBody::from(model).into_owned(),
        window,
        report: ReportBody::of(model, latest.report),
        past: past.iter().map(|past| past_body(model, past)).collect(),
    }
}

impl ReportBody {
    /// The answer for a report of `model`.
    pub(crate) fn of(model: &ModelVersion, report: DriftReport) -> Self {
        let (needed, enough) = (report.needed, report.enough());
        let features = report.features.into_iter();
        Self {
            rows: report.rows,
            needed,
            enough,
            text: report.text,
            drifted_weight: report.drifted_weight,
            features: features
                .filter_map(|feature| feature_body(model, feature))
                .collect(),
            score: report.score.map(DistributionBody::from),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since the epoch")]
fn time(seconds: i64) -> Option<Timestamp> {
    instant(seconds as f64)
}

fn feature_body(model: &ModelVersion, feature: FeatureDrift) -> Option<FeatureDriftBody> {
    let contract = &model.inputs.get(feature.input)?.contract;
    let [missing, null, stale, out_of_range, default] = feature.statuses;
    Some(FeatureDriftBody {
        feature: contract.name.clone(),
        label: contract.label().to_owned(),
        drifted: feature.drifted(),
        causes: feature.causes.iter().map(|cause| cause.label()).collect(),
        text: feature.text,
        weight: feature.weight,
        shares: SharesBody {
            missing,
            null,
            stale,
            out_of_range,
            default,
            beyond_training: feature.beyond,
        },
        values: feature.values.into(),
    })
}

impl From<Drift> for DistributionBody {
    fn from(drift: Drift) -> Self {
        let shares = drift.expected.into_iter().zip(drift.observed);
        let bins = drift.labels.into_iter().zip(shares);
        Self {
            moved: drift.drifted,
            judged: drift.judged,
            psi: drift.distance.map(|distance| distance.psi),
            chance: drift.distance.map(|distance| distance.chance),
            p_value: drift.distance.map(|distance| distance.p_value),
            bins: bins
                .map(|(label, (expected, observed))| BinBody {
                    label,
                    expected,
                    observed,
                })
                .collect(),
        }
    }
}

fn past_body(model: &ModelVersion, past: &WindowReport) -> PastWindowBody {
    let drifted = past.report.drifted();
    let inputs: Vec<usize> = drifted.iter().map(|feature| feature.input).collect();
    let distance = past.report.score.as_ref().and_then(|score| score.distance);
    PastWindowBody {
        from: time(past.from),
        rows: past.report.rows,
        drifted: model.input_names(&inputs).map(str::to_owned).collect(),
        score_psi: distance.map(|distance| distance.psi),
    }
}
