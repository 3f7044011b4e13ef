//! What a new version changed: how many of the same customers it puts into another band than the version before.

use std::sync::Arc;

use super::Ranking;
use crate::values::band::Band;

/// The comparison of a version with the one that ranked before it, over the customers that both score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The version before.
    pub before: u64,
    /// Customers with a score by both versions.
    pub customers: usize,
    /// Customers in a higher band now.
    pub raised: usize,
    /// Customers in a lower band now.
    pub lowered: usize,
}

impl Release {
    /// What is known of the release of the version that made `new`: by `old`, the ranking that `new` replaces. `None` if the
    /// data has changed too, so that the versions cannot be told from it, or a band has no counterpart.
    pub(super) fn of(old: &Ranking, new: &Ranking) -> Option<Self> {
        if Arc::ptr_eq(old.model(), new.model()) || old.model().version == new.model().version {
            return old.release;
        }
        let (bands_before, bands) = (&old.servable.bands, &new.servable.bands);
        let names = |bands: &[Band]| bands.iter().map(|band| band.name.clone()).collect::<Vec<_>>();
        if !same_data(old, new) || bands.is_empty() || names(bands) != names(bands_before) {
            return None;
        }
        let before = scores_by_row(old);
        let mut release = Self {
            before: old.model().version,
            customers: 0,
            raised: 0,
            lowered: 0,
        };
        for position in 0..new.table.len() {
            let then = match Arc::ptr_eq(old.snapshot(), new.snapshot()) {
                true => Some(new.table.row(position)),
                false => old.snapshot().find(new.table.id(position)),
            };
            let then = then.and_then(|row| before.get(row)).copied().unwrap_or(f64::NAN);
            if then.is_nan() {
                continue;
            }
            release.customers += 1;
            let (then, now) = (place(bands_before, then), place(bands, new.table.score(position)));
            release.raised += usize::from(now > then);
            release.lowered += usize::from(now < then);
        }
        Some(release)
    }
}

/// Whether two rankings are of the same observations: the same snapshot, or one that was read again for other features.
fn same_data(old: &Ranking, new: &Ranking) -> bool {
    let bits = |ranking: &Ranking| {
        let bits = |(oldest, latest): (f64, f64)| (oldest.to_bits(), latest.to_bits());
        ranking.as_of.map(bits)
    };
    Arc::ptr_eq(old.snapshot(), new.snapshot())
        || (old.snapshot().len() == new.snapshot().len() && old.as_of.is_some() && bits(old) == bits(new))
}

/// The scores of a ranking by the row of its snapshot; NaN for none.
fn scores_by_row(ranking: &Ranking) -> Vec<f64> {
    let mut scores = vec![f64::NAN; ranking.snapshot().len()];
    for position in 0..ranking.table.len() {
        if let Some(slot) = scores.get_mut(ranking.table.row(position)) {
            *slot = ranking.table.score(position);
        }
    }
    scores
}

/// The place of a score's band among the bands, from 0 below the first one.
fn place(bands: &[Band], score: f64) -> usize {
    bands.partition_point(|band| band.from <= score)
}
