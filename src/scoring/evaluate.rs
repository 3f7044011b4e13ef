//! Evaluates the forest for a batch of rows, and reads scores and reasons back row by row.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use evergreen_forest::{Forest, OutputKind, PredictError, Scratch};

use super::assemble::AssembledRow;
use super::calibration::{band, calibrate};
use super::outcome::{Outcome, Reason, Score};
use super::servable::Servable;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::OutputSection;

thread_local! {
    /// Working memory of the forest, one per thread, so that a request allocates none.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The outputs of the forest for a batch.
pub(super) struct Evaluation {
    /// One per row; empty unless the calibration needs margins.
    margins: Vec<f64>,
    /// One per row: the output that the score is made from.
    values: Vec<f64>,
    /// Per row and output group, one contribution per feature and the bias; empty unless reasons are wanted.
    contributions: Vec<f64>,
}

/// Evaluates `rows` (row-major, one value per input of the model); `explain` is the number of reasons wanted.
///
/// # Errors
/// The model lacks an output.
pub(super) fn evaluate(model: &ModelVersion, rows: &[f64], explain: usize) -> Result<Evaluation, Error> {
    let forest = &model.forest;
    let output = model.contract.as_ref().map(|contract| &contract.output);
    let margins = match output.is_some_and(OutputSection::needs_margin) {
        true => predict(forest, OutputKind::Margin, rows)?,
        false => Vec::new(),
    };
    let values = predict(forest, model.score_output(), rows)?;
    let contributions = match explain {
        0 => Vec::new(),
        _ => predict(forest, OutputKind::Contributions, rows)?,
    };
    Ok(Evaluation {
        margins,
        values,
        contributions,
    })
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

impl Evaluation {
    /// Reads the outcome of one row. `rows` are those that were evaluated.
    pub(super) fn outcome(
        &self,
        servable: &Servable,
        rows: &[f64],
        assembled: AssembledRow,
        explain: usize,
    ) -> Outcome {
        let model = &*servable.model;
        let AssembledRow {
            row,
            issues,
            from,
            as_of,
            unavailable,
        } = assembled;
        let (Some(&value), Some(contract)) = (self.values.get(row), &model.contract) else {
            return Outcome::Failed(Error::internal("a row without a score"));
        };
        let score = calibrate(&contract.output, self.margins.get(row).copied(), value);
        if !score.is_finite() {
            servable.not_finite.fetch_add(1, Ordering::Relaxed);
            return Outcome::Failed(Error::rejected(format!(
                "expected a finite score, found {score} for these features"
            )));
        }
        Outcome::Scored(Score {
            score,
            value,
            band: band(&servable.bands, score),
            reasons: self.reasons(model, rows, row, explain),
            issues,
            from,
            as_of,
            unavailable,
        })
    }

    fn reasons(&self, model: &ModelVersion, rows: &[f64], row: usize, explain: usize) -> Vec<Reason> {
        let features = model.inputs.len();
        let groups = model.forest.summary().groups;
        // A class is explained by the margin of that class.
        let group = if groups > 1 {
            predicted_class(&self.values, row)
        } else {
            0
        };
        let mut contributions = self.contributions.chunks_exact(features + 1);
        let contributions = contributions.nth(row * groups + group).unwrap_or_default();
        let values = rows.chunks_exact(features).nth(row).unwrap_or_default();
        let mut reasons: Vec<Reason> = contributions
            .iter()
            .zip(values)
            .enumerate()
            .filter(|&(_, (&contribution, _))| contribution != 0.0)
            .map(|(input, (&contribution, &value))| Reason {
                input,
                value,
                contribution,
            })
            .collect();
        reasons.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        reasons.truncate(explain);
        reasons
    }
}

fn predicted_class(values: &[f64], row: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a class is a small whole number"
    )]
    values.get(row).map_or(0, |&class| class as usize)
}
