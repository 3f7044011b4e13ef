//! `GET /v1/outcomes`: what is recorded of a customer.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::HttpState;
use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::outcomes::{ActionName, CustomerResultName, service};
use super::problem::Problems;
use super::ranking::personal;
use super::schema::Id;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::record::outcomes::OutcomeRecord;
use crate::scoring::{Client, LiveSet};
use crate::suggest::unknown;
use crate::values::entity_id::EntityId;

/// Approximate size of an outcome as text in bytes.
const OUTCOME_TEXT: usize = 256;

/// What is recorded of a customer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryBody<'a> {
    /// The customer's id.
    #[schema(value_type = Id, example = "C-1042")]
    customer: &'a str,
    /// The outcomes, the newest first, at most 100.
    outcomes: Vec<RecordedOutcome<'a>>,
}

/// What happened to a customer at one time.
#[derive(Debug, Serialize, ToSchema)]
struct RecordedOutcome<'a> {
    /// The id of the record, if its client gave one.
    #[schema(required = true, example = "crm-81723")]
    id: Option<&'a str>,
    /// The model.
    #[schema(example = "churn")]
    model: &'a str,
    /// What was done.
    #[schema(required = true, value_type = Option<ActionName>, example = "call")]
    action: Option<&'a str>,
    /// Which call or offer.
    #[schema(required = true, example = "yearly contract")]
    detail: Option<&'a str>,
    /// Whether the customer was there.
    #[schema(required = true, value_type = Option<CustomerResultName>, example = "stayed")]
    result: Option<&'a str>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime, example = "2026-11-20T09:30:00Z")]
    time: Option<Timestamp>,
}

/// The query parameters.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameters")]
pub(super) struct HistoryParameters {
    /// The customer's id.
    #[param(example = "C-1042")]
    customer: String,
    /// The model. Default: every model.
    #[param(value_type = Option<String>, example = "churn")]
    model: String,
}

/// The customer and the model that a request asks for, or what is wrong with it.
pub(super) struct HistoryQuery(Result<(String, Option<String>), Error>);

impl<S: Sync> FromRequestParts<S> for HistoryQuery {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let wrong = |_| Error::invalid("query: expected pairs such as ?customer=C-1042").about("query");
        Ok(Self(pairs.map_err(wrong).and_then(|Query(pairs)| query(pairs))))
    }
}

fn query(pairs: Vec<(String, String)>) -> Result<(String, Option<String>), Error> {
    let (mut customer, mut model) = (None, None);
    for (name, value) in pairs {
        let twice = match name.as_str() {
            "customer" => customer.replace(value).is_some(),
            "model" => model.replace(value).is_some(),
            _ => {
                let message = unknown("query parameter", &name, ["customer", "model"].into_iter());
                return Err(Error::invalid(message).about(name));
            }
        };
        if twice {
            return Err(Error::invalid(format!("query: `{name}` is given twice; keep one")).about(name));
        }
    }
    let customer = customer.filter(|customer| !customer.is_empty()).ok_or_else(|| {
        Error::invalid("customer: expected an id such as C-1042, found nothing").about("customer")
    })?;
    Ok((customer, model))
}

/// Shows what was done about a customer and whether the customer stayed, as it was recorded.
#[utoipa::path(
    get, path = "/v1/outcomes", tag = "outcomes", params(HistoryParameters, RequestHeaders),
    responses(
        (status = 200, description = "What is recorded, the newest first", body = HistoryBody),
        Problems,
    )
)]
pub(super) async fn of_customer(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    HistoryQuery(query): HistoryQuery,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let (customer, model) = query?;
        let service = service(&state)?;
        let models = models(model, &state.scorer.live(), &client)?;
        let id = EntityId::Text(customer.clone());
        let records = within(deadline, service.of_customer(models, &id)).await?;
        let body = HistoryBody {
            customer: &customer,
            outcomes: records.iter().map(Into::into).collect(),
        };
        Ok(personal(body::answer(&body, OUTCOME_TEXT * (1 + records.len()))?))
    };
    state.counters.get_outcomes.count(result.await)
}

/// The models that are asked for: the named one, or all that the client may use.
fn models(name: Option<String>, live: &LiveSet, client: &Client) -> Result<Vec<String>, Error> {
    match name {
        Some(name) => {
            client.check_model(&name)?;
            live.entry(&name)?;
            Ok(vec![name])
        }
        None => {
            let models = live.models().map(|(name, _)| name);
            Ok(models
                .filter(|name| client.may_use(name))
                .map(str::to_owned)
                .collect())
        }
    }
}

impl<'a> From<&'a OutcomeRecord> for RecordedOutcome<'a> {
    fn from(record: &'a OutcomeRecord) -> Self {
        Self {
            id: record.own_id(),
            model: &record.model,
            action: record.action.map(|action| action.label()),
            detail: record.detail.as_deref(),
            result: record.result.map(|result| result.label()),
            time: Timestamp::from_microsecond(record.at).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_customer_is_needed_and_nothing_else_is_known() {
        let parse = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            query(pairs.collect())
        };
        assert_eq!(parse(&[("customer", "a")]).unwrap(), ("a".to_owned(), None));
        for (pairs, field) in [
            (&[][..], "customer"),
            (&[("customer", "")], "customer"),
            (&[("customer", "a"), ("customer", "b")], "customer"),
            (&[("custmer", "a")], "custmer"),
        ] {
            assert_eq!(parse(pairs).unwrap_err().field(), Some(field));
        }
    }
}
