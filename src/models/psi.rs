//! Population stability index: the distance of two distributions over the same bins.

/// Added to every bin, so that an empty one does not make the index infinite.
const SMOOTHING: f64 = 0.5;

/// The population stability index of `observed` against `expected`, minus its chance level: the 99.9th percentile for two
/// samples of these sizes from one distribution. Not below zero; `None` without counts.
#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
pub fn beyond_chance(expected: &[u64], observed: &[u64]) -> Option<f64> {
    let (rows, seen) = (expected.iter().sum::<u64>(), observed.iter().sum::<u64>());
    if expected.len() != observed.len() || expected.len() < 2 || rows == 0 || seen == 0 {
        return None;
    }
    let bins = expected.len() as f64;
    let share = |count: u64, total: u64| (count as f64 + SMOOTHING) / (total as f64 + SMOOTHING * bins);
    let pairs = expected.iter().zip(observed);
    let index: f64 = pairs
        .map(|(&expected, &observed)| {
            let (p, q) = (share(expected, rows), share(observed, seen));
            (q - p) * (q / p).ln()
        })
        .sum();
    let chance = (1.0 / rows as f64 + 1.0 / seen as f64) * chi_square_999(bins - 1.0);
    Some((index - chance).max(0.0))
}

/// The 99.9th percentile of χ² by Wilson and Hilferty's approximation.
fn chi_square_999(freedom: f64) -> f64 {
    const Z: f64 = 3.090;
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + Z * part.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_taken_off_and_a_real_shift_stays() {
        assert!((chi_square_999(9.0) - 27.88).abs() < 0.2);
        let training = [1000u64; 10];
        // A hundred scores, unevenly by chance alone: the plain index would be above 0.1.
        let few = [14, 6, 9, 12, 8, 11, 5, 15, 10, 10];
        assert_eq!(beyond_chance(&training, &few), Some(0.0));
        let shifted = [0, 0, 0, 0, 0, 0, 0, 0, 400, 600];
        assert!(beyond_chance(&training, &shifted).unwrap() > 2.0);
        assert_eq!(beyond_chance(&training, &[0; 10]), None);
    }
}
