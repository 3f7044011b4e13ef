//! Scores variants of one row, with a bound on all of them.

use super::super::predict::ScoreOutputs;
use super::super::servable::Servable;
use super::MOST_ROWS;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::values::band::Band;

/// Rows that are scored together: what they take fits the cache.
const BLOCK: usize = 1024;

/// Scores variants of a row.
pub(super) struct RowScorer<'a> {
    servable: &'a Servable,
    row: &'a [f64],
    /// Rows of curves so far.
    scored: usize,
}

impl<'a> RowScorer<'a> {
    pub(super) fn new(servable: &'a Servable, row: &'a [f64]) -> Self {
        Self {
            servable,
            row,
            scored: 0,
        }
    }

    pub(super) fn model(&self) -> &'a ModelVersion {
        &self.servable.model
    }

    pub(super) fn bands(&self) -> &'a [Band] {
        &self.servable.bands
    }

    /// The scores of the row with each of these values of one input.
    ///
    /// # Errors
    /// These are too many rows, or a score is not finite.
    pub(super) fn with_values(&mut self, input: usize, values: &[f64]) -> Result<Vec<f64>, Error> {
        self.scored = self.scored.saturating_add(values.len());
        if self.scored > MOST_ROWS {
            return Err(Error::too_large(format!(
                "the features have more than {MOST_ROWS} steps in this model; ask for fewer curves"
            ))
            .about("curves"));
        }
        self.score(values.len(), |row, number| row[input] = values[number])
    }

    /// The scores of `count` variants, which `change` makes of the row by their number.
    ///
    /// # Errors
    /// A score is not finite.
    pub(super) fn score(
        &mut self,
        count: usize,
        change: impl Fn(&mut [f64], usize),
    ) -> Result<Vec<f64>, Error> {
        let width = self.row.len();
        let mut scores = Vec::with_capacity(count);
        let mut rows = Vec::with_capacity(count.min(BLOCK) * width);
        for start in (0..count).step_by(BLOCK) {
            let block = BLOCK.min(count - start);
            rows.clear();
            for number in start..start + block {
                rows.extend_from_slice(self.row);
                let at = rows.len() - width;
                change(&mut rows[at..], number);
            }
            let outputs = ScoreOutputs::of(self.model(), &rows)?;
            for row in 0..block {
                scores.push(outputs.score(row)?);
            }
        }
        Ok(scores)
    }
}
