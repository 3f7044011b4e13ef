//! `GET /v1/models/{model}/ranking`: all customers of the snapshot, ranked.

mod export;
pub(super) mod listed;
pub(super) mod parameters;
mod table;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::HttpState;
use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{PathParameters, path};
use super::problem::Problems;
use super::schema::lines;
use crate::api::client::RequestClient;
use crate::api::context::deadline::{earlier, within};
use crate::api::context::record_model;
use crate::api::ranking;
use crate::error::Error;
use crate::memory;
use crate::scoring::Client;
use crate::scoring::ranking::RankedList;
use crate::work;
use export::Export;
use parameters::{Format, RankingParameters, RankingRequest, RankingRequestParameters};
use wire::{ItemBody, Items, RankingBody};

/// Approximate size of the answer around its customers, as text in bytes.
const HEAD_TEXT: usize = 1024;

/// Ranks all customers of the snapshot by the score of the live version. The ranking is computed in the background whenever
/// the live version or the snapshot changes; the last one answers meanwhile. A page token is good for the ranking that it is
/// from: after a change of the ranking it is refused (409), and the first page is the place to begin again.
#[utoipa::path(
    get, path = "/v1/models/{model}/ranking", tag = "ranking",
    params(("model" = String, Path, example = "churn"), RankingParameters, RequestHeaders),
    responses(
        (status = 200, description = "A page of the ranking, or all of it", content(
            (RankingBody = "application/json"), (RankingTable = "text/csv"), (RankingLines = "application/x-ndjson"),
        )),
        Problems,
    )
)]
pub(super) async fn ranking(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<String>,
    RankingRequestParameters(request): RankingRequestParameters,
) -> Result<Response, Error> {
    let exports = request
        .as_ref()
        .is_ok_and(|request| request.format != Format::Json);
    let counters = match exports {
        true => state.counters.export.clone(),
        false => state.counters.ranking.clone(),
    };
    let result = async {
        let deadline = deadline?;
        let name = path(parameters)?;
        record_model(&name);
        let request = request?;
        let list = async {
            let exclusion = ranking::exclusion(
                state.outcomes.as_ref(),
                &state.rankings,
                &client,
                &name,
                &request.query,
            )
            .await?;
            state
                .rankings
                .list(&client, &name, &request.query, exclusion)
                .await
        };
        let list = within(deadline, list).await?;
        counters.answered_by(list.ranking().model());
        let start = list.start(request.page_token.as_deref())?;
        match request.format {
            Format::Json => within(deadline, page(&state, &client, list, start, request, deadline)).await,
            Format::Csv | Format::Lines => {
                let seconds = Duration::from_secs(state.streams.settings.seconds);
                let export = Export {
                    client: client.in_bulk(),
                    list: Arc::new(list),
                    fields: Arc::new(request.query.fields),
                    format: request.format,
                    deadline: earlier(deadline, Instant::now().checked_add(seconds)),
                    memory: memory::current(),
                    state: state.clone(),
                };
                within(deadline, export.answer(start)).await
            }
        }
    };
    counters.count(result.await)
}

/// Answers with one page.
async fn page(
    state: &HttpState,
    client: &Client,
    list: RankedList,
    start: usize,
    request: RankingRequest,
    deadline: Option<Instant>,
) -> Result<Response, Error> {
    let fields = request.query.fields;
    let most = request.page_size.min(state.scorer.limits().batch);
    let items = list.items(&state.rankings, client, start, most, deadline).await?;
    let contacts =
        ranking::contacts(state.outcomes.as_ref(), &fields, list.ranking().model(), &items).await?;
    let token = list.token(start + items.len());
    let bytes = HEAD_TEXT + list.page_bytes(items.len());
    let write = move || {
        let of_page = Items {
            model: list.ranking().model(),
            fields: &fields,
            inputs: list.inputs(),
            items: &items,
            contacts: &contacts,
        };
        body::answer(&RankingBody::new(&list, of_page, token), bytes)
    };
    Ok(personal(work::on_bytes(bytes, write).await??))
}

/// Forbids caches to keep personal data.
pub(super) fn personal(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// The ranking as a table.
struct RankingTable;

impl PartialSchema for RankingTable {
    fn schema() -> RefOr<Schema> {
        let docs = "A header and a row per customer. A text that a spreadsheet would take for a formula begins with an \
                    apostrophe.";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(docs))
            .into()
    }
}

impl ToSchema for RankingTable {}

/// The ranking as JSON lines.
struct RankingLines;

impl PartialSchema for RankingLines {
    fn schema() -> RefOr<Schema> {
        lines("One customer per line, as a JSON object.", &ItemBody::name())
    }
}

impl ToSchema for RankingLines {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ItemBody::name().into(), ItemBody::schema()));
        ItemBody::schemas(schemas);
    }
}
