//! Converts errors to gRPC statuses with `google.rpc` details, so that clients can handle them by program.

use std::collections::HashMap;

use prost::Message as _;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::api::status;
use crate::error::{Error, ErrorKind};

/// Domain of `ErrorInfo`.
const DOMAIN: &str = "evergreen";

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let status = status::of(error.kind());
        let message = status::message(&error);
        let mut details = ErrorDetails::new();
        details.set_error_info(status.label, DOMAIN, HashMap::new());
        if let Some(after) = status::retry_after(&error) {
            details.set_retry_info(Some(after));
        }
        if error.kind() == ErrorKind::Invalid {
            details.add_bad_request_violation(error.field().unwrap_or_default(), &message);
        }
        Self::with_error_details(status.grpc, message, details)
    }
}

/// Converts a status to a message, for the result of one batch in a stream.
pub(super) fn message(status: &tonic::Status) -> tonic_types::Status {
    let decoded = tonic_types::Status::decode(status.details()).ok();
    // A status from the transport has no details.
    decoded
        .filter(|message| message.code != Code::Ok as i32)
        .unwrap_or_else(|| tonic_types::Status {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: Vec::new(),
        })
}
