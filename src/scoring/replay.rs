//! Scores complete rows again, as the server scores them: for the prediction log, and for commands that compare versions offline.

use std::sync::Arc;

use evergreen_forest::OutputKind;

use super::calibration::band;
use super::explain::{Contributions, Wanted, explained_group};
use super::outcome::Reason;
use super::predict::{ScoreOutputs, predict};
use crate::error::Error;
use crate::models::ModelVersion;

/// The score of a row.
#[derive(Clone, Copy, Debug)]
pub struct RowScore {
    /// The calibrated score; `None` if it is not finite.
    pub score: Option<f64>,
    /// The model's value before calibration.
    pub value: f64,
}

/// Scores `rows` (row-major, one value per input of the model).
///
/// # Errors
/// The model lacks an output.
pub fn scores(model: &ModelVersion, rows: &[f64]) -> Result<Vec<RowScore>, Error> {
    let outputs = ScoreOutputs::of(model, rows)?;
    let row = |(row, &value)| RowScore {
        score: outputs.score(row).ok(),
        value,
    };
    Ok(outputs.values.iter().enumerate().map(row).collect())
}

/// The margins of `rows` (row-major, one value per input of the model); `None` if the model has one for each class.
///
/// # Errors
/// The model lacks the output.
pub fn margins(model: &ModelVersion, rows: &[f64]) -> Result<Option<Vec<f64>>, Error> {
    match model.forest.summary().groups {
        1 => predict(&model.forest, OutputKind::Margin, rows).map(Some),
        _ => Ok(None),
    }
}

/// What each input adds to the margin of a row; of a class, to the margin of that class.
///
/// # Errors
/// The model lacks an output.
pub fn contributions(model: &ModelVersion, row: &[f64]) -> Result<Vec<f64>, Error> {
    let outputs = ScoreOutputs::of(model, row)?;
    let all = predict(&model.forest, OutputKind::Contributions, row)?;
    let group = explained_group(model, &outputs.values, 0);
    let mut groups = all.chunks_exact(model.inputs.len() + 1);
    let of_group = groups.nth(group).unwrap_or_default();
    Ok(of_group.iter().copied().take(model.inputs.len()).collect())
}

/// The reasons for the scores of `rows`, as an answer of the server has them. The model has a contract.
///
/// # Errors
/// The model lacks an output.
pub fn reasons(model: &ModelVersion, rows: &[f64], wanted: Wanted) -> Result<Vec<Vec<Reason>>, Error> {
    let outputs = ScoreOutputs::of(model, rows)?;
    let contributions = predict(&model.forest, OutputKind::Contributions, rows)?;
    let all = Contributions {
        model,
        rows,
        contributions: &contributions,
        outputs: &outputs,
    };
    let explained = all.explain(wanted)?;
    Ok(explained.into_iter().map(|(reasons, _)| reasons).collect())
}

/// The name of the band of a score by the contract; `None` below the first band, or without a contract.
pub fn band_by_contract(model: &ModelVersion, score: f64) -> Option<Arc<str>> {
    band(&model.contract.as_ref()?.output.bands, score)
}
