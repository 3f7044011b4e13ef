//! The calibration of a model's output.

use serde::Deserialize;

/// A calibration of the model's output, fitted after training.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Calibration {
    /// Platt scaling: `1 / (1 + exp(a·x + b))` of the margin or the probability x.
    Platt {
        /// What x is; the margin if missing.
        #[serde(default)]
        on: Option<CalibrationScale>,
        /// Slope; negative if a larger x means a larger score.
        a: f64,
        /// Offset.
        b: f64,
    },
    /// Linear interpolation between points, constant beyond the ends.
    Isotonic {
        /// What the points map; the probability if missing.
        #[serde(default)]
        on: Option<CalibrationScale>,
        /// Margins or probabilities, strictly ascending.
        x: Vec<f64>,
        /// Scores, ascending.
        y: Vec<f64>,
    },
}

/// The number that a calibration maps to the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalibrationScale {
    /// The probability.
    Probability,
    /// The raw sum of the leaves.
    Margin,
}

impl Calibration {
    /// The number that is mapped. A contract that does not say so means the margin for Platt scaling and the probability
    /// for isotonic calibration.
    pub fn scale(&self) -> CalibrationScale {
        match self {
            Self::Platt { on, .. } => on.unwrap_or(CalibrationScale::Margin),
            Self::Isotonic { on, .. } => on.unwrap_or(CalibrationScale::Probability),
        }
    }

    /// The score for one number of the scale.
    pub fn apply(&self, at: f64) -> f64 {
        match self {
            Self::Platt { a, b, .. } => 1.0 / (1.0 + (a * at + b).exp()),
            Self::Isotonic { x, y, .. } => interpolate(x, y, at),
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// The message says what was expected.
    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::Platt { a, b, .. } => {
                if a.is_finite() && b.is_finite() {
                    return Ok(());
                }
                Err(format!(
                    "calibration: expected finite numbers a and b, found {a} and {b}"
                ))
            }
            Self::Isotonic { x, y, .. } if x.is_empty() || x.len() != y.len() => Err(format!(
                "calibration: expected the same number of x and y, at least one; found {} and {}",
                x.len(),
                y.len()
            )),
            Self::Isotonic { x, y, .. } if !x.is_sorted_by(|a, b| a < b) || !y.is_sorted() => {
                Err("calibration: expected x in strictly ascending order and y in ascending order".to_owned())
            }
            Self::Isotonic { .. } => Ok(()),
        }
    }
}

/// Interpolates linearly between the points; constant beyond the ends.
fn interpolate(x: &[f64], y: &[f64], at: f64) -> f64 {
    let right = x.partition_point(|&point| point <= at);
    let left = right.saturating_sub(1);
    match (x.get(left), x.get(right), y.get(left), y.get(right)) {
        (Some(&x0), Some(&x1), Some(&y0), Some(&y1)) if right > 0 => y0 + (y1 - y0) * ((at - x0) / (x1 - x0)),
        (_, _, Some(&y0), _) => y0,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isotonic_calibration_interpolates_and_stays_at_the_ends() {
        let (x, y) = ([0.1, 0.5, 0.9], [0.0, 0.4, 1.0]);
        for (at, expected) in [
            (0.0, 0.0),
            (0.1, 0.0),
            (0.3, 0.2),
            (0.5, 0.4),
            (0.7, 0.7),
            (0.9, 1.0),
            (1.0, 1.0),
        ] {
            assert!((interpolate(&x, &y, at) - expected).abs() < 1e-12, "{at}");
        }
        assert_eq!(interpolate(&[0.5], &[0.3], 0.9), 0.3);
    }

    fn parsed(text: &str) -> Calibration {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_contract_without_a_scale_keeps_its_meaning() {
        use CalibrationScale::*;
        for (text, expected) in [
            ("kind = 'platt'\na = -1.0\nb = 0.0", Margin),
            (
                "kind = 'platt'\non = 'probability'\na = -1.0\nb = 0.0",
                Probability,
            ),
            ("kind = 'isotonic'\nx = [0.0]\ny = [0.0]", Probability),
            ("kind = 'isotonic'\non = 'margin'\nx = [0.0]\ny = [0.0]", Margin),
        ] {
            assert_eq!(parsed(text).scale(), expected, "{text}");
        }
    }

    #[test]
    fn platt_scaling_is_the_logistic_function() {
        let calibration = parsed("kind = 'platt'\non = 'margin'\na = -2.0\nb = 1.0");
        assert!((calibration.apply(0.5) - 0.5).abs() < 1e-15);
        assert!((calibration.apply(1.0) - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-15);
    }
}
