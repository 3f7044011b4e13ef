//! Compares the scores of a log with those of a model, row by row, in bounded memory.

use std::collections::BTreeMap;

use crate::models::ModelVersion;
use crate::record::prediction_log::meta::FileMeta;
use crate::scoring::replay::{RowScore, band_by_contract};

/// Rows with other bits that are listed.
const LISTED: usize = 10;

/// Changes of scores that are kept for percentiles; of more, a random sample.
const MOST_CHANGES: usize = 1_000_000;

/// Reasons without a score that are counted apart.
const MOST_REASONS: usize = 20;

/// The name of no band.
pub(super) const NO_BAND: &str = "(none)";

/// A row of the log.
#[derive(Debug)]
pub(super) struct LoggedScore {
    pub(super) entity: Option<String>,
    pub(super) writer: String,
    pub(super) sequence: i64,
    pub(super) score: f64,
    pub(super) value: f64,
    /// `None` if the log has none.
    pub(super) margin: Option<f64>,
    pub(super) band: Option<String>,
    /// The logged inputs.
    pub(super) values: Vec<f64>,
}

/// A row whose bits differ.
#[derive(Debug)]
pub(super) struct DifferingRow {
    pub(super) logged: LoggedScore,
    pub(super) score: f64,
    pub(super) value: f64,
    pub(super) margin: Option<f64>,
}

/// An entity whose score changes.
#[derive(Debug)]
pub(super) struct Mover {
    pub(super) logged: LoggedScore,
    pub(super) score: f64,
    /// The inputs of the model.
    pub(super) inputs: Vec<f64>,
}

impl Mover {
    pub(super) fn change(&self) -> f64 {
        self.score - self.logged.score
    }

    fn is_entity_of(&self, other: &LoggedScore) -> bool {
        self.logged.entity.is_some() && self.logged.entity == other.entity
    }
}

/// The rows that one version wrote, compared with a model.
#[derive(Debug)]
pub(super) struct VersionComparison {
    pub(super) meta: FileMeta,
    /// Whether the model is that version.
    same: bool,
    top: usize,
    rows: u64,
    differing_bits: u64,
    /// Rows whose score, value or margin has other bits, if the model is the version.
    pub(super) listed: Vec<DifferingRow>,
    /// Scores with other bits.
    pub(super) changed: u64,
    /// Rows without a score, by reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// Rows by the band in the log and the band now.
    pub(super) bands: BTreeMap<(String, String), u64>,
    changes: Vec<f64>,
    /// Rows with a score.
    pub(super) scored: u64,
    sum: f64,
    sum_of_sizes: f64,
    /// The entities whose scores change most, the largest change first.
    pub(super) movers: Vec<Mover>,
    random: fastrand::Rng,
}

impl VersionComparison {
    pub(super) fn new(meta: &FileMeta, same: bool, top: usize) -> Self {
        Self {
            meta: meta.clone(),
            same,
            top,
            rows: 0,
            differing_bits: 0,
            listed: Vec::new(),
            changed: 0,
            refused: BTreeMap::new(),
            bands: BTreeMap::new(),
            changes: Vec::new(),
            scored: 0,
            sum: 0.0,
            sum_of_sizes: 0.0,
            movers: Vec::new(),
            // The same report for the same log.
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// Whether a file belongs here: the same version, with the same columns.
    pub(super) fn is_of(&self, meta: &FileMeta) -> bool {
        (
            self.meta.version,
            &self.meta.sha256,
            &self.meta.output,
            &self.meta.inputs,
        ) == (meta.version, &meta.sha256, &meta.output, &meta.inputs)
    }

    pub(super) fn version(&self) -> u64 {
        self.meta.version
    }

    pub(super) fn is_same(&self) -> bool {
        self.same
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The rows with other bits than in the log, if the model is the version that wrote it.
    pub(super) fn differing_bits(&self) -> u64 {
        self.differing_bits
    }

    /// Adds a row that the model's contract refuses.
    pub(super) fn refuse(&mut self, reason: String) {
        self.rows += 1;
        let more = || "other reasons".to_owned();
        let known = self.refused.contains_key(&reason) || self.refused.len() < MOST_REASONS;
        *self
            .refused
            .entry(if known { reason } else { more() })
            .or_insert(0) += 1;
    }

    /// Adds a row; `margin` counts if the model is the version that wrote it, and the log has margins.
    pub(super) fn add(
        &mut self,
        logged: LoggedScore,
        replayed: RowScore,
        margin: Option<f64>,
        inputs: &[f64],
        model: &ModelVersion,
    ) {
        if self.same {
            return self.add_same(logged, replayed, margin);
        }
        let Some(score) = replayed.score else {
            return self.refuse("the score is not finite".to_owned());
        };
        self.rows += 1;
        self.scored += 1;
        let change = score - logged.score;
        self.changed += u64::from(score.to_bits() != logged.score.to_bits());
        self.sum += change;
        self.sum_of_sizes += change.abs();
        self.sample(change);
        let band = |name: Option<&str>| name.unwrap_or(NO_BAND).to_owned();
        let now = band_by_contract(model, score);
        let bands = (band(logged.band.as_deref()), band(now.as_deref()));
        *self.bands.entry(bands).or_insert(0) += 1;
        self.rank(logged, score, inputs);
    }

    fn add_same(&mut self, logged: LoggedScore, replayed: RowScore, margin: Option<f64>) {
        self.rows += 1;
        self.scored += 1;
        let score = replayed.score.unwrap_or(f64::NAN);
        let equal = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let margins_equal = logged.margin.map(f64::to_bits) == margin.map(f64::to_bits);
        if equal(logged.score, score) && equal(logged.value, replayed.value) && margins_equal {
            return;
        }
        self.differing_bits += 1;
        if self.listed.len() < LISTED {
            self.listed.push(DifferingRow {
                logged,
                score,
                value: replayed.value,
                margin,
            });
        }
    }

    /// Keeps a change for the percentiles: all, or a random sample of so many (algorithm R).
    fn sample(&mut self, change: f64) {
        if self.changes.len() < MOST_CHANGES {
            return self.changes.push(change);
        }
        let at = self.random.u64(..self.scored);
        let slot = usize::try_from(at).ok().and_then(|at| self.changes.get_mut(at));
        if let Some(slot) = slot {
            *slot = change;
        }
    }

    /// Keeps an entity if its change is among the largest; of several rows of an entity, the one that changes most.
    fn rank(&mut self, logged: LoggedScore, score: f64, inputs: &[f64]) {
        let change = (score - logged.score).abs();
        if self.top == 0 || change == 0.0 {
            return;
        }
        let last = self.movers.last().map_or(0.0, |last| last.change().abs());
        if self.movers.len() == self.top && change <= last {
            return;
        }
        if let Some(at) = self.movers.iter().position(|mover| mover.is_entity_of(&logged)) {
            if self.movers[at].change().abs() >= change {
                return;
            }
            self.movers.remove(at);
        }
        let at = self
            .movers
            .partition_point(|mover| mover.change().abs() >= change);
        let inputs = inputs.to_vec();
        self.movers.insert(
            at,
            Mover {
                logged,
                score,
                inputs,
            },
        );
        self.movers.truncate(self.top);
    }

    /// The mean change of a score, and the mean size of the change; `None` without scores.
    pub(super) fn means(&self) -> Option<(f64, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "fewer rows than 2^53")]
        let rows = self.scored as f64;
        (self.scored > 0).then(|| (self.sum / rows, self.sum_of_sizes / rows))
    }

    /// Percentiles of the change, as numpy's default: linear between neighbours.
    pub(super) fn percentiles<const N: usize>(&mut self, percents: [f64; N]) -> Option<[f64; N]> {
        self.changes.sort_by(f64::total_cmp);
        let changes = &self.changes;
        let last = changes.len().checked_sub(1)?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position in a list of at most a million"
        )]
        let percentile = |percent: f64| {
            let at = percent / 100.0 * last as f64;
            let low = (at.floor() as usize).min(last);
            let high = (low + 1).min(last);
            changes[low] + (changes[high] - changes[low]) * (at - low as f64)
        };
        Some(percents.map(percentile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(top: usize) -> VersionComparison {
        let meta: FileMeta = serde_json::from_str(
            r#"{"format":1,"model":"m","version":1,"sha256":"","output":"","writer":"w","entity":"plain","inputs":[]}"#,
        )
        .unwrap();
        VersionComparison::new(&meta, false, top)
    }

    fn logged(entity: Option<&str>, score: f64) -> LoggedScore {
        LoggedScore {
            entity: entity.map(str::to_owned),
            writer: String::new(),
            sequence: 0,
            score,
            value: score,
            margin: None,
            band: None,
            values: Vec::new(),
        }
    }

    #[test]
    fn an_entity_is_listed_once_with_its_largest_change() {
        let mut comparison = comparison(2);
        for (entity, change) in [
            (Some("a"), 0.1),
            (Some("b"), -0.3),
            (Some("a"), 0.2),
            (Some("b"), 0.25),
            (Some("c"), 0.15),
            (None, 0.0),
        ] {
            comparison.rank(logged(entity, 0.5), 0.5 + change, &[]);
        }
        let movers = comparison.movers.iter();
        let names: Vec<&str> = movers
            .filter_map(|mover| mover.logged.entity.as_deref())
            .collect();
        assert_eq!(names, ["b", "a"]);
        // Rows without an id are entities of their own.
        comparison.rank(logged(None, 0.5), 0.9, &[]);
        comparison.rank(logged(None, 0.5), 0.9, &[]);
        assert!(
            comparison
                .movers
                .iter()
                .all(|mover| mover.logged.entity.is_none())
        );
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let mut comparison = comparison(0);
        assert_eq!(comparison.percentiles([50.0]), None);
        for change in [4.0, 1.0, 3.0, 2.0] {
            comparison.sample(change);
        }
        // numpy.percentile([1, 2, 3, 4], [0, 10, 50, 100])
        assert_eq!(
            comparison.percentiles([0.0, 10.0, 50.0, 100.0]),
            Some([1.0, 1.3, 2.5, 4.0])
        );
    }
}
