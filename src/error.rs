//! The error of a request, independent of any protocol. `api::status` maps each [`ErrorKind`] to an HTTP status, a gRPC
//! code and a metric label.

use std::fmt;
use std::time::Duration;

use crate::words::shorten::shorten_middle;

/// Maximum size of a message and of the name of a field, in bytes: clients' texts are in them.
const MESSAGE_BYTES: usize = 512;
const FIELD_BYTES: usize = 128;

fn bounded(message: String) -> String {
    if message.len() <= MESSAGE_BYTES {
        return message;
    }
    shorten_middle(&message, MESSAGE_BYTES)
}

/// Why a request, or one entity of it, got no score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    field: Option<Box<str>>,
    retry_after: Option<Duration>,
}

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The field of the request that the error is about, such as `entities[0].id`; `None` if it concerns no single field.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// When a retry may succeed, if that was computed for this request.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Says when a retry may succeed, instead of the time that its kind has.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// Says where it happened: `place` and the message.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Self {
            message: bounded(format!("{place}: {}", self.message)),
            ..self
        }
    }

    /// Names the field of the request that the error is about.
    #[must_use]
    pub fn about(self, field: impl AsRef<str>) -> Self {
        Self {
            field: Some(shorten_middle(field.as_ref(), FIELD_BYTES).into()),
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Declares each kind once: its variant, and the constructor of an [`Error`] of that kind.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $constructor:ident;)*) => {
        /// What went wrong, as clients and metrics see it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of declaration.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];
        }

        impl Error {
            $(
                $(#[$doc])*
                pub fn $constructor(message: impl Into<String>) -> Self {
                    Self { kind: ErrorKind::$kind, message: bounded(message.into()), field: None, retry_after: None }
                }
            )*
        }
    };
}

kinds! {
    /// The request cannot be understood or breaks a rule. The message names the field.
    Invalid, invalid;
    /// No model, version or output has that name. The message lists the known names.
    ModelNotFound, model_not_found;
    /// No feature source knows the entity.
    EntityNotFound, entity_not_found;
    /// The model's contract forbids a score from these values. The message names the feature and the rule.
    Rejected, rejected;
    /// An operator's command does not fit the present state of the model. The message says why.
    CommandRefused, command_refused;
    /// The request has no API key, or an unknown one.
    Unauthenticated, unauthenticated;
    /// The API key lacks the required role, or may not use the model.
    Forbidden, forbidden;
    /// The request took too long to arrive.
    TooSlow, too_slow;
    /// The request has more entities or bytes than allowed.
    TooLarge, too_large;
    /// The server is at its limit and refuses the request at once.
    Overloaded, overloaded;
    /// The client is at its own limit: its rate, or its share of what is scored at the same time. The message names it.
    ClientLimit, client_limit;
    /// The client's deadline passed before the answer was ready.
    DeadlineExceeded, deadline_exceeded;
    /// Nothing can answer now: no model is live, or a feature source is unavailable.
    Unavailable, unavailable;
    /// An internal error. The message is for the log only; clients get a fixed sentence.
    Internal, internal;
}
