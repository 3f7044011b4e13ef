//! Calibration of the model's value, and the band of the score.

use std::sync::Arc;

use crate::models::contract::OutputSection;
use crate::values::band::Band;

/// The calibrated score for a value of the model; a calibration of the margin needs it, too.
pub(crate) fn calibrate(output: &OutputSection, margin: Option<f64>, value: f64) -> f64 {
    output.score(margin, value)
}

/// The name of the band of a score; `None` below the first band.
pub(crate) fn band(bands: &[Band], score: f64) -> Option<Arc<str>> {
    bands
        .iter()
        .rev()
        .find(|band| score >= band.from)
        .map(|band| band.name.clone())
}
