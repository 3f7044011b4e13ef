//! `POST /v1/outcomes`: what was done about customers, and whether they stayed.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::HttpState;
use super::body::Body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::problem::Problems;
use super::schema::{Id, labels};
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::record::outcomes::interface::Recorded;
use crate::record::outcomes::{ActionTaken, CustomerResult, OutcomeDraft, OutcomeRecord, TimeLimits};
use crate::record::service::OutcomeService;
use crate::scoring::{Client, LiveSet};
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::json::Scalar;
use crate::words::counted;

labels! {
    /// What was done about a customer.
    ActionName = ActionTaken::ALL.map(ActionTaken::label)
}

labels! {
    /// Whether a customer was there.
    CustomerResultName = CustomerResult::ALL.map(CustomerResult::label)
}

/// What happened to customers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    deny_unknown_fields,
    expecting = r#"an object such as {"outcomes": [{"customer": "C-1042", "result": "left", "time": "2026-03-01"}]}"#
)]
pub(super) struct OutcomesBody {
    /// What happened; at least one, at most `limits.batch`. All of them are kept, or none.
    #[schema(min_items = 1)]
    outcomes: Vec<OutcomeBody>,
}

/// What happened to a customer at one time. `action`, `result` or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    deny_unknown_fields,
    expecting = r#"an object such as {"customer": "C-1042", "result": "left", "time": "2026-03-01"}"#
)]
struct OutcomeBody {
    /// Id of this record, up to 128 bytes, of the client's own choice. A record with a known id of the same customer replaces
    /// the earlier one, so that a retry counts once and a mistake can be corrected. Default: `time`, `action` and `result`
    /// together.
    #[serde(default)]
    #[schema(example = "crm-81723")]
    id: Option<String>,
    /// The customer's id, as in score requests.
    #[schema(example = "C-1042", value_type = Id)]
    #[serde(deserialize_with = "customer")]
    customer: EntityId,
    /// The model. Default: the only one.
    #[serde(default)]
    #[schema(example = "churn")]
    model: Option<String>,
    /// What was done: `call`, `offer`, or `none`, on purpose.
    #[serde(default)]
    #[schema(value_type = Option<ActionName>, example = "call")]
    action: Option<String>,
    /// Which call or offer, up to 128 bytes.
    #[serde(default)]
    #[schema(example = "yearly contract")]
    detail: Option<String>,
    /// `stayed`: the customer was there at `time`; `left`: the customer left then.
    #[serde(default)]
    #[schema(value_type = Option<CustomerResultName>, example = "stayed")]
    result: Option<String>,
    /// When it happened: RFC 3339, a date, or seconds since the Unix epoch.
    #[schema(value_type = String, example = "2026-11-20T09:30:00Z")]
    time: Scalar,
}

fn customer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntityId, D::Error> {
    use serde::de::Error as _;
    match Scalar::deserialize(deserializer)? {
        Scalar::Text(text) => Ok(EntityId::Text(text)),
        Scalar::Int(number) => Ok(EntityId::Int(number)),
        _ => Err(D::Error::custom("expected an id: a text or a whole number")),
    }
}

/// What became of the outcomes of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordedBody {
    /// New ones.
    #[schema(example = 2)]
    recorded: usize,
    /// Those that replaced an earlier record of the same id.
    #[schema(example = 0)]
    replaced: usize,
    /// Those that were known already, such as those of a repeated request.
    #[schema(example = 1)]
    duplicates: usize,
    /// The same as a sentence.
    #[schema(example = "2 outcomes recorded, 0 replaced, 1 known already.")]
    text: String,
}

/// Records what was done about customers and whether they stayed. A repeated request changes nothing. Once answered, they are
/// kept, also over a crash.
#[utoipa::path(
    post, path = "/v1/outcomes", tag = "outcomes", params(RequestHeaders),
    request_body(content = OutcomesBody, example = json!({"outcomes": [
        {"customer": "C-1042", "model": "churn", "action": "call", "time": "2026-11-20T09:30:00Z"},
        {"customer": "C-1042", "model": "churn", "result": "stayed", "time": "2026-11-27"}
    ]})),
    responses(
        (status = 200, description = "What became of them", body = RecordedBody),
        Problems,
    )
)]
pub(super) async fn record(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    body: Body,
) -> Result<Json<RecordedBody>, Error> {
    let result = async {
        let deadline = deadline?;
        let body: OutcomesBody = body.json().await?;
        let service = service(&state)?;
        let most = state.scorer.limits().batch;
        let found = body.outcomes.len();
        if found == 0 {
            return Err(Error::invalid("no outcomes to record; send at least one").about("outcomes"));
        }
        if found > most {
            return Err(Error::too_large(format!(
                "{found} outcomes in one request; limits.batch allows {most}"
            )));
        }
        // Writing one costs about as much as a score, so they share the client's rate.
        client.charge(found)?;
        let (live, limits) = (state.scorer.live(), service.time_limits());
        let check = move || checked(body.outcomes, &live, &client, limits);
        let records = crate::work::on_bytes(found * CHECK_BYTES, check).await??;
        let recorded = within(deadline, service.record(records)).await?;
        Ok(recorded_body(&recorded))
    };
    state.counters.outcomes.count(result.await).map(Json)
}

/// What checking an outcome costs, in bytes that are parsed.
const CHECK_BYTES: usize = 512;

/// The store of outcomes.
///
/// # Errors
/// The settings name none.
pub(super) fn service(state: &HttpState) -> Result<&OutcomeService, Error> {
    crate::api::ranking::outcomes(state.outcomes.as_ref())
}

fn checked(
    outcomes: Vec<OutcomeBody>,
    live: &LiveSet,
    client: &Client,
    limits: TimeLimits,
) -> Result<Vec<OutcomeRecord>, Error> {
    let outcomes = outcomes.iter().enumerate();
    let records = outcomes.map(|(position, outcome)| {
        let place = format!("outcomes[{position}]");
        let model = model_name(outcome.model.as_deref(), live, client);
        let record = model.and_then(|model| outcome.check(model, limits));
        record.map_err(|error| match error.field() {
            Some(field) => {
                let place = format!("{place}.{field}");
                error.within(&place).about(place)
            }
            None => error.within(&place),
        })
    });
    records.collect()
}

impl OutcomeBody {
    /// Checks the fields; `model` is the name of a model of the repository.
    fn check(&self, model: String, limits: TimeLimits) -> Result<OutcomeRecord, Error> {
        let draft = OutcomeDraft {
            id: self.id.as_deref(),
            customer: Some(self.customer.clone()),
            model,
            action: self.action.as_deref(),
            detail: self.detail.as_deref(),
            result: self.result.as_deref(),
            time: Some(cell(&self.time)),
        };
        draft.check(limits)
    }
}

impl OutcomesBody {
    /// Checks outcomes of any model, for the fuzz targets.
    #[cfg(feature = "fuzzing")]
    pub(super) fn into_records(self, limits: TimeLimits) -> Result<Vec<OutcomeRecord>, Error> {
        let name = |outcome: &OutcomeBody| outcome.model.clone().unwrap_or_default();
        self.outcomes
            .iter()
            .map(|outcome| outcome.check(name(outcome), limits))
            .collect()
    }
}

/// The model that an outcome is about: the named one, or the only one that the client may use.
fn model_name(name: Option<&str>, live: &LiveSet, client: &Client) -> Result<String, Error> {
    if let Some(name) = name {
        client.check_model(name)?;
        live.entry(name)?;
        return Ok(name.to_owned());
    }
    let mut models = live
        .models()
        .map(|(name, _)| name)
        .filter(|name| client.may_use(name));
    match (models.next(), models.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        (first, second) => {
            let known: Vec<&str> = [first, second]
                .into_iter()
                .flatten()
                .chain(models.take(8))
                .collect();
            Err(Error::invalid(format!(
                "expected `model`, as there is not exactly one; the models are: {}",
                known.join(", ")
            ))
            .about("model"))
        }
    }
}

fn cell(scalar: &Scalar) -> Cell<'_> {
    match scalar {
        Scalar::Null | Scalar::Other(_) => Cell::Null,
        Scalar::Bool(value) => Cell::Bool(*value),
        Scalar::Int(value) => Cell::Int(*value),
        Scalar::Float(value) => Cell::Float(*value),
        Scalar::Text(text) => Cell::Text(text),
        Scalar::Digits(digits) => Cell::Untyped(digits),
    }
}

fn recorded_body(recorded: &Recorded) -> RecordedBody {
    let [new, replaced, known] = [&recorded.new, &recorded.replaced, &recorded.known].map(Vec::len);
    let text = format!(
        "{} recorded, {replaced} replaced, {known} known already.",
        counted(new, "outcome")
    );
    RecordedBody {
        recorded: new,
        replaced,
        duplicates: known,
        text,
    }
}
