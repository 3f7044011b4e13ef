//! Canary: decides which version scores each entity of a request.

use std::sync::Arc;

use super::Share;
use crate::models::ModelVersion;
use crate::scoring::outcome::EntityScore;
use crate::scoring::request::Entity;

/// The entities of a request, divided between the live version and the canary.
#[derive(Debug)]
pub(in crate::scoring) struct Assignment {
    /// Entities that the live version scores, in the order of the request.
    pub(in crate::scoring) live: Vec<Entity>,
    /// Entities that the canary scores, in the order of the request.
    pub(in crate::scoring) canary: Vec<Entity>,
    /// By entity of the request, whether the canary scores it; empty without a canary.
    pub(in crate::scoring) by_canary: Vec<bool>,
}

/// Assigns each entity to a version: the canary scores its share of the ids, the live version all others.
pub(in crate::scoring) fn assign(canary: Option<&Share>, entities: Vec<Entity>) -> Assignment {
    let Some(share) = canary else {
        return Assignment {
            live: entities,
            canary: Vec::new(),
            by_canary: Vec::new(),
        };
    };
    let by_canary: Vec<bool> = entities.iter().map(|entity| share.includes(entity)).collect();
    let (mut live, mut canary) = (Vec::new(), Vec::new());
    for (entity, &by_canary) in entities.into_iter().zip(&by_canary) {
        (if by_canary { &mut canary } else { &mut live }).push(entity);
    }
    Assignment {
        live,
        canary,
        by_canary,
    }
}

/// Merges the scores of both versions into the order of the request; each score of the canary names `model`, its
/// version.
pub(in crate::scoring) fn merge(
    by_canary: &[bool],
    live: Vec<EntityScore>,
    canary: Vec<EntityScore>,
    model: &Arc<ModelVersion>,
) -> Vec<EntityScore> {
    let (mut live, mut canary) = (live.into_iter(), canary.into_iter());
    let merged = by_canary.iter().filter_map(|&by_canary| {
        if !by_canary {
            return live.next();
        }
        let score = canary.next()?;
        let model = Some(model.clone());
        Some(EntityScore { model, ..score })
    });
    merged.collect()
}
