//! What every remote feature store has to be able to do.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use super::layout::Vector;
use crate::values::entity_id::EntityId;

/// A remote store, bound to the layout of what is wanted from it.
pub trait FeatureSource: Debug + Send + Sync {
    /// The vectors of `ids`, in their order; an entity that the store does not know has [`Vector::is_known`] false.
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

/// Which of a store's connections to use: bulk requests must not delay single ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A few entities that someone waits for.
    Online,
    /// Many entities.
    Bulk,
}

/// Entities in a request from which it goes to the bulk lane.
pub const BULK_FROM: usize = 100;

impl Lane {
    /// The lane for a fetch of so many entities.
    pub fn of(entities: usize) -> Self {
        if entities < BULK_FROM {
            Self::Online
        } else {
            Self::Bulk
        }
    }
}

/// Why a store gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// The connection was lost: a second attempt may reach the store.
    #[error("{0}")]
    Dropped(String),
    /// The store answered, but with an error.
    #[error("{0}")]
    Failed(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The store failed too often just now, so it was not asked.
    #[error("not asked: it failed too often just now")]
    Open,
}

impl SourceError {
    /// As it stands in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dropped(_) => "dropped",
            Self::Failed(_) => "failed",
            Self::TimedOut(_) => "timed_out",
            Self::Open => "open",
        }
    }
}
