//! Converts errors to RFC 9457 `application/problem+json`, for REST and the operations port.

use std::any::Any;
use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::api::status;
use crate::error::{Error, ErrorKind};

const METHOD_NOT_ALLOWED_TITLE: &str = "Method not allowed";

/// Why a request failed as a whole (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// URI of the kind of problem.
    #[schema(example = "urn:evergreen:problem:model_not_found")]
    r#type: String,
    /// Short title of the kind of problem.
    #[schema(example = "Model not found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong with this request, and how to fix it.
    #[schema(example = "no model `chrun`; did you mean `churn`?")]
    detail: String,
}

/// The problem responses of every operation, for the OpenAPI description: one per HTTP status.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut titles: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for kind in ErrorKind::ALL {
            let status = status::of(kind);
            titles
                .entry(status.http.as_u16().to_string())
                .or_default()
                .push(status.title);
        }
        let of_layers = [
            (StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED_TITLE),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unknown content encoding"),
        ];
        for (status, title) in of_layers {
            titles.insert(status.as_u16().to_string(), vec![title]);
        }
        let content = || {
            let schema = utoipa::openapi::Ref::from_schema_name(Problem::name());
            ContentBuilder::new().schema(Some(schema)).build()
        };
        let response = |titles: Vec<&str>| {
            ResponseBuilder::new()
                .description(titles.join("; "))
                .content("application/problem+json", content())
                .build()
        };
        titles
            .into_iter()
            .map(|(status, titles)| (status, response(titles).into()))
            .collect()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = status::of(self.kind());
        let detail = status::message(&self);
        let mut response = response(status.http, status.label, status.title, detail);
        if let Some(after) = status.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, after.as_secs().into());
        }
        response
    }
}

fn response(status: StatusCode, label: &str, title: &'static str, detail: String) -> Response {
    let r#type = format!("urn:evergreen:problem:{label}");
    let mut response = (
        status,
        Json(Problem {
            r#type,
            title,
            status: status.as_u16(),
            detail,
        }),
    )
        .into_response();
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

pub(super) async fn no_route(uri: Uri) -> Response {
    let detail = format!("unknown path {}; see /docs", uri.path());
    response(StatusCode::NOT_FOUND, "no_route", "Path not found", detail)
}

pub(super) async fn no_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not support {method}; see /docs", uri.path());
    response(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_method",
        METHOD_NOT_ALLOWED_TITLE,
        detail,
    )
}

/// Answers a request whose handler panicked. The server continues.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer passes the payload by value"
)]
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = text, "handler panicked");
    Error::internal(text.to_owned()).into_response()
}

/// Builds the response with `write`, and adds the challenge that HTTP requires for a missing or unknown key.
pub(super) fn with_challenge(error: Error, write: fn(Error) -> Response) -> Response {
    let challenge = error.kind() == ErrorKind::Unauthenticated;
    let mut response = write(error);
    if challenge {
        let bearer = HeaderValue::from_static("Bearer realm=\"evergreen\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}
