//! Errors as gRPC statuses with the details of `google.rpc`, for programs: what is wrong, and when to try again.

use std::collections::HashMap;

use prost::Message as _;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::api::status;
use crate::error::{Error, ErrorKind};

/// Whose reasons `ErrorInfo` gives.
const DOMAIN: &str = "evergreen";

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let status = status::of(error.kind());
        let message = status::message(&error);
        let mut details = ErrorDetails::new();
        details.set_error_info(status.label, DOMAIN, HashMap::new());
        if let Some(after) = status.retry_after {
            details.set_retry_info(Some(after));
        }
        if error.kind() == ErrorKind::Invalid {
            details.add_bad_request_violation(status::field(&message), &message);
        }
        Self::with_error_details(status.grpc, message, details)
    }
}

/// A status as a message, for one batch among others.
pub(super) fn message(status: &tonic::Status) -> tonic_types::Status {
    let decoded = tonic_types::Status::decode(status.details()).ok();
    // A status that the transport made has no details.
    decoded
        .filter(|message| message.code != Code::Ok as i32)
        .unwrap_or_else(|| tonic_types::Status {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: Vec::new(),
        })
}
