//! How well scores order customers: the area under the ROC curve, and the lift at the share that can be called.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::score_bins::{ScoreBins, Weights};
use super::{Estimate, interval, number};

/// The AUC of known results with the interval of DeLong et al. (1988), from bins: equal scores, here those of a bin, count
/// half. `design` multiplies the variance. `None` unless customers of both results are there.
pub fn auc(bins: &ScoreBins, design: f64) -> Option<Estimate> {
    let bins = bins.known();
    let total = totals(&bins);
    if total.left < 1.0 || total.stayed < 1.0 {
        return None;
    }
    let value = area(&bins, total);
    let (mut below, mut left_spread, mut stayed_spread) = (
        Weights {
            stayed: 0.0,
            left: 0.0,
        },
        0.0,
        0.0,
    );
    for bin in &bins {
        // The share of the other class that each customer of this bin is ordered rightly against.
        let of_left = (below.stayed + bin.stayed / 2.0) / total.stayed;
        let of_stayed = (total.left - below.left - bin.left / 2.0) / total.left;
        left_spread += bin.left * (of_left - value).powi(2);
        stayed_spread += bin.stayed * (of_stayed - value).powi(2);
        below.stayed += bin.stayed;
        below.left += bin.left;
    }
    let variance = |spread: f64, count: f64| match count > 1.0 {
        true => spread / (count - 1.0) / count,
        // One customer says nothing about the spread: the largest one there is.
        false => 0.25,
    };
    let variance = variance(left_spread, total.left) + variance(stayed_spread, total.stayed);
    Estimate::normal(value, (variance * design).sqrt(), (0.0, 1.0))
}

/// The AUC that the scores themselves expect, with the interval of Hanley and McNeil (1982) for that many leavers.
pub fn expected_auc(bins: &ScoreBins, design: f64) -> Option<Estimate> {
    let bins = bins.expected();
    let total = totals(&bins);
    if total.left <= 0.0 || total.stayed <= 0.0 {
        return None;
    }
    let value = area(&bins, total);
    let (left, stayed) = (total.left.max(1.0), total.stayed.max(1.0));
    let q1 = value / (2.0 - value) - value * value;
    let q2 = 2.0 * value * value / (1.0 + value) - value * value;
    let variance = (value * (1.0 - value) + (left - 1.0) * q1 + (stayed - 1.0) * q2) / (left * stayed);
    Estimate::normal(value, (variance.max(0.0) * design).sqrt(), (0.0, 1.0))
}

fn totals(bins: &[Weights]) -> Weights {
    Weights {
        stayed: bins.iter().map(|bin| bin.stayed).sum(),
        left: bins.iter().map(|bin| bin.left).sum(),
    }
}

fn area(bins: &[Weights], total: Weights) -> f64 {
    let mut below = 0.0;
    let mut area = 0.0;
    for bin in bins {
        area += bin.left * (below + bin.stayed / 2.0);
        below += bin.stayed;
    }
    area / (total.left * total.stayed)
}

/// What calling the highest scores reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiftReport {
    /// The share of the customers that can be called.
    #[schema(example = 0.1)]
    pub share: f64,
    /// As many customers.
    #[schema(example = 120.4)]
    pub customers: f64,
    /// The share of them that left; Wilson's interval.
    pub rate: Estimate,
    /// That share in multiples of the share of all.
    pub lift: Estimate,
    /// The share of all leavers that is among them; Wilson's interval.
    pub captured: Estimate,
}

/// The lift of the `share` of customers with the highest scores. Of a bin across the border the rest is taken in
/// proportion.
pub fn lift(bins: &ScoreBins, share: f64, design: f64) -> Option<LiftReport> {
    let all: u64 = bins.iter().map(|(_, bin)| bin.known).sum();
    let all_left: u64 = bins.iter().map(|(_, bin)| bin.left).sum();
    if all_left == 0 {
        return None;
    }
    let (all, all_left) = (number(all), number(all_left));
    let wanted = all * share;
    let (mut customers, mut left) = (0.0, 0.0);
    for (_, bin) in bins.iter().rev().filter(|(_, bin)| bin.known > 0) {
        let part = ((wanted - customers) / number(bin.known)).min(1.0);
        if part <= 0.0 {
            break;
        }
        customers += part * number(bin.known);
        left += part * number(bin.left);
    }
    let rate = interval::wilson(left / design, customers / design)?;
    Some(LiftReport {
        share,
        customers,
        rate,
        lift: rate.scaled(all / all_left),
        captured: interval::wilson(left / design, all_left / design)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(rows: &[(f64, bool)]) -> ScoreBins {
        let mut bins = ScoreBins::default();
        for &(score, left) in rows {
            bins.add(score);
            bins.add_known(score, left);
        }
        bins
    }

    #[test]
    fn auc_counts_pairs_and_ties_half() {
        // scikit-learn: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.75.
        let found = auc(
            &bins(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]),
            1.0,
        )
        .unwrap();
        assert!((found.value - 0.75).abs() < 1e-12);
        let tied = auc(&bins(&[(0.3, false), (0.3, true), (0.3, false)]), 1.0).unwrap();
        assert!((tied.value - 0.5).abs() < 1e-12);
        assert_eq!(auc(&bins(&[(0.3, true)]), 1.0), None);
    }

    #[test]
    fn the_expected_auc_of_equal_scores_is_a_half() {
        let found = expected_auc(&bins(&[(0.2, false); 50]), 1.0).unwrap();
        assert!((found.value - 0.5).abs() < 1e-12 && found.low < 0.5 && found.high > 0.5);
    }

    #[test]
    fn lift_takes_the_highest_scores_and_a_part_of_the_last_bin() {
        let rows = [
            (0.9, true),
            (0.8, true),
            (0.2, false),
            (0.1, false),
            (0.1, true),
            (0.05, false),
        ];
        let found = lift(&bins(&rows), 1.0 / 3.0, 1.0).unwrap();
        assert!((found.customers - 2.0).abs() < 1e-9 && (found.lift.value - 2.0).abs() < 1e-9);
        assert!((found.captured.value - 2.0 / 3.0).abs() < 1e-9);
        let half = lift(&bins(&[(0.3, true), (0.3, false)]), 0.5, 1.0).unwrap();
        assert!((half.customers - 1.0).abs() < 1e-9 && (half.rate.value - 0.5).abs() < 1e-9);
    }
}
