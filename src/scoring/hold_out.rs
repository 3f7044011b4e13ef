//! The hold-out: a random share of the customers that nobody is to contact, so that the effect of contact can be measured.

use crate::values::entity_id::EntityId;
use crate::values::id_hash::{HashShare, IdHasher};

/// Draws the hold-out. The same customers are in it on every server, after every restart, and whatever version scores them.
#[derive(Clone, Debug)]
pub struct HoldOut {
    is_on: bool,
    share: HashShare,
    /// Its purpose begins with a letter that no name of a model has, so that the hold-out is independent of canaries and
    /// shadows.
    ids: IdHasher,
}

impl Default for HoldOut {
    /// Nobody.
    fn default() -> Self {
        Self::new(0.0, "")
    }
}

impl HoldOut {
    /// A share of the customers, from 0 to 1, that `salt` draws.
    pub fn new(share: f64, salt: &str) -> Self {
        Self {
            is_on: share > 0.0,
            share: HashShare::new(share),
            ids: IdHasher::new(&format!("\u{1}hold-out\u{1}{salt}")),
        }
    }

    /// Whether nobody is to contact a customer. An entity without an id is never held out.
    pub fn includes(&self, id: Option<&EntityId>) -> bool {
        // Most servers have no hold-out: they hash nothing.
        self.is_on && id.is_some_and(|id| self.draws(id))
    }

    fn draws(&self, id: &EntityId) -> bool {
        self.share.has(self.ids.hash(id.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_right_stable_and_independent_of_a_canary() {
        let hold_out = HoldOut::new(0.05, "2026");
        let ids: Vec<EntityId> = (0..40_000).map(|id| EntityId::Text(format!("C-{id}"))).collect();
        let held: Vec<&EntityId> = ids.iter().filter(|id| hold_out.includes(Some(id))).collect();
        // Three standard errors of 40,000 draws.
        assert!((1870..2130).contains(&held.len()), "{}", held.len());
        let again = HoldOut::new(0.05, "2026");
        assert!(held.iter().all(|id| again.includes(Some(id))));
        // Half of those held out are in a canary of half of the customers.
        let canary = |id: &&&EntityId| IdHasher::new("churn").hash(id.as_ref()) < u64::MAX / 2;
        let both = held.iter().filter(canary).count();
        assert!(
            (held.len() * 4 / 10..held.len() * 6 / 10).contains(&both),
            "{both}"
        );
        let other = HoldOut::new(0.05, "2027");
        let common = held.iter().filter(|id| other.includes(Some(id))).count();
        assert!(common < held.len() / 8, "{common}");
    }

    #[test]
    fn a_larger_share_keeps_the_customers_and_both_forms_of_an_id_agree() {
        let (small, large) = (HoldOut::new(0.1, ""), HoldOut::new(0.2, ""));
        for id in 0..2000 {
            let (number, text) = (EntityId::Int(id), EntityId::Text(id.to_string()));
            assert_eq!(small.includes(Some(&number)), small.includes(Some(&text)));
            assert!(!small.includes(Some(&number)) || large.includes(Some(&number)));
        }
        assert!(!large.includes(None) && !HoldOut::default().includes(Some(&EntityId::Int(1))));
    }
}
