//! Evaluates the forest for a batch of rows, and reads scores and reasons back row by row.

use std::sync::atomic::Ordering;

use evergreen_forest::OutputKind;

use super::assemble::AssembledRow;
use super::calibration::{band, calibrate};
use super::explain::{Contributions, Explained, Wanted};
use super::outcome::{Outcome, Score};
use super::predict::predict;
use super::servable::Servable;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::OutputSection;

/// The outputs of the forest for a batch.
pub(super) struct Evaluation {
    /// One per row: the output that the score is made from.
    values: Vec<f64>,
    /// One per row: the calibrated score.
    scores: Vec<f64>,
    /// One per row; empty unless reasons are wanted.
    explained: Vec<Explained>,
}

/// Evaluates `rows` (row-major, one value per input of the model).
///
/// # Errors
/// The model lacks an output.
pub(super) fn evaluate(model: &ModelVersion, rows: &[f64], wanted: Wanted) -> Result<Evaluation, Error> {
    let forest = &model.forest;
    let output = model.contract.as_ref().map(|contract| &contract.output);
    let margins = match output.is_some_and(OutputSection::needs_margin) {
        true => predict(forest, OutputKind::Margin, rows)?,
        false => Vec::new(),
    };
    let values = predict(forest, model.score_output(), rows)?;
    let scores: Vec<f64> = match output {
        Some(output) => {
            let score = |(row, &value)| calibrate(output, margins.get(row).copied(), value);
            values.iter().enumerate().map(score).collect()
        }
        None => Vec::new(),
    };
    let explained = if wanted.any() {
        let contributions = predict(forest, OutputKind::Contributions, rows)?;
        let batch = Contributions {
            model,
            rows,
            contributions: &contributions,
            values: &values,
            scores: &scores,
        };
        batch.explain(wanted)?
    } else {
        Vec::new()
    };
    Ok(Evaluation {
        values,
        scores,
        explained,
    })
}

impl Evaluation {
    /// One per row: the output that the score is made from.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The score of a row; NaN for a row that was not evaluated.
    pub(super) fn score(&self, row: usize) -> f64 {
        self.scores.get(row).copied().unwrap_or(f64::NAN)
    }

    /// Takes the outcome of one row.
    pub(super) fn outcome(&mut self, servable: &Servable, assembled: AssembledRow) -> Outcome {
        let AssembledRow {
            row,
            issues,
            from,
            as_of,
            unavailable,
        } = assembled;
        let (Some(&value), Some(&score)) = (self.values.get(row), self.scores.get(row)) else {
            return Outcome::Failed(Error::internal("a row without a score"));
        };
        if let Err(error) = finite(score) {
            servable.not_finite.fetch_add(1, Ordering::Relaxed);
            return Outcome::Failed(error);
        }
        let (reasons, explanation) = match self.explained.get_mut(row) {
            Some((reasons, explanation)) => (std::mem::take(reasons), Some(*explanation)),
            None => (Vec::new(), None),
        };
        Outcome::Scored(Score {
            score,
            value,
            band: band(&servable.bands, score),
            reasons,
            explanation,
            issues,
            from,
            as_of,
            unavailable,
        })
    }
}

/// Checks that a score can be returned.
///
/// # Errors
/// It is infinite or NaN.
pub(super) fn finite(score: f64) -> Result<(), Error> {
    if score.is_finite() {
        return Ok(());
    }
    Err(Error::rejected(format!(
        "expected a finite score, found {score} for these features"
    )))
}
