//! Trials of a version beside the live one: it answers for a share of the entities (canary), or it is scored without
//! answering (shadow). Either way its scores are compared with those of the live version.

pub(super) mod canary;
pub mod comparison;
pub mod population;
pub(super) mod shadow;
pub mod trial_metrics;
mod unread_metrics;

use std::sync::Arc;

use super::request::Entity;
use super::servable::Servable;
use crate::values::id_hash::{HashShare, IdHasher};
use comparison::Comparison;

/// The versions of a model that are on trial.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// Answers for a share of the entities.
    pub canary: Option<Share>,
    /// Is scored for a share of the entities, without answering.
    pub shadow: Option<Share>,
}

/// A version on trial and its share of the entities.
#[derive(Clone, Debug)]
pub struct Share {
    /// The version.
    pub servable: Arc<Servable>,
    /// The share, 0 to 1.
    pub share: f64,
    /// How it compares with the live version.
    pub comparison: Arc<Comparison>,
}

impl Rollout {
    /// Whether no version is on trial.
    pub fn is_empty(&self) -> bool {
        self.canary.is_none() && self.shadow.is_none()
    }
}

impl Share {
    /// Whether an entity belongs to the share. Every server decides alike, and an id stays in the share for as long as
    /// the share does not shrink. An entity without an id never belongs to it.
    pub(super) fn includes(&self, entity: &Entity) -> bool {
        let Some(id) = &entity.id else { return false };
        HashShare::new(self.share).has(IdHasher::new(&self.servable.model.name).hash(id.as_ref()))
    }
}
