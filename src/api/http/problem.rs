//! Converts errors to RFC 9457 `application/problem+json`, for REST and the operations port. Each such response carries
//! its [`Problem`], from which `error_format.rs` makes the errors of the Open Inference Protocol.

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, RefOr, ResponseBuilder, Type};
use utoipa::{IntoResponses, ToSchema};

use super::body::BODY;
use super::schema::labels;
use crate::api::status;
use crate::error::{Error, ErrorKind};
use crate::words::shorten::shorten_middle;

/// Maximum size of a detail in bytes: paths, methods and headers of clients are in them.
const DETAIL_BYTES: usize = 512;

const METHOD_NOT_ALLOWED_TITLE: &str = "Method not allowed";
const UNKNOWN_ENCODING_TITLE: &str = "Unknown content encoding";

/// Why a request failed as a whole (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// URI of the kind of problem.
    #[schema(value_type = ProblemType, example = "urn:evergreen:problem:model_not_found")]
    r#type: String,
    /// Short title of the kind of problem.
    #[schema(example = "Model not found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong with this request, and how to fix it.
    #[schema(example = "no model `chrun`; did you mean `churn`?")]
    pub(super) detail: String,
    /// The request was refused before its body was read whole, so that its connection cannot take another request.
    #[serde(skip)]
    #[schema(ignore)]
    pub(super) body_unread: bool,
}

const NO_ROUTE: &str = "no_route";
const NO_METHOD: &str = "no_method";
const UNKNOWN_ENCODING: &str = "unknown_encoding";

/// The URN of a kind of problem.
fn urn(label: &str) -> String {
    format!("urn:evergreen:problem:{label}")
}

labels! {
    /// URI of a kind of problem: of an error kind, or of a request that no operation answers.
    ProblemType = ErrorKind::ALL
        .iter()
        .map(|&kind| status::of(kind).label)
        .chain([NO_ROUTE, NO_METHOD, UNKNOWN_ENCODING])
        .map(urn)
}

/// The HTTP statuses of failed requests, each with the titles of its problems.
pub(super) fn failures() -> BTreeMap<String, String> {
    let kinds = ErrorKind::ALL.map(|kind| (status::of(kind).http, status::of(kind).title));
    let of_layers = [
        (StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED_TITLE),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, UNKNOWN_ENCODING_TITLE),
    ];
    let mut titles: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (status, title) in kinds.into_iter().chain(of_layers) {
        titles.entry(status.as_u16().to_string()).or_default().push(title);
    }
    titles
        .into_iter()
        .map(|(status, titles)| (status, titles.join("; ")))
        .collect()
}

/// Describes the failures of an operation, whose bodies have the schema `schema` and the media type `media_type`.
pub(super) fn described_failures(
    schema: &str,
    media_type: &str,
) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let response = |status: &str, title: String| {
        let schema = utoipa::openapi::Ref::from_schema_name(schema);
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new()
            .description(title)
            .content(media_type, content);
        with_headers(response, status).build()
    };
    failures()
        .into_iter()
        .map(|(status, title)| (status.clone(), response(&status, title).into()))
        .collect()
}

/// Describes the headers of failures with an HTTP status.
fn with_headers(response: ResponseBuilder, status: &str) -> ResponseBuilder {
    let header = |kind, docs: &str| {
        let schema = ObjectBuilder::new().schema_type(kind);
        HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(docs))
            .build()
    };
    let mut kinds = ErrorKind::ALL.iter().map(|&kind| status::of(kind));
    if kinds.any(|kind| kind.http.as_str() == status && kind.retry_after.is_some()) {
        let docs = "Seconds after which a retry may succeed.";
        return response.header("Retry-After", header(Type::Integer, docs));
    }
    if status == StatusCode::UNAUTHORIZED.as_str() {
        return response.header(
            "WWW-Authenticate",
            header(Type::String, "The scheme of API keys."),
        );
    }
    response
}

/// The problem responses of every operation, for the OpenAPI description: one per HTTP status.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described_failures(&Problem::name(), "application/problem+json")
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = status::of(self.kind());
        let detail = status::message(&self);
        let body_unread = match self.kind() {
            ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::TooSlow => true,
            // A request of too many entities has been read, and so has one that is above the rate of its client.
            ErrorKind::TooLarge | ErrorKind::ClientLimit => self.field() == Some(BODY),
            _ => false,
        };
        let problem = Problem::new(status.http, status.label, status.title, detail, body_unread);
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        if let Some(after) = status::retry_after(&self) {
            headers.insert(header::RETRY_AFTER, whole_seconds(after).into());
        }
        if self.kind() == ErrorKind::Unauthenticated {
            // HTTP requires a challenge for a missing or unknown key.
            let bearer = HeaderValue::from_static("Bearer realm=\"evergreen\"");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// Rounds up to whole seconds, as the header has no fractions.
fn whole_seconds(wait: Duration) -> u64 {
    let rounded = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    rounded.max(1)
}

impl Problem {
    fn new(status: StatusCode, label: &str, title: &'static str, detail: String, body_unread: bool) -> Self {
        Self {
            r#type: urn(label),
            title,
            status: status.as_u16(),
            detail: shorten_middle(&detail, DETAIL_BYTES),
            body_unread,
        }
    }
}

impl IntoResponse for Problem {
    /// Builds the response, which carries the problem for layers that format errors.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        response.extensions_mut().insert(self);
        response
    }
}

/// Builds the response to a request that its handler refuses before it reads the body.
pub(super) fn with_unread_body(error: Error) -> Response {
    let mut response = error.into_response();
    if let Some(problem) = response.extensions_mut().get_mut::<Problem>() {
        problem.body_unread = true;
    }
    response
}

/// Answers a request whose body has an encoding that the server cannot decode.
pub(super) fn unknown_encoding(found: Option<&HeaderValue>) -> Response {
    let detail = format!(
        "content-encoding: expected gzip, deflate, zstd or no such header, found {:?}",
        found.unwrap_or(&HeaderValue::from_static(""))
    );
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        UNKNOWN_ENCODING,
        UNKNOWN_ENCODING_TITLE,
        detail,
        true,
    )
    .into_response()
}

pub(super) async fn no_route(uri: Uri) -> Response {
    let detail = format!("unknown path {}; see /docs", uri.path());
    Problem::new(StatusCode::NOT_FOUND, NO_ROUTE, "Path not found", detail, true).into_response()
}

pub(super) async fn no_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not support {method}; see /docs", uri.path());
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        NO_METHOD,
        METHOD_NOT_ALLOWED_TITLE,
        detail,
        true,
    )
    .into_response()
}

/// Answers a request whose handler panicked. The server continues.
pub(super) fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged it.
    Error::internal("the handler panicked".to_owned()).into_response()
}
