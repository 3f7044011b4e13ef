//! `GET /v1/models/{model}/performance`: what a model's scores turned out to be worth.

use axum::extract::State;
use axum::response::Response;

use super::HttpState;
use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::outcomes::service;
use super::parameters::{PathParameters, path};
use super::problem::Problems;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::error::Error;
use crate::record::performance::report::PerformanceReport;
use crate::scoring::{ModelRef, VersionSelector};
use crate::work;

/// Approximate size of a version's report, as text in bytes.
const VERSION_TEXT: usize = 32 << 10;

/// Compares the scores of a model with recorded outcomes, by version and by week, and says what scores promise whose outcome
/// is not known yet. At most `outcomes.refresh` old.
#[utoipa::path(
    get, path = "/v1/models/{model}/performance", tag = "outcomes",
    params(("model" = String, Path, example = "churn"), RequestHeaders),
    responses(
        (status = 200, description = "The performance", body = PerformanceReport),
        Problems,
    )
)]
pub(super) async fn performance(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<String>,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let name = path(parameters)?;
        record_model(&name);
        let model = ModelRef {
            name,
            version: VersionSelector::Live,
        };
        let live = state.scorer.live().find_for(&client, &model)?.clone();
        let report = within(deadline, service(&state)?.performance(&live)).await?;
        let bytes = VERSION_TEXT * (1 + report.versions.len());
        work::on_bytes(bytes, move || body::answer(&*report, bytes)).await?
    };
    state.counters.performance.count(result.await)
}
