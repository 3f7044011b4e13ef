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
use crate::values::entity_id::IdRef;
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
        #[expect(clippy::cast_precision_loss, reason = "a point in 0 to 1")]
        let point = id_hash(&self.servable.model.name, id.as_ref()) as f64 / u64::MAX as f64;
        point < self.share
    }
}

/// Hashes an id for a model, alike on every server. A text and an integer of the same digits are the same id. The
/// model's name is part of the hash, so that different models try different customers.
///
/// FNV-1a, finished by the mixing steps of SplitMix64: the high bits of FNV alone are not uniform for short texts.
fn id_hash(model: &str, id: IdRef<'_>) -> u64 {
    let digits;
    let text = match id {
        IdRef::Text(text) => text,
        IdRef::Int(number) => {
            digits = number.to_string();
            &digits
        }
    };
    let bytes = model.bytes().chain([0]).chain(text.bytes());
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_ignores_the_form_of_an_id_and_is_uniform() {
        assert_eq!(id_hash("m", IdRef::Int(42)), id_hash("m", IdRef::Text("42")));
        assert_ne!(id_hash("m", IdRef::Int(42)), id_hash("n", IdRef::Int(42)));
        let tenth = (0..10_000)
            .filter(|&id| id_hash("churn", IdRef::Int(id)) < u64::MAX / 10)
            .count();
        assert!((900..1100).contains(&tenth), "{tenth}");
    }
}
