//! The interface of remote feature stores.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use super::layout::Vector;
use crate::values::entity_id::EntityId;

/// A remote store, bound to a layout.
pub trait FeatureSource: Debug + Send + Sync {
    /// Fetches the vectors of `ids`, in their order. [`Vector::is_known`] is false for an entity that the store does not know.
    fn fetch<'a>(
        &'a self,
        ids: &'a [EntityId],
        lane: Lane,
    ) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>>;

    /// The age in seconds from which a group's values are stale by the store's own rules.
    fn max_age(&self, _group: usize) -> Option<f64> {
        None
    }
}

/// The connections to use: bulk requests must not delay single ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A few entities.
    Online,
    /// Many entities.
    Bulk,
}

/// Minimum entities of a bulk fetch.
pub const BULK_FROM: usize = 100;

impl Lane {
    /// The lane for a fetch of this many entities.
    pub fn of(entities: usize) -> Self {
        if entities < BULK_FROM {
            Self::Online
        } else {
            Self::Bulk
        }
    }
}

/// Why a fetch failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// The connection was lost: a second attempt may reach the store.
    #[error("{0}")]
    Dropped(String),
    /// The store refuses an id of the fetch, or what it computes from one; the text is its code. It answers other ids, so this
    /// says nothing about its health.
    #[error("the store refuses an id of the request ({0})")]
    Refused(String),
    /// The query was prepared for a table that has changed since: it must be prepared again.
    #[error("{0}")]
    Outdated(String),
    /// The store answered with an error.
    #[error("{0}")]
    Failed(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The circuit breaker is open, so the store was skipped.
    #[error("skipped: circuit breaker open")]
    Open,
}

impl SourceError {
    /// The name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dropped(_) => "dropped",
            Self::Refused(_) => "refused",
            Self::Outdated(_) | Self::Failed(_) => "failed",
            Self::TimedOut(_) => "timed_out",
            Self::Open => "open",
        }
    }
}
