//! The one error of a request, whatever protocol it came by. No protocol word appears here: `api::status` holds
//! the only table from [`Kind`] to HTTP status, gRPC code and metric label.

/// Why a request, or one entity of it, got no score.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The request cannot be understood or breaks a rule; the text names the field.
    #[error("{0}")]
    Invalid(String),
    /// No model, version or output of that name; the text names what exists.
    #[error("{0}")]
    ModelNotFound(String),
    /// The feature source does not know the entity.
    #[error("{0}")]
    EntityNotFound(String),
    /// A value was understood but the model's contract forbids it: the text names the feature and the rule.
    #[error("{0}")]
    Rejected(String),
    /// No API key, or one that is not known.
    #[error("{0}")]
    Unauthenticated(String),
    /// The API key does not have the role that this needs.
    #[error("{0}")]
    Forbidden(String),
    /// The request did not arrive in time.
    #[error("{0}")]
    TooSlow(String),
    /// More entities or bytes than a request may carry.
    #[error("{0}")]
    TooLarge(String),
    /// Refused at once, for the server is at its limit.
    #[error("{0}")]
    Overloaded(String),
    /// The request's time was up.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// Nothing can answer now: no model is live, or the feature source is away.
    #[error("{0}")]
    Unavailable(String),
    /// A defect of Evergreen itself. The text is for the log; clients get a plain sentence.
    #[error("{0}")]
    Internal(String),
}

/// The closed list of kinds that [`Error`] can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the variant of Error of the same name")]
pub enum Kind {
    Invalid,
    ModelNotFound,
    EntityNotFound,
    Rejected,
    Unauthenticated,
    Forbidden,
    TooSlow,
    TooLarge,
    Overloaded,
    DeadlineExceeded,
    Unavailable,
    Internal,
}

impl Kind {
    /// All of them, for tables and metrics.
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::ModelNotFound,
        Self::EntityNotFound,
        Self::Rejected,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TooSlow,
        Self::TooLarge,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::Internal,
    ];
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::ModelNotFound(_) => Kind::ModelNotFound,
            Self::EntityNotFound(_) => Kind::EntityNotFound,
            Self::Rejected(_) => Kind::Rejected,
            Self::Unauthenticated(_) => Kind::Unauthenticated,
            Self::Forbidden(_) => Kind::Forbidden,
            Self::TooSlow(_) => Kind::TooSlow,
            Self::TooLarge(_) => Kind::TooLarge,
            Self::Overloaded(_) => Kind::Overloaded,
            Self::DeadlineExceeded(_) => Kind::DeadlineExceeded,
            Self::Unavailable(_) => Kind::Unavailable,
            Self::Internal(_) => Kind::Internal,
        }
    }
}
