//! The deadline of a request, for handlers.

use std::convert::Infallible;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::IntoParams;

use crate::api::context::deadline;
use crate::error::Error;

/// What a request may carry beside its body.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only describes the headers")]
pub(super) struct RequestHeaders {
    /// Milliseconds after which the client stops waiting, and the server should stop working (504).
    #[param(rename = "X-Request-Timeout-Ms", minimum = 1)]
    timeout: Option<u64>,
    /// The request's id in logs, echoed; without one, one is made.
    #[param(rename = "X-Request-Id", max_length = 128)]
    id: Option<String>,
}

/// When the client stops waiting, or why that cannot be read: the handler says so in its protocol's words.
pub(super) struct DeadlineHeader(pub(super) Result<Option<Instant>, Error>);

impl<S: Sync> FromRequestParts<S> for DeadlineHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(deadline::of(&parts.extensions)))
    }
}
