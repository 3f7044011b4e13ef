//! Trying a version beside the one that answers: for a share of the entities (canary), or without answering (shadow).

pub(crate) mod canary;
pub mod comparison;
pub(crate) mod shadow;

use std::sync::Arc;

use super::live_set::Servable;
use crate::values::entity_id::{EntityId, IdRef};
use comparison::Comparison;

/// The versions being tried.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// Answers for a share of the entities.
    pub canary: Option<Share>,
    /// Is scored beside the one that answers.
    pub shadow: Option<Share>,
}

/// A version and its share of the entities.
#[derive(Clone, Debug)]
pub struct Share {
    /// The version.
    pub served: Arc<Servable>,
    /// 0 to 1.
    pub share: f64,
    /// How it compares with the version that answers.
    pub comparison: Arc<Comparison>,
}

impl Rollout {
    /// Whether no version is being tried.
    pub fn is_empty(&self) -> bool {
        self.canary.is_none() && self.shadow.is_none()
    }
}

impl Share {
    /// Whether an entity is of the share. The same id is or is not, on every server and at every time, as long as
    /// the share does not shrink.
    pub fn takes(&self, id: &EntityId) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a point in 0 to 1")]
        let point = hash(&self.served.model.name, id.as_ref()) as f64 / u64::MAX as f64;
        point < self.share
    }
}

/// A hash of an id that is the same everywhere. A text and an integer of the same digits are the same id; the model's
/// name is mixed in, so that not the same customers get every model's canary.
pub(super) fn hash(model: &str, id: IdRef<'_>) -> u64 {
    let digits;
    let text = match id {
        IdRef::Text(text) => text,
        IdRef::Int(number) => {
            digits = number.to_string();
            &digits
        }
    };
    // FNV-1a, then the finishing touches of SplitMix64: FNV's high bits alone are not even enough for short texts.
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
    fn an_id_keeps_its_place_whatever_its_form_and_places_are_even() {
        assert_eq!(hash("m", IdRef::Int(42)), hash("m", IdRef::Text("42")));
        assert_ne!(hash("m", IdRef::Int(42)), hash("n", IdRef::Int(42)));
        let tenth = (0..10_000)
            .filter(|&id| hash("churn", IdRef::Int(id)) < u64::MAX / 10)
            .count();
        assert!((900..1100).contains(&tenth), "{tenth}");
    }
}
