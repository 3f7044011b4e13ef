//! The cache of vectors by entity: bounded in bytes, with a soft and a hard age limit.

use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use moka::sync::Cache as Moka;
use rustc_hash::FxHasher;

use crate::features::layout::Vector;
use crate::values::entity_id::EntityId;

/// Bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Maximum bytes, including the overhead of entries.
    pub bytes: u64,
    /// Age from which an entry is fetched again while it still answers.
    pub soft: Duration,
    /// Age at which an entry is dropped.
    pub hard: Duration,
    /// Age at which an id unknown to the store is looked up again.
    pub unknown: Duration,
}

/// Overhead of an entry beside its vector and the text of its id, measured with a million entries
/// (`cargo bench --bench features`).
const ENTRY_BYTES: usize = 390;

/// Variation of the soft limit between entries, up to 10% earlier or later, so that entries fetched together are not fetched
/// again together.
const JITTER: f64 = 0.1;

/// Vectors by entity.
#[derive(Debug)]
pub(super) struct Cache {
    /// With the standard, seeded hasher, as clients choose the ids.
    entries: Moka<EntityId, Vector>,
    soft: f64,
    unknown: f64,
}

/// The result of a cache lookup.
#[derive(Debug)]
pub enum CacheLookup {
    /// A valid entry.
    Fresh(Vector),
    /// An entry past the soft limit: valid, but to be fetched again.
    Ageing(Vector),
    /// No entry.
    Miss,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        let weigh = |id: &EntityId, vector: &Vector| {
            let text = match id {
                EntityId::Text(text) => text.len(),
                EntityId::Int(_) => 0,
            };
            u32::try_from(ENTRY_BYTES + text + vector.bytes()).unwrap_or(u32::MAX)
        };
        let entries = Moka::builder()
            .weigher(weigh)
            .max_capacity(limits.bytes)
            .time_to_live(limits.hard)
            .build();
        Self {
            entries,
            soft: limits.soft.as_secs_f64(),
            unknown: limits.unknown.as_secs_f64(),
        }
    }

    pub(super) fn get(&self, id: &EntityId, now: f64) -> CacheLookup {
        let Some(vector) = self.entries.get(id) else {
            return CacheLookup::Miss;
        };
        let age = now - vector.fetched();
        if !vector.is_known() {
            return if age < self.unknown {
                CacheLookup::Fresh(vector)
            } else {
                CacheLookup::Miss
            };
        }
        if age < self.soft * jitter(id, vector.fetched()) {
            CacheLookup::Fresh(vector)
        } else {
            CacheLookup::Ageing(vector)
        }
    }

    pub(super) fn insert(&self, id: EntityId, vector: Vector) {
        self.entries.insert(id, vector);
    }

    pub(super) fn remove(&self, id: &EntityId) {
        self.entries.invalidate(id);
    }

    pub(super) fn clear(&self) {
        self.entries.invalidate_all();
    }

    pub(super) fn ids(&self, most: usize) -> Vec<EntityId> {
        self.entries
            .iter()
            .take(most)
            .map(|(id, _)| (*id).clone())
            .collect()
    }

    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

/// A factor between 0.9 and 1.1 from the id and the fetch time: it differs between entities fetched together, and from one
/// fetch of an entity to the next.
fn jitter(id: &EntityId, fetched: f64) -> f64 {
    let mut hasher = FxHasher::default();
    (id, fetched.to_bits()).hash(&mut hasher);
    let mixed = hasher.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    #[expect(clippy::cast_precision_loss, reason = "24 bits")]
    let part = mixed as f64 / f64::from(1 << 24);
    1.0 + JITTER * (2.0 * part - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::layout::{Field, Layout};
    use crate::models::contract::{FeatureType, Parse};

    #[test]
    fn entries_age_and_the_unknown_ages_faster() {
        let limits = CacheLimits {
            bytes: 1 << 20,
            soft: Duration::from_secs(60),
            hard: Duration::from_secs(600),
            unknown: Duration::from_secs(5),
        };
        let cache = Cache::new(limits);
        let field = Field {
            group: None,
            column: "x".to_owned(),
            kind: FeatureType::Float,
            parse: Parse::Strict,
            single: true,
            categories: Vec::new(),
            whole: false,
        };
        let layout = Layout::new("id", vec![field]);
        cache.insert(EntityId::Int(1), layout.builder(1000.0).finish());
        cache.insert(EntityId::Int(2), Layout::unknown(1000.0));
        let get = |id, now| cache.get(&EntityId::Int(id), now);
        assert!(matches!(get(1, 1050.0), CacheLookup::Fresh(_)));
        assert!(matches!(get(1, 1070.0), CacheLookup::Ageing(_)));
        assert!(matches!(get(2, 1004.0), CacheLookup::Fresh(_)));
        assert!(matches!(get(2, 1006.0), CacheLookup::Miss));
        assert!(matches!(get(3, 1000.0), CacheLookup::Miss));
        cache.remove(&EntityId::Int(1));
        assert!(matches!(get(1, 1000.0), CacheLookup::Miss));
    }

    #[test]
    fn the_jitter_spreads() {
        // As one pipeline fetches them: at the same instant.
        let spread: Vec<f64> = (0..1000).map(|id| jitter(&EntityId::Int(id), 1.7e9)).collect();
        assert!(spread.iter().all(|part| (0.9..=1.1).contains(part)));
        assert!(spread.iter().any(|&part| part < 0.92) && spread.iter().any(|&part| part > 1.08));
    }
}
