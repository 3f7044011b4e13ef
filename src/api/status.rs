//! The one table from kinds of errors to what each protocol says.

use std::time::Duration;

use axum::http::StatusCode;
use tonic::Code;

use crate::error::{Error, ErrorKind};

/// How an error looks from outside.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// REST and Open Inference over HTTP.
    pub http: StatusCode,
    /// gRPC.
    pub grpc: Code,
    /// Metrics and `problem+json`.
    pub label: &'static str,
    /// A short sentence, the same for all errors of the kind.
    pub title: &'static str,
    /// When to come again with the same request, where that may help.
    pub retry_after: Option<Duration>,
}

const fn row(http: StatusCode, grpc: Code, label: &'static str, title: &'static str) -> Status {
    Status {
        http,
        grpc,
        label,
        title,
        retry_after: None,
    }
}

impl Status {
    const fn retry_after_seconds(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(seconds)),
            ..self
        }
    }
}

/// The table.
pub fn of(kind: ErrorKind) -> Status {
    use StatusCode as Http;
    match kind {
        ErrorKind::Invalid => row(
            Http::BAD_REQUEST,
            Code::InvalidArgument,
            "invalid",
            "The request is not valid",
        ),
        ErrorKind::ModelNotFound => row(
            Http::NOT_FOUND,
            Code::NotFound,
            "model_not_found",
            "There is no such model",
        ),
        ErrorKind::EntityNotFound => row(
            Http::NOT_FOUND,
            Code::NotFound,
            "entity_not_found",
            "There is no such entity",
        ),
        ErrorKind::Rejected => row(
            Http::UNPROCESSABLE_ENTITY,
            Code::FailedPrecondition,
            "rejected",
            "The model's contract does not allow a score from these features",
        ),
        ErrorKind::Unauthenticated => row(
            Http::UNAUTHORIZED,
            Code::Unauthenticated,
            "unauthenticated",
            "No API key, or one that is not known",
        ),
        ErrorKind::Forbidden => row(
            Http::FORBIDDEN,
            Code::PermissionDenied,
            "forbidden",
            "The API key does not allow this",
        ),
        ErrorKind::TooSlow => row(
            Http::REQUEST_TIMEOUT,
            Code::DeadlineExceeded,
            "too_slow",
            "The request took too long to arrive",
        ),
        ErrorKind::TooLarge => row(
            Http::PAYLOAD_TOO_LARGE,
            Code::OutOfRange,
            "too_large",
            "The request is too large",
        ),
        ErrorKind::Overloaded => row(
            Http::TOO_MANY_REQUESTS,
            Code::ResourceExhausted,
            "overloaded",
            "The server is at its limit",
        )
        .retry_after_seconds(1),
        ErrorKind::DeadlineExceeded => row(
            Http::GATEWAY_TIMEOUT,
            Code::DeadlineExceeded,
            "deadline_exceeded",
            "The request's time was up",
        ),
        ErrorKind::Unavailable => row(
            Http::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "unavailable",
            "Nothing can answer now",
        )
        .retry_after_seconds(1),
        ErrorKind::Internal => row(
            Http::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "internal",
            "Evergreen made a mistake",
        ),
    }
}

/// What a client is told of an error. Of a defect of our own no more than that there is one: the rest goes to the log.
pub(super) fn message(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Internal => "the details are in the server's log".to_owned(),
        _ => error.to_string(),
    }
}

/// The field of the request that an error is about: by the house's rule the text names it first, between backticks.
pub(super) fn field(message: &str) -> &str {
    message.split('`').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_what_the_text_quotes_first() {
        assert_eq!(field("input `x`: 5 is no `FP32`"), "x");
        assert_eq!(field("there is nothing to score"), "");
    }

    #[test]
    fn labels_are_distinct() {
        let mut labels: Vec<&str> = ErrorKind::ALL.iter().map(|&kind| of(kind).label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
    }
}
