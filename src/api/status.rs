//! Maps each error kind to its HTTP status, gRPC code, label and title. All protocols use this one table.

use std::time::Duration;

use axum::http::StatusCode;
use tonic::Code;

use crate::error::{Error, ErrorKind};

/// How a client sees an error kind.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// HTTP status, for REST and Open Inference.
    pub http: StatusCode,
    /// gRPC status code.
    pub grpc: Code,
    /// Label in metrics and `problem+json`.
    pub label: &'static str,
    /// Title in `problem+json`, the same for all errors of the kind.
    pub title: &'static str,
    /// When to retry the same request, if a retry may succeed.
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

/// Returns the status of an error kind.
pub fn of(kind: ErrorKind) -> Status {
    use StatusCode as Http;
    match kind {
        ErrorKind::Invalid => row(
            Http::BAD_REQUEST,
            Code::InvalidArgument,
            "invalid",
            "Invalid request",
        ),
        ErrorKind::ModelNotFound => row(
            Http::NOT_FOUND,
            Code::NotFound,
            "model_not_found",
            "Model not found",
        ),
        ErrorKind::EntityNotFound => row(
            Http::NOT_FOUND,
            Code::NotFound,
            "entity_not_found",
            "Entity not found",
        ),
        ErrorKind::Rejected => row(
            Http::UNPROCESSABLE_ENTITY,
            Code::FailedPrecondition,
            "rejected",
            "Rejected by the model's contract",
        ),
        ErrorKind::CommandRefused => row(
            Http::CONFLICT,
            Code::FailedPrecondition,
            "command_refused",
            "Command refused in the present state",
        ),
        ErrorKind::Unauthenticated => row(
            Http::UNAUTHORIZED,
            Code::Unauthenticated,
            "unauthenticated",
            "API key missing or unknown",
        ),
        ErrorKind::Forbidden => row(
            Http::FORBIDDEN,
            Code::PermissionDenied,
            "forbidden",
            "Not allowed for this API key",
        ),
        ErrorKind::TooSlow => row(
            Http::REQUEST_TIMEOUT,
            Code::DeadlineExceeded,
            "too_slow",
            "Request body timeout",
        ),
        ErrorKind::TooLarge => row(
            Http::PAYLOAD_TOO_LARGE,
            Code::OutOfRange,
            "too_large",
            "Request too large",
        ),
        ErrorKind::Overloaded => row(
            Http::TOO_MANY_REQUESTS,
            Code::ResourceExhausted,
            "overloaded",
            "Overloaded",
        )
        .retry_after_seconds(1),
        ErrorKind::ClientLimit => row(
            Http::TOO_MANY_REQUESTS,
            Code::ResourceExhausted,
            "client_limit",
            "Limit of this client reached",
        )
        .retry_after_seconds(1),
        ErrorKind::DeadlineExceeded => row(
            Http::GATEWAY_TIMEOUT,
            Code::DeadlineExceeded,
            "deadline_exceeded",
            "Deadline exceeded",
        ),
        ErrorKind::Unavailable => row(
            Http::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "unavailable",
            "Unavailable",
        )
        .retry_after_seconds(1),
        ErrorKind::Internal => row(
            Http::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "internal",
            "Internal error",
        ),
    }
}

/// When to retry the request that failed: as computed for it, or as its kind says.
pub(super) fn retry_after(error: &Error) -> Option<Duration> {
    error.retry_after().or(of(error.kind()).retry_after)
}

/// Returns the error text for a client. The details of an internal error go to the log only.
pub(super) fn message(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Internal => "internal error; the details are in the server's log".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct() {
        let mut labels: Vec<&str> = ErrorKind::ALL.iter().map(|&kind| of(kind).label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
    }
}
