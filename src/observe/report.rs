//! What has moved: compares a window with training, feature by feature.

mod causes;
mod describe;

use causes::Compared;

pub use causes::Cause;

use super::bins::{BinRule, FeatureBins, ModelBins};

use super::distance::{Distance, discoveries};
use super::window::Window;
use crate::config::DriftSection;
use crate::models::ModelVersion;
use crate::values::feature_type::FeatureType;
use crate::values::issues::STATUSES;

/// Least rows of a window that is judged.
const LEAST_ROWS: u64 = 200;

/// Least rows for each bin of a feature: with fewer, χ² does not hold.
const ROWS_PER_BIN: u64 = 20;

/// From which size on a difference is drift.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// The false discovery rate: the probability that a window without drift names anything.
    pub level: f64,
    /// The least population stability index.
    pub psi: f64,
    /// The least rise of a share, such as that of values out of range.
    pub share: f64,
}

impl From<&DriftSection> for Thresholds {
    fn from(settings: &DriftSection) -> Self {
        Self {
            level: settings.level,
            psi: settings.psi,
            share: settings.share,
        }
    }
}

/// A window compared with training.
#[derive(Clone, Debug)]
pub struct DriftReport {
    /// Entities in the window.
    pub rows: u64,
    /// Rows at which a window is judged.
    pub needed: u64,
    /// By input, in the model's order.
    pub features: Vec<FeatureDrift>,
    /// Of the model's value before calibration.
    pub score: Option<Drift>,
    /// The share of the drifted features in what the model relies on.
    pub drifted_weight: f64,
    /// A summary.
    pub text: String,
}

/// One feature compared with training.
#[derive(Clone, Debug)]
pub struct FeatureDrift {
    /// Position among the model's inputs.
    pub input: usize,
    /// Its share in what the model relies on.
    pub weight: f64,
    /// The distribution of its values, with the missing ones.
    pub values: Drift,
    /// The share of the rows with a number beyond those at training.
    pub beyond: f64,
    /// Shares by status, in the order of [`STATUSES`].
    pub statuses: [f64; STATUSES.len()],
    /// What has moved.
    pub causes: Vec<Cause>,
    /// A sentence.
    pub text: String,
}

/// A distribution compared with training.
#[derive(Clone, Debug)]
pub struct Drift {
    /// Whether it has moved; false with too few rows.
    pub drifted: bool,
    /// Whether there are enough rows for its bins.
    pub judged: bool,
    /// How far; `None` without rows.
    pub distance: Option<Distance>,
    /// What each bin holds.
    pub labels: Vec<String>,
    /// The share of each bin at training.
    pub expected: Vec<f64>,
    /// The share of each bin in the window.
    pub observed: Vec<f64>,
}

impl FeatureDrift {
    /// Whether anything about it has moved.
    pub fn drifted(&self) -> bool {
        !self.causes.is_empty()
    }
}

impl DriftReport {
    /// Compares a window with training.
    pub fn of(model: &ModelVersion, bins: &ModelBins, window: &Window, thresholds: Thresholds) -> Self {
        let counts: Vec<Vec<u64>> = window.counts(bins).collect();
        let mut drifts: Vec<Drift> = bins
            .all()
            .zip(&counts)
            .map(|(bins, counts)| Drift::of(bins, counts))
            .collect();
        mark(&mut drifts, model, thresholds);
        let score = bins.score.as_ref().and_then(|_| drifts.pop());
        // The shares are judged apart from the distributions, each at its part of the level.
        #[expect(clippy::cast_precision_loss, reason = "a number of features")]
        let each = Thresholds {
            level: thresholds.level / drifts.len().max(1) as f64,
            ..thresholds
        };
        let features = drifts.into_iter().enumerate().map(|(input, values)| {
            let compared = Compared {
                input: &model.inputs[input],
                position: input,
                bins: &bins.inputs[input],
                counts: &counts[input],
                window,
                values: &values,
            };
            let causes = compared.causes(each);
            let mut feature = FeatureDrift {
                input,
                weight: model.known.importance(input),
                beyond: share(window.beyond(input), window.rows),
                statuses: window.statuses(input).map(|count| share(count, window.rows)),
                causes,
                values,
                text: String::new(),
            };
            let bins = &bins.inputs[input];
            feature.text = describe::feature(model, bins, &counts[input], window, &feature);
            feature
        });
        let features: Vec<FeatureDrift> = features.collect();
        let drifted = features.iter().filter(|feature| feature.drifted());
        let mut report = Self {
            rows: window.rows,
            needed: LEAST_ROWS,
            drifted_weight: drifted.map(|feature| feature.weight).sum(),
            features,
            score,
            text: String::new(),
        };
        report.text = describe::summary(model, &report);
        report
    }

    /// Whether there are enough rows to judge.
    pub fn enough(&self) -> bool {
        self.rows >= self.needed
    }

    /// Whether a feature or the score has moved.
    pub fn anything_moved(&self) -> bool {
        let score = self.score.as_ref().is_some_and(|score| score.drifted);
        score || self.features.iter().any(FeatureDrift::drifted)
    }

    /// The features that have moved, those that the model relies on most first.
    pub fn drifted(&self) -> Vec<&FeatureDrift> {
        let mut drifted: Vec<&FeatureDrift> =
            self.features.iter().filter(|feature| feature.drifted()).collect();
        drifted.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        drifted
    }
}

impl Drift {
    fn of(bins: &FeatureBins, counts: &[u64]) -> Self {
        let (rows, seen) = (bins.expected.iter().sum(), counts.iter().sum());
        let used = bins.expected.iter().zip(counts);
        let used = used
            .filter(|(expected, observed)| **expected + **observed > 0)
            .count();
        Self {
            drifted: false,
            judged: seen >= LEAST_ROWS.max(ROWS_PER_BIN * used as u64),
            distance: Distance::of(&bins.expected, counts),
            labels: bins.labels(),
            expected: bins.expected.iter().map(|&count| share(count, rows)).collect(),
            observed: counts.iter().map(|&count| share(count, seen)).collect(),
        }
    }
}

/// Marks the distributions that have moved. A time moves by its nature, so it is not judged.
fn mark(drifts: &mut [Drift], model: &ModelVersion, thresholds: Thresholds) {
    for (drift, input) in drifts.iter_mut().zip(&model.inputs) {
        drift.judged &= input.contract.kind != FeatureType::Timestamp;
    }
    let judged = || drifts.iter().filter(|drift| drift.judged);
    let p_values: Vec<f64> = judged()
        .map(|drift| drift.distance.map_or(1.0, |distance| distance.p_value))
        .collect();
    let found = discoveries(&p_values, thresholds.level);
    for (drift, found) in drifts.iter_mut().filter(|drift| drift.judged).zip(found) {
        let far = drift
            .distance
            .is_some_and(|distance| distance.psi >= thresholds.psi);
        drift.drifted = found && far;
    }
}

/// Whether a window has enough rows to be judged.
pub(super) fn enough(window: &Window) -> bool {
    window.rows >= LEAST_ROWS
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The edges of a feature's bins; `None` for categories.
fn edges(bins: &FeatureBins) -> Option<&[f64]> {
    match &bins.rule {
        BinRule::Numbers(numbers) => Some(&numbers.edges),
        BinRule::Categories { .. } => None,
    }
}
