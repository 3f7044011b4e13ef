//! Calibration of the model's value, and the band of the score.

use std::sync::Arc;

use crate::models::contract::{Calibration, OutputSection};
use crate::values::band::Band;

/// The calibrated score for a value of the model; Platt scaling needs the margin, too.
pub(crate) fn calibrate(output: &OutputSection, margin: Option<f64>, value: f64) -> f64 {
    match (&output.calibration, margin) {
        (Some(Calibration::Platt { a, b }), Some(margin)) => 1.0 / (1.0 + (a * margin + b).exp()),
        (Some(Calibration::Isotonic { x, y }), _) => interpolate(x, y, value),
        _ => value,
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

/// The name of the band of a score; `None` below the first band.
pub(crate) fn band(bands: &[Band], score: f64) -> Option<Arc<str>> {
    bands
        .iter()
        .rev()
        .find(|band| score >= band.from)
        .map(|band| band.name.clone())
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
}
