//! Confidence intervals of proportions: Wilson (1927), and Newcombe (1998, method 10) for the difference of two.

use super::{Estimate, Z95};

/// The share `part` / `whole` with Wilson's 95 % interval; `None` if `whole` is 0. Both may be fractions, such as counts
/// that are divided by a design effect.
pub fn wilson(part: f64, whole: f64) -> Option<Estimate> {
    if whole.is_nan() || whole <= 0.0 {
        return None;
    }
    let p = (part / whole).clamp(0.0, 1.0);
    let z2 = Z95 * Z95;
    let centre = p + z2 / (2.0 * whole);
    let half = Z95 * (p * (1.0 - p) / whole + z2 / (4.0 * whole * whole)).sqrt();
    let scale = 1.0 + z2 / whole;
    Some(Estimate {
        value: p,
        // The ends of an extreme share are exact, which rounding would miss.
        low: if p == 0.0 {
            0.0
        } else {
            ((centre - half) / scale).max(0.0)
        },
        high: if p == 1.0 {
            1.0
        } else {
            ((centre + half) / scale).min(1.0)
        },
    })
}

/// The difference of two shares, the first less the second, with Newcombe's 95 % interval from both Wilson intervals.
pub fn difference(first: Estimate, second: Estimate) -> Estimate {
    let value = first.value - second.value;
    let below = (first.value - first.low).hypot(second.high - second.value);
    let above = (first.high - first.value).hypot(second.value - second.low);
    Estimate {
        value,
        low: (value - below).max(-1.0),
        high: (value + above).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn wilson_is_that_of_the_literature() {
        // Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, and 0 of 20.
        let found = wilson(81.0, 263.0).unwrap();
        assert!(near(found.low, 0.2553) && near(found.high, 0.3662), "{found:?}");
        let none = wilson(0.0, 20.0).unwrap();
        assert!(none.low == 0.0 && near(none.high, 0.1611), "{none:?}");
        let all = wilson(20.0, 20.0).unwrap();
        assert!(all.high == 1.0 && near(all.low, 0.8389), "{all:?}");
        assert_eq!(wilson(0.0, 0.0), None);
    }

    #[test]
    fn a_difference_is_newcombes() {
        // Newcombe, Statistics in Medicine 17 (1998), 873: 56/70 less 48/80, method 10.
        let found = difference(wilson(56.0, 70.0).unwrap(), wilson(48.0, 80.0).unwrap());
        assert!(
            near(found.value, 0.2) && near(found.low, 0.0524) && near(found.high, 0.3339),
            "{found:?}"
        );
    }
}
