//! Errors as RFC 9457 `application/problem+json`.

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

const NO_METHOD: &str = "The path does not take this method";

/// What went wrong with a request as a whole (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A URI that names the kind of problem.
    #[schema(example = "urn:evergreen:problem:model_not_found")]
    r#type: String,
    /// The kind of problem in a short sentence.
    #[schema(example = "There is no such model")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong with this request, and what to do.
    #[schema(example = "no model `chrun`; did you mean `churn`?")]
    detail: String,
}

/// The problems that any operation may answer with, for its description: one per status of the table.
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
            (StatusCode::METHOD_NOT_ALLOWED, NO_METHOD),
            (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body's content encoding is not known",
            ),
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
    let detail = format!("nothing is at {}; see /docs", uri.path());
    response(StatusCode::NOT_FOUND, "no_route", "There is no such path", detail)
}

pub(super) async fn no_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}; see /docs", uri.path());
    response(StatusCode::METHOD_NOT_ALLOWED, "no_method", NO_METHOD, detail)
}

/// The answer when a handler panicked; the server lives on.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the payload over")]
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = text, "a handler panicked");
    Error::internal(text.to_owned()).into_response()
}

/// Writes a refused request as `write` does, with the challenge that HTTP requires for a missing or unknown key.
pub(super) fn challenged(error: Error, write: fn(Error) -> Response) -> Response {
    let challenge = error.kind() == ErrorKind::Unauthenticated;
    let mut response = write(error);
    if challenge {
        let bearer = HeaderValue::from_static("Bearer realm=\"evergreen\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}
