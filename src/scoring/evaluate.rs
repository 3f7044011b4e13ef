//! Evaluates the forest for a batch of rows, and reads scores and reasons back row by row.

use std::sync::atomic::Ordering;

use evergreen_forest::OutputKind;

use super::assemble::AssembledRow;
use super::calibration::band;
use super::explain::{Contributions, Explained, Wanted};
use super::outcome::{Outcome, Score};
use super::predict::{ScoreOutputs, predict};
use super::servable::Servable;
use crate::error::{Error, ErrorKind};
use crate::models::ModelVersion;
use crate::spans::RequestSpan;

/// The outputs of the forest for a batch.
pub(super) struct Evaluation<'a> {
    outputs: ScoreOutputs<'a>,
    /// One per row; empty unless reasons are wanted.
    explained: Vec<Explained>,
}

/// Evaluates `rows` (row-major, one value per input of the model), as parts of `span`.
///
/// # Errors
/// The model lacks an output.
pub(super) fn evaluate<'a>(
    model: &'a ModelVersion,
    rows: &[f64],
    wanted: Wanted,
    span: &RequestSpan,
) -> Result<Evaluation<'a>, Error> {
    let part = span.part("forest");
    part.set("evergreen.model", &model.name);
    part.set("evergreen.version", model.version);
    let outputs = ScoreOutputs::of(model, rows)?;
    drop(part);
    let explained = if wanted.any() {
        let _part = span.part("explain");
        let contributions = predict(&model.forest, OutputKind::Contributions, rows)?;
        let batch = Contributions {
            model,
            rows,
            contributions: &contributions,
            outputs: &outputs,
        };
        batch.explain(wanted)?
    } else {
        Vec::new()
    };
    Ok(Evaluation { outputs, explained })
}

impl Evaluation<'_> {
    /// The model's value for a row, before calibration.
    pub(super) fn value(&self, row: usize) -> Option<f64> {
        self.outputs.values.get(row).copied()
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
        let score = match self.outputs.score(row) {
            Ok(score) => score,
            Err(error) => {
                if error.kind() == ErrorKind::Rejected {
                    servable.not_finite.fetch_add(1, Ordering::Relaxed);
                }
                return Outcome::Failed(error);
            }
        };
        let (reasons, explanation) = match self.explained.get_mut(row) {
            Some((reasons, explanation)) => (std::mem::take(reasons), Some(*explanation)),
            None => (Vec::new(), None),
        };
        Outcome::Scored(Score {
            score,
            value: self.outputs.values.get(row).copied().unwrap_or(f64::NAN),
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
