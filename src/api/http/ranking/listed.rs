//! `POST /v1/models/{model}/ranking`: the customers that a request lists, ranked.

use std::fmt;

use axum::extract::State;
use axum::response::Response;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::super::HttpState;
use super::super::body::{self, Body};
use super::super::deadline::{DeadlineHeader, RequestHeaders};
use super::super::parameters::{PathParameters, path};
use super::super::problem::Problems;
use super::super::schema::Id;
use super::parameters::OrderName;
use super::wire::{Items, ListedBody};
use super::{HEAD_TEXT, personal};
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::api::ranking::{self, ListOptions};
use crate::error::Error;
use crate::values::entity_id::EntityId;
use crate::values::json::Scalar;
use crate::work;

/// Approximate size of a customer as text in bytes, without reasons.
const ITEM_TEXT: usize = 512;

/// Approximate size of a feature as JSON.
const FEATURE_TEXT: usize = 96;
const REASON_TEXT: usize = 1024;

/// Customers to rank.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    deny_unknown_fields,
    expecting = r#"an object such as {"ids": ["C-1042"], "fields": ["id", "score"]}"#
)]
pub(in crate::api::http) struct RankIdsBody {
    /// Ids, at most `limits.batch`. One that is listed twice counts once.
    #[schema(value_type = Vec<Id>, min_items = 1, example = json!(["C-1042", "C-4"]))]
    ids: Vec<ListedId>,
    /// Names of bands. Default: all.
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = false)]
    band: Names,
    /// A part of the id, in any case of its letters.
    search: Option<String>,
    /// Features with a comparison and a value, such as `visits_30d<=2`. All must match.
    #[serde(default)]
    #[schema(max_items = 8)]
    filter: Vec<String>,
    /// The order. Default: `score desc`.
    #[schema(value_type = Option<OrderName>)]
    order_by: Option<String>,
    /// What to return of each customer: `rank`, `id`, `score`, `band`, `change`, `contact`, `hold_out`, `reasons`, `features`.
    /// Default: `rank`, `id`, `score` and `band`.
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = false)]
    fields: Names,
    /// Number of reasons, 1 to 8, with `reasons` among `fields`. Default: 3.
    reasons: Option<u64>,
    /// Names of features, with `features` among `fields`. Default: all.
    #[schema(value_type = Option<Vec<String>>)]
    features: Option<Names>,
    /// Leaves out customers with a call or an offer in so many days, 0 to 365, and those who have left. Default: nobody.
    hide_contacted_days: Option<u64>,
}

/// Names in a list, or in one text with commas, as query parameters have them.
#[derive(Debug, Default)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names(super::parameters::list(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(NamesVisitor)
    }
}

/// The id of a customer.
#[derive(Debug)]
struct ListedId(EntityId);

impl<'de> Deserialize<'de> for ListedId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Ok(Self(EntityId::Text(text))),
            Scalar::Int(number) => Ok(Self(EntityId::Int(number))),
            _ => Err(D::Error::custom("expected an id: a text or a whole number")),
        }
    }
}

/// Ranks the listed customers by the score of the live version, in one batch: for a list that somebody brings, and for models
/// whose customers cannot be enumerated. Ranks and bands are those among the listed customers.
#[utoipa::path(
    post, path = "/v1/models/{model}/ranking", tag = "ranking",
    params(("model" = String, Path, example = "churn"), RequestHeaders),
    request_body(content = RankIdsBody, example = json!({"ids": ["C-1042", "C-4"], "fields": ["rank", "id", "score"]})),
    responses(
        (status = 200, description = "The listed customers, ranked", body = ListedBody),
        Problems,
    )
)]
pub(in crate::api::http) async fn rank_ids(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<String>,
    body: Body,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let name = path(parameters)?;
        record_model(&name);
        let body: RankIdsBody = body.json().await?;
        let options = ListOptions {
            bands: body.band.0,
            search: body.search,
            filters: body.filter,
            order_by: body.order_by,
            fields: body.fields.0,
            reasons: body.reasons,
            features: body.features.map(|names| names.0),
            hide_contacted_days: body.hide_contacted_days,
        };
        let query = options.query()?;
        let ids = body.ids.into_iter().map(|id| id.0).collect();
        let fields = query.fields.clone();
        let work = async {
            let exclusion =
                ranking::exclusion(state.outcomes.as_ref(), &state.rankings, &client, &name, &query).await?;
            let ranked = state
                .rankings
                .rank_ids(&client, &name, ids, query, exclusion, deadline)
                .await?;
            let contacts =
                ranking::contacts(state.outcomes.as_ref(), &fields, &ranked.model, &ranked.items).await?;
            Ok((ranked, contacts))
        };
        let (ranked, contacts) = within(deadline, work).await?;
        state.counters.rank_ids.answered_by(&ranked.model);
        let item = ITEM_TEXT + fields.reasons * REASON_TEXT + ranked.inputs.len() * FEATURE_TEXT;
        let bytes = HEAD_TEXT + ranked.items.len() * item;
        let write = move || {
            let items = Items {
                model: &ranked.model,
                fields: &fields,
                inputs: &ranked.inputs,
                items: &ranked.items,
                contacts: &contacts,
            };
            body::answer(&ListedBody::new(&ranked, items), bytes)
        };
        Ok(personal(work::on_bytes(bytes, write).await??))
    };
    state.counters.rank_ids.count(result.await)
}
