//! Scores every customer of a snapshot by one version, in batches, so that it can be stopped between two of them.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::order::OrderKey;
use super::summary::{BandSummary, summarize};
use super::table::RankTable;
use crate::error::Error;
use crate::features::plan::Plan;
use crate::features::snapshot::Snapshot;
use crate::models::ModelVersion;
use crate::models::contract::{Derivation, Stale};
use crate::scoring::assemble::assemble_record;
use crate::scoring::predict::ScoreOutputs;
use crate::scoring::servable::Servable;
use crate::values::entity_id::IdRef;

/// Customers that are scored together: enough for the batch kernels, few enough to stop within milliseconds.
const BATCH: usize = 1024;

/// Bytes that the computation takes for each customer, at its peak: scores now and before by row, and the sorted columns.
pub(super) const WORK_BYTES: usize = 48;

/// Why there is no ranking.
#[derive(Debug)]
pub(super) enum NoRanking {
    /// The server stops, or something newer is to be ranked.
    Stopped,
    /// The model cannot score.
    Failed(Error),
}

impl From<Error> for NoRanking {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a computation gives.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) table: RankTable,
    pub(super) identities: Identities,
    pub(super) bands: Vec<BandSummary>,
    /// Customers without a score.
    pub(super) unscored: usize,
    /// The oldest and the latest `as_of` time of the ranked customers, in seconds since the Unix epoch.
    pub(super) as_of: Option<(f64, f64)>,
}

/// What makes rankings differ: hashes of the version and of all ids and values in their order. Two servers agree on them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identities {
    scores: [u8; 16],
    /// With the scores by the previous snapshot, which a server that has started later does not know.
    changes: [u8; 16],
}

impl Identities {
    /// The identity of the ranking in the order of a key.
    pub(super) fn of(&self, key: OrderKey) -> [u8; 16] {
        match key {
            OrderKey::Score => self.scores,
            OrderKey::Change => self.changes,
        }
    }
}

/// Scores of the rows of a snapshot, NaN for none, and their `as_of` times.
struct RowScores {
    scores: Vec<f64>,
    as_of: Option<(f64, f64)>,
}

/// Ranks the customers of the snapshot that `servable` takes all its features from, at the time `now` in seconds since the
/// Unix epoch.
///
/// # Errors
/// `stop` asked for the end, or the model cannot score.
pub(super) fn compute(servable: &Servable, now: f64, stop: &dyn Fn() -> bool) -> Result<Computed, NoRanking> {
    let model = &*servable.model;
    let (plan, snapshot) = enumerable(servable).ok_or_else(|| Error::internal("nothing to enumerate"))?;
    let RowScores { scores, as_of } = score_rows(model, plan, snapshot.len(), stop, |_| now)?;
    let unscored = scores.iter().filter(|score| score.is_nan()).count();
    let previous = servable.before();
    let before = previous.as_ref().and_then(|previous| enumerable(previous));
    let before = match before {
        None => None,
        Some((plan_before, then)) => {
            // Ages and times since an event are compared at the same distance from each snapshot.
            let instant = |row: usize| now - distance(snapshot, then, row).unwrap_or(0.0);
            let scores = score_rows(model, plan_before, then.len(), stop, instant)?.scores;
            Some((scores, then))
        }
    };
    let aligned = before
        .as_ref()
        .map(|(scores, then)| align(snapshot, then, scores));
    let table = RankTable::new(snapshot.clone(), scores, aligned);
    if stop() {
        return Err(NoRanking::Stopped);
    }
    let distribution = before.as_ref().map(|(scores, _)| scores.as_slice());
    Ok(Computed {
        bands: summarize(servable, &table, distribution),
        identities: Identities {
            scores: identity(model, &table, false),
            changes: identity(model, &table, true),
        },
        table,
        unscored,
        as_of,
    })
}

/// The plan of a version and the snapshot that all its features come from; `None` if its customers cannot be listed.
pub(super) fn enumerable(servable: &Servable) -> Option<(&Plan, &Arc<Snapshot>)> {
    let plan = servable.plan.as_deref()?;
    Some((plan, plan.table()?))
}

/// Whether scores change as time passes: a feature counts days until now, or becomes too old.
pub(super) fn depends_on_time(model: &ModelVersion) -> bool {
    model.slots().any(|slot| {
        matches!(slot.derive, Some(Derivation::DaysSince(_)))
            || (slot.max_age_duration.is_some() && slot.stale != Stale::Use)
    })
}

/// Scores the first `count` rows of the table of `plan`; `instant` is the time at which a row is scored.
fn score_rows(
    model: &ModelVersion,
    plan: &Plan,
    count: usize,
    stop: &dyn Fn() -> bool,
    instant: impl Fn(usize) -> f64,
) -> Result<RowScores, NoRanking> {
    let mut found = RowScores {
        scores: vec![f64::NAN; count],
        as_of: None,
    };
    let mut values = Vec::with_capacity(BATCH * model.inputs.len());
    let mut rows = Vec::with_capacity(BATCH);
    for first in (0..count).step_by(BATCH) {
        if stop() {
            return Err(NoRanking::Stopped);
        }
        values.clear();
        rows.clear();
        for row in first..count.min(first + BATCH) {
            let before = values.len();
            let record = plan.record(row);
            let Ok(assembled) = assemble_record(model, &record, instant(row), &mut values) else {
                continue;
            };
            if model.known.check(&assembled.issues, &model.inputs).is_err() {
                values.truncate(before);
                continue;
            }
            rows.push(row);
            if let Some(at) = assembled.as_of {
                let (oldest, latest) = found.as_of.unwrap_or((at, at));
                found.as_of = Some((oldest.min(at), latest.max(at)));
            }
        }
        let outputs = ScoreOutputs::of(model, &values)?;
        for (place, &row) in rows.iter().enumerate() {
            if let (Ok(score), Some(slot)) = (outputs.score(place), found.scores.get_mut(row)) {
                *slot = score;
            }
        }
    }
    Ok(found)
}

/// How much later a customer was observed in `now` than in `then`, in seconds; `row` is that of `then`.
fn distance(now: &Snapshot, then: &Snapshot, row: usize) -> Option<f64> {
    let at = then.as_of(row)?;
    let found = now.find(then.id_ref(row)?)?;
    Some(now.as_of(found)? - at)
}

/// The scores of the rows of `then` in the order of the rows of `now`; NaN for customers that only `now` has.
fn align(now: &Snapshot, then: &Snapshot, scores: &[f64]) -> Vec<f64> {
    let score = |row| scores.get(then.find(now.id_ref(row)?)?).copied();
    (0..now.len()).map(|row| score(row).unwrap_or(f64::NAN)).collect()
}

/// A hash of the version, of all ids and scores in their order, and of the scores before if they count.
fn identity(model: &ModelVersion, table: &RankTable, with_before: bool) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(&model.sha256);
    hash.update(model.version.to_le_bytes());
    for position in 0..table.len() {
        hash.update(table.score(position).to_bits().to_le_bytes());
        match table.id(position) {
            IdRef::Int(id) => hash.update(id.to_le_bytes()),
            IdRef::Text(id) => {
                hash.update((id.len() as u64).to_le_bytes());
                hash.update(id);
            }
        }
        if with_before {
            let before = table.before(position).unwrap_or(f64::NAN);
            hash.update(before.to_bits().to_le_bytes());
        }
    }
    let digest = hash.finalize();
    let mut identity = [0; 16];
    for (byte, digest) in identity.iter_mut().zip(digest) {
        *byte = digest;
    }
    identity
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::features::metrics::FeatureMetrics;
    use crate::features::sources::Sources;
    use crate::metrics::Registry;
    use crate::models::sample;

    /// The sample model with the shipped customers.
    fn servable() -> Servable {
        let version = sample::version(1);
        let metrics = FeatureMetrics::new(&Registry::default()).unwrap();
        let sources = Sources::new(&Config::default(), metrics.clone()).unwrap();
        let spec = sources.snapshot_spec([&version], Some("as_of")).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/customers.parquet");
        let snapshot = Arc::new(Snapshot::load(&path, &spec, &mut |_| {}).unwrap());
        let plan = sources.plan(&[&version], Some(&snapshot)).pop().unwrap().unwrap();
        Servable::new(Arc::new(version), plan, &[], &metrics)
    }

    #[test]
    fn every_customer_is_ranked_and_the_identity_is_that_of_the_list() {
        let servable = servable();
        let first = compute(&servable, 1.8e9, &|| false).unwrap();
        let table = &first.table;
        let customers = table.snapshot().len();
        assert_eq!((table.len(), first.unscored), (customers, 0));
        assert!((1..customers).all(|at| table.score(at - 1) >= table.score(at)));
        let of_bands: usize = first.bands.iter().map(|band| band.customers).sum();
        assert!(of_bands <= customers && first.bands.iter().all(|band| band.change.is_none()));
        let again = compute(&servable, 1.8e9, &|| false).unwrap();
        let identities = |computed: &Computed| [computed.identities.scores, computed.identities.changes];
        assert_eq!(identities(&first), identities(&again));
        assert_ne!(
            first.identities.of(OrderKey::Score),
            first.identities.of(OrderKey::Change)
        );
    }

    #[test]
    fn it_stops_between_two_batches() {
        let servable = servable();
        let looks = Cell::new(0);
        let stop = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };
        assert!(matches!(
            compute(&servable, 1.8e9, &stop),
            Err(NoRanking::Stopped)
        ));
        assert_eq!(looks.get(), 3);
    }
}
