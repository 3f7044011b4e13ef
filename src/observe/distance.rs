//! The population stability index (PSI): the distance of two distributions over the same bins, and what chance makes of it.
//!
//! PSI = Σ (q − p) · ln(q / p). For two samples of n and m rows from one distribution, PSI / (1/n + 1/m) follows χ² with one
//! degree of freedom less than there are bins. The usual limits of 0.1 and 0.25 ignore that: with 100 rows and ten bins,
//! PSI exceeds 0.1 in a third of all samples without any drift.
//!
//! Both that and Pearson's χ² hold for large counts only. Of a rare bin, PSI exaggerates that it is empty, and Pearson's χ² that it
//! is not. So the smaller one counts: then a window without drift raises no more alarms than the level says, also with few rows.

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

/// Added to every bin, so that an empty one does not make the index infinite. It also keeps rare bins below their χ² share.
const SMOOTHING: f64 = 0.5;

/// The quantile of chance that is shown beside an index.
const CHANCE: f64 = 0.999;

/// The distance of two distributions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The population stability index.
    pub psi: f64,
    /// The 99.9th percentile of the index for two samples of these sizes from one distribution.
    pub chance: f64,
    /// The probability of such a distance, or a larger one, by chance: of the smaller one of the index and Pearson's χ².
    pub p_value: f64,
}

impl Distance {
    /// The distance of `observed` from `expected`, both in rows per bin; `None` if one has no rows, or there is only one bin.
    /// Bins without rows on both sides do not count.
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
    pub fn of(expected: &[u64], observed: &[u64]) -> Option<Self> {
        let used = expected.iter().zip(observed);
        let used: Vec<(u64, u64)> = used
            .map(|(&expected, &observed)| (expected, observed))
            .filter(|&(expected, observed)| expected + observed > 0)
            .collect();
        let rows: u64 = used.iter().map(|(expected, _)| expected).sum();
        let seen: u64 = used.iter().map(|(_, observed)| observed).sum();
        if expected.len() != observed.len() || rows == 0 || seen == 0 || expected.len() < 2 {
            return None;
        }
        if used.len() < 2 {
            return Some(Self {
                psi: 0.0,
                chance: 0.0,
                p_value: 1.0,
            });
        }
        let bins = used.len() as f64;
        let share = |count: u64, total: u64| (count as f64 + SMOOTHING) / (total as f64 + SMOOTHING * bins);
        let psi: f64 = used
            .iter()
            .map(|&(expected, observed)| {
                let (p, q) = (share(expected, rows), share(observed, seen));
                (q - p) * (q / p).ln()
            })
            .sum();
        let scale = 1.0 / rows as f64 + 1.0 / seen as f64;
        let chance = ChiSquared::new(bins - 1.0).ok()?;
        Some(Self {
            psi,
            chance: scale * chance.inverse_cdf(CHANCE),
            p_value: chance.sf((psi / scale).min(pearson(&used, rows, seen))),
        })
    }

    /// How far the index is above what chance makes of it; not below zero.
    pub fn beyond_chance(&self) -> f64 {
        (self.psi - self.chance).max(0.0)
    }
}

/// Pearson's χ² of two samples, in rows per bin, for the hypothesis that both are from one distribution.
#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
fn pearson(used: &[(u64, u64)], rows: u64, seen: u64) -> f64 {
    let whole = (rows + seen) as f64;
    let deviation = |count: u64, of: u64, both: u64| {
        let expected = both as f64 * of as f64 / whole;
        (count as f64 - expected).powi(2) / expected
    };
    used.iter()
        .map(|&(expected, observed)| {
            let both = expected + observed;
            deviation(expected, rows, both) + deviation(observed, seen, both)
        })
        .sum()
}

/// Which of these hypotheses are rejected at a false discovery rate of `level`, by Benjamini and Hochberg's procedure. If all
/// are true, at least one is rejected with a probability of at most `level`, however many there are.
#[expect(clippy::cast_precision_loss, reason = "numbers of features")]
pub fn discoveries(p_values: &[f64], level: f64) -> Vec<bool> {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let limit = sorted
        .iter()
        .enumerate()
        .rev()
        .find(|&(rank, &p)| p <= level * (rank + 1) as f64 / count)
        .map(|(_, &p)| p);
    let rejected = |&p: &f64| limit.is_some_and(|limit| p <= limit);
    p_values.iter().map(rejected).collect()
}

/// The lower end of Wilson's interval for a share of `part` in `whole`, with a confidence of 99.9 %.
#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
pub fn share_at_least(part: u64, whole: u64) -> f64 {
    const Z: f64 = 3.290_526_731_491_926;
    if whole == 0 {
        return 0.0;
    }
    let (n, p) = (whole as f64, part as f64 / whole as f64);
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half) / (1.0 + Z * Z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_shift_is_far_above_chance() {
        let training = [1000u64; 10];
        // A hundred scores, unevenly by chance alone: the plain index is near 0.1.
        let few = Distance::of(&training, &[14, 6, 9, 12, 8, 11, 5, 15, 10, 10]).unwrap();
        assert!(few.psi > 0.08 && few.p_value > 0.1, "{few:?}");
        assert_eq!(few.beyond_chance(), 0.0);
        let shifted = Distance::of(&training, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 500]).unwrap();
        assert!(shifted.beyond_chance() > 2.0 && shifted.p_value < 1e-12);
        assert_eq!(Distance::of(&training, &[0; 10]), None);
    }

    /// The expected numbers are from scipy 1.17: `rel_entr(q, p).sum() + rel_entr(p, q).sum()` of the smoothed shares,
    /// `chi2.ppf(0.999, 3)`, and `chi2.sf` of the smaller statistic, where Pearson's is `chi2_contingency(…, correction=False)`.
    #[test]
    fn agrees_with_scipy() {
        let found = Distance::of(&[500, 300, 150, 50, 0], &[90, 70, 30, 10, 0]).unwrap();
        assert!((found.psi - 0.013_100_216_3).abs() < 1e-9, "{found:?}");
        assert!((found.chance - 0.097_597_417_6).abs() < 1e-9, "{found:?}");
        assert!((found.p_value - 0.535_231_5).abs() < 1e-6, "{found:?}");
        // By PSI alone an empty bin would be a matter of one in 10,000.
        let empty = Distance::of(&[480, 20], &[200, 0]).unwrap();
        assert!((empty.p_value - 0.004_108_351_4).abs() < 1e-9, "{empty:?}");
    }

    #[test]
    fn discoveries_are_those_of_benjamini_and_hochberg() {
        // The example of their paper, fifteen tests at 5 %: the four smallest.
        let p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
            0.6528, 0.7590, 1.000,
        ];
        let found = discoveries(&p_values, 0.05);
        assert_eq!(found.iter().filter(|&&found| found).count(), 4);
        assert!(discoveries(&[], 0.05).is_empty());
    }

    #[test]
    fn a_share_of_few_rows_is_not_certain() {
        assert_eq!(share_at_least(0, 100), 0.0);
        assert!(share_at_least(1, 1) < 0.1);
        assert!((share_at_least(3000, 10_000) - 0.2851).abs() < 1e-3);
    }
}
