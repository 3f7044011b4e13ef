//! Query parameters of the ranking.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use utoipa::IntoParams;

use super::super::parameters::whole;
use super::super::schema::labels;
use crate::api::ranking::{self, ListOptions};
use crate::error::Error;
use crate::scoring::ranking::{Order, RankingQuery};
use crate::suggest::unknown;

/// The form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::api::http) enum Format {
    /// One page.
    #[default]
    Json,
    /// Every customer, as a table.
    Csv,
    /// Every customer, one JSON object per line.
    Lines,
}

/// The formats by their names.
const FORMATS: [(&str, Format); 3] = [
    ("json", Format::Json),
    ("csv", Format::Csv),
    ("ndjson", Format::Lines),
];

labels! {
    /// The form of the answer.
    FormatName = FORMATS.map(|(name, _)| name)
}

labels! {
    /// The order of customers. Equal values are in the order of the ids; `asc` is `desc` reversed.
    OrderName = Order::NAMES
}

/// The query parameters of the ranking.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameters")]
pub(super) struct RankingParameters {
    /// Customers on a page. More than 1000 counts as 1000. Default: 50.
    #[param(value_type = Option<usize>, example = 50)]
    page_size: usize,
    /// `next_page_token` of the last page, with the same order and filters. Default: the first page.
    #[param(value_type = Option<String>)]
    page_token: String,
    /// Names of bands, with commas. Default: all.
    #[param(value_type = Option<String>, example = "high,medium")]
    band: String,
    /// A part of the id, in any case of its letters, up to 128 bytes.
    #[param(value_type = Option<String>, example = "c-10")]
    search: String,
    /// A feature with `=`, `!=`, `<`, `<=`, `>` or `>=` and a value, up to eight times. No value means a missing one. All
    /// must match.
    #[param(value_type = Option<Vec<String>>, example = json!(["visits_30d<=2"]))]
    filter: Vec<String>,
    /// The order. Default: `score desc`.
    #[param(value_type = Option<OrderName>, example = "score desc")]
    order_by: String,
    /// What to return of each customer, with commas: `rank`, `id`, `score`, `band`, `change`, `contact`, `hold_out`,
    /// `reasons`, `features`. Default: `rank,id,score,band`.
    #[param(value_type = Option<String>, example = "id,score,reasons")]
    fields: String,
    /// Number of reasons, 1 to 8, with `reasons` among `fields`. Default: 3.
    #[param(value_type = Option<usize>)]
    reasons: usize,
    /// Names of features, with commas, with `features` among `fields`. Default: all.
    #[param(value_type = Option<String>)]
    features: String,
    /// Leaves out customers with a call or an offer in so many days, 0 to 365, and those who have left. Default: nobody.
    #[param(value_type = Option<u32>)]
    hide_contacted_days: u32,
    /// `json`: a page; `csv` or `ndjson`: every customer from `page_token` on, as a stream. Default: `json`.
    #[param(value_type = Option<FormatName>, example = "json")]
    format: String,
}

/// Parameters of a request for a ranking.
#[derive(Debug, Default)]
pub(in crate::api::http) struct RankingRequest {
    pub(super) query: RankingQuery,
    pub(super) page_size: usize,
    pub(super) page_token: Option<String>,
    pub(super) format: Format,
}

/// The parameters of a request, or which one is wrong. The handler reports the error.
pub(in crate::api::http) struct RankingRequestParameters(pub(super) Result<RankingRequest, Error>);

impl<S: Sync> FromRequestParts<S> for RankingRequestParameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let wrong = |_| Error::invalid("query: expected pairs such as ?band=high").about("query");
        Ok(Self(pairs.map_err(wrong).and_then(|Query(pairs)| request(pairs))))
    }
}

const NAMES: [&str; 11] = [
    "page_size",
    "page_token",
    "band",
    "search",
    "filter",
    "order_by",
    "fields",
    "reasons",
    "features",
    "hide_contacted_days",
    "format",
];

fn request(pairs: Vec<(String, String)>) -> Result<RankingRequest, Error> {
    let mut options = ListOptions::default();
    let (mut page_size, mut page_token, mut bands) = (None, None, None);
    let (mut fields, mut format) = (None, None);
    for (name, value) in pairs {
        let twice = match name.as_str() {
            "page_size" => page_size.replace(whole(&name, &value)?).is_some(),
            "page_token" => page_token.replace(ranking::page_token(value)?).is_some(),
            "band" => bands.replace(list(&value)).is_some(),
            "search" => options.search.replace(value).is_some(),
            "filter" => {
                options.filters.push(value);
                false
            }
            "order_by" => options.order_by.replace(value).is_some(),
            "fields" => fields.replace(list(&value)).is_some(),
            "reasons" => options.reasons.replace(whole(&name, &value)?).is_some(),
            "features" => options.features.replace(list(&value)).is_some(),
            "hide_contacted_days" => options
                .hide_contacted_days
                .replace(whole(&name, &value)?)
                .is_some(),
            "format" => format.replace(format_of(&value)?).is_some(),
            _ => {
                let message = unknown("query parameter", &name, NAMES.into_iter());
                return Err(Error::invalid(message).about(name));
            }
        };
        if twice {
            return Err(Error::invalid(format!("query: `{name}` is given twice; keep one")).about(name));
        }
    }
    options.bands = bands.unwrap_or_default();
    options.fields = fields.unwrap_or_default();
    Ok(RankingRequest {
        query: options.query()?,
        page_size: ranking::page_size(page_size.unwrap_or_default()),
        page_token,
        format: format.unwrap_or_default(),
    })
}

/// The parts of a list with commas.
pub(super) fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn format_of(text: &str) -> Result<Format, Error> {
    let found = FORMATS.iter().find(|(name, _)| *name == text);
    found.map(|(_, format)| *format).ok_or_else(|| {
        let known = FORMATS.iter().map(|(name, _)| *name);
        Error::invalid(format!("format: {}", unknown("format", text, known))).about("format")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::ranking::OrderKey;

    fn parse(pairs: &[(&str, &str)]) -> Result<RankingRequest, Error> {
        let pairs = pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        request(pairs.collect())
    }

    #[test]
    fn reads_the_parameters() {
        let found = parse(&[]).unwrap();
        assert_eq!((found.page_size, found.format), (50, Format::Json));
        let found = parse(&[
            ("page_size", "5000"),
            ("band", "high, low,"),
            ("filter", "a=1"),
            ("filter", "b<2"),
            ("order_by", "change asc"),
            ("hide_contacted_days", "30"),
            ("format", "csv"),
        ])
        .unwrap();
        assert_eq!((found.page_size, found.format), (1000, Format::Csv));
        assert_eq!((found.query.bands.len(), found.query.filters.len()), (2, 2));
        assert_eq!(found.query.order.key, OrderKey::Change);
        assert_eq!(found.query.hide_contacted_days, Some(30));
    }

    #[test]
    fn an_error_names_the_parameter() {
        for (pairs, field, part) in [
            (&[("page_size", "-1")][..], "page_size", "expected a whole number"),
            (&[("bands", "high")], "bands", "did you mean `band`?"),
            (&[("band", "a"), ("band", "b")], "band", "given twice"),
            (&[("order_by", "risk")], "order_by", "no order `risk`"),
            (&[("fields", "scores")], "fields", "did you mean `score`?"),
            (
                &[("hide_contacted_days", "400")],
                "hide_contacted_days",
                "expected 0 to 365",
            ),
            (
                &[("format", "xlsx")],
                "format",
                "expected one of json, csv, ndjson",
            ),
        ] {
            let error = parse(pairs).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
