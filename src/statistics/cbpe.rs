//! Performance without results, from calibrated scores alone: confidence-based performance estimation (CBPE, as NannyML
//! names it). A calibrated score of 0.3 is right about a customer who leaves in 30 of 100 cases, so sums of scores are
//! expected counts. Valid only while scores are calibrated and the relation between features and results has not changed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::interval::wilson;
use super::ranking::expected_auc;
use super::score_bins::ScoreBins;
use super::sums::ScoreSums;
use super::{Estimate, number};

/// The performance that scores promise of themselves (CBPE). The intervals say how far results would scatter by chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PromisedPerformance {
    /// Customers that are expected to leave, of all scores.
    #[schema(example = 402.5)]
    pub left: f64,
    /// The same as a share.
    pub rate: Estimate,
    /// The area under the ROC curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub auc: Option<Estimate>,
    /// The mean squared error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub brier: Option<Estimate>,
    /// At the threshold.
    pub at_threshold: ThresholdReport,
}

/// Measures at the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ThresholdReport {
    /// Of those at or above the threshold, the share that left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub precision: Option<Estimate>,
    /// Of those that left, the share at or above the threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub recall: Option<Estimate>,
    /// The harmonic mean of precision and recall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.45)]
    pub f1: Option<f64>,
    /// The share on the right side of the threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub accuracy: Option<Estimate>,
}

/// Estimates the performance; `None` without scores.
pub fn expected(sums: &ScoreSums, bins: &ScoreBins, design: f64) -> Option<PromisedPerformance> {
    let n = number(sums.count);
    // E[TP] = Σ p and E[FP] = Σ (1 − p) over scores at or above the threshold; E[FN] and E[TN] over those below it.
    let (hits, above) = (sums.above_sum, number(sums.above));
    let missed = (sums.sum - hits).max(0.0);
    let false_alarms = (above - hits).max(0.0);
    let rejected = (n - above - missed).max(0.0);
    let f1 = 2.0 * hits / (2.0 * hits + false_alarms + missed);
    Some(PromisedPerformance {
        left: sums.sum,
        rate: wilson(sums.sum / design, n / design)?,
        auc: expected_auc(bins, design),
        brier: Estimate::normal(
            sums.variance / n,
            (sums.brier_variance * design).max(0.0).sqrt() / n,
            (0.0, 1.0),
        ),
        at_threshold: ThresholdReport {
            precision: wilson(hits / design, above / design),
            recall: wilson(hits / design, sums.sum / design),
            f1: f1.is_finite().then_some(f1),
            accuracy: wilson((hits + rejected) / design, n / design),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_counts_are_sums_of_scores() {
        let (mut sums, mut bins) = (ScoreSums::default(), ScoreBins::default());
        for score in [0.8, 0.6, 0.1, 0.1] {
            sums.add(score, 0.5);
            bins.add(score);
        }
        let found = expected(&sums, &bins, 1.0).unwrap();
        assert!((found.left - 1.6).abs() < 1e-12);
        assert!((found.at_threshold.precision.unwrap().value - 0.7).abs() < 1e-12);
        assert!((found.at_threshold.recall.unwrap().value - 1.4 / 1.6).abs() < 1e-12);
        // TP 1.4, FP 0.6, FN 0.2, TN 1.8.
        assert!((found.at_threshold.f1.unwrap() - 2.8 / (2.8 + 0.6 + 0.2)).abs() < 1e-12);
        assert!((found.at_threshold.accuracy.unwrap().value - 3.2 / 4.0).abs() < 1e-12);
        assert!((found.brier.unwrap().value - (0.16 + 0.24 + 0.09 + 0.09) / 4.0).abs() < 1e-12);
        assert_eq!(expected(&ScoreSums::default(), &ScoreBins::default(), 1.0), None);
    }
}
