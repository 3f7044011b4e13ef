//! The exact curve of the score over the values of one feature.

use std::sync::Arc;

use super::axis::{codes, range_of};
use super::rows::RowScorer;
use crate::error::Error;
use crate::scoring::calibration::band;
use crate::values::feature_type::FeatureType;

/// The score of an entity over the values of one of its features; all others stay.
#[derive(Debug)]
pub struct Curve {
    /// Position among the model's inputs.
    pub input: usize,
    /// For numbers ascending intervals, of which neighbours differ in the score; for categories and flags one point each.
    pub points: Vec<CurvePoint>,
    /// Where the last interval ends; `None` for categories and flags.
    pub end: Option<f64>,
}

/// The score for some values.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvePoint {
    /// The first value; for a category its code.
    pub from: f64,
    /// The score.
    pub score: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
}

impl Curve {
    /// Computes the curve of an input with these steps; `None` if nothing is known of its values.
    ///
    /// # Errors
    /// There are too many steps.
    pub(super) fn compute(
        scorer: &mut RowScorer<'_>,
        input: usize,
        steps: &[f64],
        current: f64,
    ) -> Result<Option<Self>, Error> {
        let model = scorer.model();
        let Some(described) = model.inputs.get(input) else {
            return Ok(None);
        };
        let (values, end) = match described.contract.kind {
            FeatureType::Category => (codes(described), None),
            FeatureType::Bool => (vec![0.0, 1.0], None),
            kind => match range_of(model, input, current) {
                Some([low, high]) => (starts(steps, low, high, kind == FeatureType::Int), Some(high)),
                None => return Ok(None),
            },
        };
        let scores = scorer.with_values(input, &values)?;
        let bands = scorer.bands();
        let mut points: Vec<CurvePoint> = Vec::new();
        for (from, score) in values.into_iter().zip(scores) {
            // A step that changes nothing for this row.
            let same = end.is_some()
                && points
                    .last()
                    .is_some_and(|last| last.score.to_bits() == score.to_bits());
            if !same {
                points.push(CurvePoint {
                    from,
                    score,
                    band: band(bands, score),
                });
            }
        }
        Ok(Some(Self { input, points, end }))
    }
}

/// The first value of each interval from `low` to `high`.
fn starts(steps: &[f64], low: f64, high: f64, whole: bool) -> Vec<f64> {
    let inner = steps.iter().copied().filter(|&step| step > low && step <= high);
    let mut starts: Vec<f64> = [low].into_iter().chain(inner).collect();
    if whole {
        starts.iter_mut().for_each(|start| *start = start.ceil());
        starts.retain(|&start| start <= high);
        starts.dedup();
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_whole_numbers_begin_at_whole_numbers() {
        let steps = [0.5, 0.7, 2.0, 3.5, 9.0];
        assert_eq!(starts(&steps, 0.0, 5.0, false), [0.0, 0.5, 0.7, 2.0, 3.5]);
        assert_eq!(starts(&steps, 0.0, 5.0, true), [0.0, 1.0, 2.0, 4.0]);
        assert_eq!(starts(&steps, 0.0, 3.6, true), [0.0, 1.0, 2.0], "4 is beyond");
    }
}
