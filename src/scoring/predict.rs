//! Outputs of a forest, with this thread's working memory.

use std::cell::RefCell;

use evergreen_forest::{Forest, OutputKind, PredictError, Scratch};

use super::calibration::calibrate;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::OutputSection;

thread_local! {
    /// Working memory of the forest, one per thread, so that a request allocates none.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Computes one output of a forest for a batch of rows, with this thread's working memory. Returns
/// `rows × width` numbers, row-major.
///
/// # Errors
/// The forest lacks the output.
pub(super) fn predict(forest: &Forest, kind: OutputKind, rows: &[f64]) -> Result<Vec<f64>, Error> {
    let no_such_output = |error: PredictError| Error::invalid(error.to_string());
    let count = rows.len().checked_div(forest.features().len()).unwrap_or(0);
    let mut out = vec![0.0; count * forest.width(kind).map_err(no_such_output)?];
    SCRATCH
        .with_borrow_mut(|scratch| forest.predict(kind, rows, &mut out, scratch))
        .map_err(no_such_output)?;
    Ok(out)
}

/// What the scores of a batch are made from.
pub(super) struct ScoreOutputs<'a> {
    output: Option<&'a OutputSection>,
    /// One per row; empty unless the calibration needs margins.
    margins: Vec<f64>,
    /// One per row: the output that the score is made from.
    pub(super) values: Vec<f64>,
}

impl<'a> ScoreOutputs<'a> {
    /// Evaluates `rows` (row-major, one value per input of the model).
    ///
    /// # Errors
    /// The model lacks an output.
    pub(super) fn of(model: &'a ModelVersion, rows: &[f64]) -> Result<Self, Error> {
        let output = model.contract.as_ref().map(|contract| &contract.output);
        Ok(Self {
            margins: match output.is_some_and(OutputSection::needs_margin) {
                true => predict(&model.forest, OutputKind::Margin, rows)?,
                false => Vec::new(),
            },
            values: predict(&model.forest, model.score_output(), rows)?,
            output,
        })
    }

    /// The calibrated score of a row.
    ///
    /// # Errors
    /// There is no such row, or no contract; or the score is infinite or NaN, which is [`Error::rejected`].
    pub(super) fn score(&self, row: usize) -> Result<f64, Error> {
        let (Some(&value), Some(output)) = (self.values.get(row), self.output) else {
            return Err(Error::internal("a row without a score"));
        };
        let score = calibrate(output, self.margins.get(row).copied(), value);
        if score.is_finite() {
            return Ok(score);
        }
        Err(Error::rejected(format!(
            "expected a finite score, found {score} for these features"
        )))
    }
}
