//! Whether scores are the shares that they claim: the calibration table, the expected calibration error, and the slope.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::score_bins::{ScoreBins, log_odds};
use super::{Estimate, interval, number};

/// Rows of the table.
const ROWS: usize = 10;

/// Iterations of Newton's method for the slope; it needs about five.
const ITERATIONS: usize = 30;

/// A row of the calibration table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CalibrationTableRow {
    /// The lowest score.
    #[schema(example = 0.12)]
    pub from: f64,
    /// Where the next row begins.
    #[schema(example = 0.16)]
    pub to: f64,
    /// Scores.
    #[schema(example = 120)]
    pub scores: u64,
    /// Their mean.
    #[schema(example = 0.138)]
    pub mean: f64,
    /// Scores whose customer left.
    #[schema(example = 15)]
    pub left: u64,
    /// Their share; Wilson's interval.
    pub rate: Estimate,
}

/// Groups known results by score into at most ten rows of about as many customers. Customers of one bin stay together.
pub fn table(bins: &ScoreBins, design: f64) -> Vec<CalibrationTableRow> {
    let total: u64 = bins.iter().map(|(_, bin)| bin.known).sum();
    let mut rows = Vec::with_capacity(ROWS);
    let (mut seen, mut known, mut left, mut sum, mut from) = (0, 0, 0, 0.0, None);
    for (range, bin) in bins.iter().filter(|(_, bin)| bin.known > 0) {
        let from = *from.get_or_insert(range.from);
        known += bin.known;
        left += bin.left;
        sum += bin.known_sum;
        seen += bin.known;
        // The row that ends here, of ten.
        let due = number(rows.len() as u64 + 1) / number(ROWS as u64) * number(total);
        if number(seen) + 1e-9 < due && seen < total {
            continue;
        }
        let (effective, whole) = (number(left) / design, number(known) / design);
        if let Some(rate) = interval::wilson(effective, whole) {
            let mean = sum / number(known);
            let to = if seen == total { 1.0 } else { range.to };
            rows.push(CalibrationTableRow {
                from,
                to,
                scores: known,
                mean,
                left,
                rate,
            });
        }
        (known, left, sum) = (0, 0, 0.0);
        from_next(&mut rows);
    }
    rows
}

/// Makes each row end where the next one begins, so that they have no gaps.
fn from_next(rows: &mut [CalibrationTableRow]) {
    if let [.., before, last] = rows {
        last.from = before.to;
    }
}

/// The expected calibration error: the mean distance of score and observed share over the rows, weighted by customers.
/// Chance alone makes it positive.
pub fn error(rows: &[CalibrationTableRow]) -> Option<f64> {
    let known: u64 = rows.iter().map(|row| row.scores).sum();
    let distance = |row: &CalibrationTableRow| number(row.scores) * (row.rate.value - row.mean).abs();
    (known > 0).then(|| rows.iter().map(distance).sum::<f64>() / number(known))
}

/// Slope and intercept of the logistic regression of the result on the log-odds of the score (Cox, 1958). A slope of 1 and an
/// intercept of 0 are perfect; a slope below 1 means that scores are too extreme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationLine {
    /// The slope.
    pub slope: Estimate,
    /// The intercept.
    pub intercept: Estimate,
}

/// Fits the line by Newton's method over the bins. `None` if there is no finite one, such as with one result only.
pub fn line(bins: &ScoreBins, design: f64) -> Option<CalibrationLine> {
    let known = bins.iter().filter(|(_, bin)| bin.known > 0);
    let points: Vec<(f64, f64, f64)> = known
        .map(|(_, bin)| {
            let mean = (bin.known_sum / number(bin.known)).clamp(1e-9, 1.0 - 1e-9);
            (log_odds(mean), number(bin.known), number(bin.left))
        })
        .collect();
    let (mut intercept, mut slope) = (0.0, 1.0);
    for _ in 0..ITERATIONS {
        let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(x, count, left) in &points {
            let p = 1.0 / (1.0 + f64::exp(-(intercept + slope * x)));
            let weight = count * p * (1.0 - p);
            g0 += left - count * p;
            g1 += (left - count * p) * x;
            h00 += weight;
            h01 += weight * x;
            h11 += weight * x * x;
        }
        let determinant = h00 * h11 - h01 * h01;
        if determinant.is_nan() || determinant <= 1e-9 * h00 * h11 {
            return None;
        }
        let steps = (
            (h11 * g0 - h01 * g1) / determinant,
            (h00 * g1 - h01 * g0) / determinant,
        );
        intercept += steps.0;
        slope += steps.1;
        if steps.0.abs().max(steps.1.abs()) < 1e-9 {
            let error = |own: f64| (own / determinant * design).sqrt();
            let range = (f64::NEG_INFINITY, f64::INFINITY);
            return Some(CalibrationLine {
                slope: Estimate::normal(slope, error(h00), range)?,
                intercept: Estimate::normal(intercept, error(h11), range)?,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(count: usize, truth: impl Fn(f64) -> f64) -> ScoreBins {
        let mut random = fastrand::Rng::with_seed(3);
        let mut bins = ScoreBins::default();
        for _ in 0..count {
            let score = random.f64().powi(2);
            bins.add(score);
            bins.add_known(score, random.f64() < truth(score));
        }
        bins
    }

    #[test]
    fn a_calibrated_model_has_slope_one_and_a_small_error() {
        let bins = simulated(40_000, |score| score);
        let rows = table(&bins, 1.0);
        assert_eq!(
            (rows.len(), rows.iter().map(|row| row.scores).sum::<u64>()),
            (10, 40_000)
        );
        assert!(
            rows.windows(2)
                .all(|pair| (pair[0].to - pair[1].from).abs() < 1e-15)
        );
        assert!(error(&rows).unwrap() < 0.01);
        let CalibrationLine { slope, intercept } = line(&bins, 1.0).unwrap();
        assert!(
            (slope.value - 1.0).abs() < 0.05 && intercept.value.abs() < 0.05,
            "{slope:?} {intercept:?}"
        );
    }

    #[test]
    fn scores_that_are_too_extreme_have_a_slope_below_one() {
        let bins = simulated(20_000, |score| 0.5 * score + 0.15);
        let slope = line(&bins, 1.0).unwrap().slope;
        assert!(slope.high < 1.0, "{slope:?}");
        assert!(error(&table(&bins, 1.0)).unwrap() > 0.05);
    }

    #[test]
    fn without_both_results_there_is_no_line() {
        assert_eq!(line(&simulated(500, |_| 0.0), 1.0), None);
        assert!(table(&ScoreBins::default(), 1.0).is_empty() && error(&[]).is_none());
    }
}
