//! Sums over single scores, for measures that bins would round.

use super::{Estimate, number};

/// The least probability that the log loss takes, as scikit-learn's: a score of exactly 0 or 1 would make it infinite.
const LEAST: f64 = f64::EPSILON;

/// Sums over scores with a known result.
#[derive(Clone, Debug, Default)]
pub struct KnownSums {
    /// Scores.
    pub count: u64,
    /// Those that left.
    pub left: u64,
    /// The sum of the scores: how many the model expected to leave.
    pub expected: f64,
    brier: Moments,
    log_loss: Moments,
    /// At the threshold.
    pub confusion: Confusion,
}

/// Scores at or above a threshold and below it, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual names")]
pub struct Confusion {
    pub true_positives: u64,
    pub false_positives: u64,
    pub false_negatives: u64,
    pub true_negatives: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.squares += value * value;
    }

    /// The mean of `count` values; its variance is multiplied by `design`.
    fn mean(&self, count: u64, design: f64) -> Option<Estimate> {
        if count < 2 {
            return None;
        }
        let n = number(count);
        let mean = self.sum / n;
        let variance = ((self.squares - self.sum * mean) / (n - 1.0)).max(0.0);
        Estimate::normal(mean, (variance / n * design).sqrt(), (0.0, f64::INFINITY))
    }
}

impl KnownSums {
    /// Adds a score with its result.
    pub fn add(&mut self, score: f64, left: bool, threshold: f64) {
        self.count += 1;
        self.left += u64::from(left);
        self.expected += score;
        let truth = if left { 1.0 } else { 0.0 };
        self.brier.add((score - truth).powi(2));
        let likelihood = if left { score } else { 1.0 - score };
        self.log_loss.add(-likelihood.clamp(LEAST, 1.0 - LEAST).ln());
        let cell = match (score >= threshold, left) {
            (true, true) => &mut self.confusion.true_positives,
            (true, false) => &mut self.confusion.false_positives,
            (false, true) => &mut self.confusion.false_negatives,
            (false, false) => &mut self.confusion.true_negatives,
        };
        *cell += 1;
    }

    /// The mean squared difference of score and result, with a normal interval.
    pub fn brier(&self, design: f64) -> Option<Estimate> {
        self.brier.mean(self.count, design)
    }

    /// The mean negative log likelihood, with a normal interval.
    pub fn log_loss(&self, design: f64) -> Option<Estimate> {
        self.log_loss.mean(self.count, design)
    }
}

/// Sums over scores, with or without a known result.
#[derive(Clone, Debug, Default)]
pub struct ScoreSums {
    /// Scores.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Σ p (1 − p): the expected Brier score times the count.
    pub variance: f64,
    /// Σ p (1 − p) (1 − 2p)²: the variance of the Brier score times the square of the count.
    pub brier_variance: f64,
    /// Scores at or above the threshold.
    pub above: u64,
    /// Their sum.
    pub above_sum: f64,
}

impl ScoreSums {
    /// Adds a score.
    pub fn add(&mut self, score: f64, threshold: f64) {
        self.count += 1;
        self.sum += score;
        let variance = score * (1.0 - score);
        self.variance += variance;
        self.brier_variance += variance * (1.0 - 2.0 * score).powi(2);
        if score >= threshold {
            self.above += 1;
            self.above_sum += score;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_give_the_means_by_hand() {
        let mut sums = KnownSums::default();
        for (score, left) in [(0.1, false), (0.4, true), (0.8, true), (0.3, false)] {
            sums.add(score, left, 0.3);
        }
        let brier = sums.brier(1.0).unwrap();
        assert!((brier.value - (0.01 + 0.36 + 0.04 + 0.09) / 4.0).abs() < 1e-12);
        let expected = -(0.9f64.ln() + 0.4f64.ln() + 0.8f64.ln() + 0.7f64.ln()) / 4.0;
        assert!((sums.log_loss(1.0).unwrap().value - expected).abs() < 1e-12);
        assert_eq!(
            (
                sums.left,
                sums.confusion.true_positives,
                sums.confusion.false_positives
            ),
            (2, 2, 1)
        );
        assert!(sums.brier(4.0).unwrap().high > brier.high);
    }
}
