//! Scores a batch of rows. Several threads do so at once.

use std::path::PathBuf;
use std::sync::Arc;

use evergreen_forest::Scratch;

use super::details::{self, Detail, DetailColumn, ReasonRow, reason_header};
use super::kind::Prediction;
use crate::cli::offline::{OfflineModel, RejectionKind, RowRejection, Selection};
use crate::cli::sink::{OutputBatch, OutputHeader, Values, id_text};
use crate::features::table::TableBatch;
use crate::scoring::Wanted;
use crate::scoring::outcome::EntityResult;
use crate::scoring::replay;
use crate::values::cell::Cell;
use crate::values::issues::FeatureIssues;

/// How rows become scores.
pub(super) struct Scoring {
    pub(super) model: OfflineModel,
    pub(super) selection: Selection,
    pub(super) prediction: Prediction,
    /// The columns beside the prediction.
    pub(super) columns: Vec<DetailColumn>,
    /// Reasons per row.
    pub(super) explain: usize,
    /// Whether rows with bad cells are left without a score.
    pub(super) skip: bool,
    /// Whether every row must have an id, because it becomes a key.
    pub(super) needs_id: bool,
}

/// A batch with scores.
pub(super) struct ScoredBatch {
    pub(super) output: OutputBatch,
    /// One per row; empty unless the output or a store needs them.
    pub(super) details: Vec<Option<Detail>>,
    pub(super) rejected: Vec<RejectedRow>,
    /// The file of the rows.
    pub(super) path: Arc<PathBuf>,
}

/// A row without a score.
pub(super) struct RejectedRow {
    /// Its number in its file.
    pub(super) number: u64,
    /// Its id.
    pub(super) id: Option<String>,
    /// The reasons, at least one.
    pub(super) reasons: Vec<RowRejection>,
}

impl Scoring {
    /// The columns of the output.
    pub(super) fn header(&self) -> OutputHeader {
        let numbers = self.prediction.names.iter();
        let numbers = numbers.map(|name| (name.clone(), self.prediction.numbers));
        let details = self.columns.iter().map(|column| column.header());
        OutputHeader {
            id: self.selection.id.clone(),
            columns: numbers
                .chain(details)
                .chain(reason_header(self.explain))
                .collect(),
        }
    }

    /// Scores a batch.
    ///
    /// # Errors
    /// A cell cannot be converted, and such rows are not to be skipped.
    pub(super) fn score(&self, mut batch: TableBatch, scratch: &mut Scratch) -> Result<ScoredBatch, String> {
        let mut issues: Vec<Option<FeatureIssues>> = (0..batch.rows).map(|_| None).collect();
        let mut rejected: Vec<(usize, Vec<RowRejection>)> = Vec::new();
        let rows = self.model.rows(
            &batch,
            &self.selection,
            self.skip,
            &mut |row, reasons| rejected.push((row, reasons)),
            &mut |row, found| issues[row] = Some(found),
        );
        let rows = rows.map_err(|error| match self.skip {
            false => format!("{error}; --on-error skip writes such rows without a score"),
            true => error.to_string(),
        })?;
        let (values, scores) = self.predict(&rows, batch.rows, scratch)?;
        for (row, issues) in issues.iter_mut().enumerate() {
            if issues.is_some()
                && let Some(reason) = self.refusal(&batch, row, &values, &scores)
            {
                *issues = None;
                rejected.push((row, vec![reason]));
            }
        }
        rejected.sort_by_key(|(row, _)| *row);
        let details = match self.columns.is_empty() && self.explain == 0 && !self.needs_id {
            true => Vec::new(),
            false => self.details(&rows, &values, &scores, &issues)?,
        };
        let mut columns = self.numbers(&values, &issues);
        columns.extend(details::columns(
            &self.model,
            &self.columns,
            self.explain,
            &details,
        ));
        let has_id = self.selection.id.is_some();
        let id = |row| has_id.then(|| id_text(batch.columns[0].cell(row))).flatten();
        let rejected = rejected.into_iter().map(|(row, reasons)| RejectedRow {
            number: batch.first_row + row as u64,
            id: id(row),
            reasons,
        });
        let rejected = rejected.collect();
        let ids = has_id.then(|| batch.columns.swap_remove(0));
        Ok(ScoredBatch {
            output: OutputBatch {
                rows: batch.rows,
                ids,
                columns,
            },
            details,
            rejected,
            path: batch.path,
        })
    }

    /// The predictions, row-major, and the scores that a server gives, if that is something else or may be refused.
    fn predict(
        &self,
        rows: &[f64],
        count: usize,
        scratch: &mut Scratch,
    ) -> Result<(Vec<f64>, Vec<Option<f64>>), String> {
        let version = &self.model.version;
        let has_details = !self.columns.is_empty() || self.explain > 0 || self.needs_id;
        let mut scores = Vec::new();
        if version.contract.is_some() && (self.prediction.served || has_details) {
            let found = replay::scores(version, rows).map_err(|error| error.to_string())?;
            scores = found.iter().map(|found| found.score).collect();
            if self.prediction.served {
                let values = found.iter().map(|found| found.score.unwrap_or(found.value));
                return Ok((values.collect(), scores));
            }
        }
        let mut values = vec![0.0; count * self.prediction.width];
        version
            .forest
            .predict(self.prediction.kind.output(), rows, &mut values, scratch)
            .map_err(|error| error.to_string())?;
        Ok((values, scores))
    }

    /// Why a row that the contract accepts has no score all the same.
    fn refusal(
        &self,
        batch: &TableBatch,
        row: usize,
        values: &[f64],
        scores: &[Option<f64>],
    ) -> Option<RowRejection> {
        if self.needs_id {
            let id = self.selection.id.as_ref();
            let id = id.and_then(|_| id_text(batch.columns[0].cell(row)));
            if let Some(unfit) = unfit_key(id.as_deref()) {
                return Some(unfit);
            }
        }
        if matches!(scores.get(row), Some(None)) {
            let value = values.get(row * self.prediction.width).copied();
            let found = value.map_or(String::new(), |value| format!(", found {value}"));
            let reason = format!("expected a finite score{found} for these features");
            return Some(RowRejection::of_row(RejectionKind::NotFinite, reason));
        }
        None
    }

    fn details(
        &self,
        rows: &[f64],
        values: &[f64],
        scores: &[Option<f64>],
        issues: &[Option<FeatureIssues>],
    ) -> Result<Vec<Option<Detail>>, String> {
        let version = &self.model.version;
        let wanted = Wanted {
            strongest: self.explain,
            ..Wanted::default()
        };
        let reasons = match self.explain {
            0 => Vec::new(),
            _ => replay::reasons(version, rows, wanted).map_err(|error| error.to_string())?,
        };
        let detail = |(row, issues): (usize, &Option<FeatureIssues>)| {
            let issues = issues.as_ref()?;
            let score = match scores.get(row) {
                Some(score) => (*score)?,
                None => values.get(row * self.prediction.width).copied()?,
            };
            let reasons = reasons.get(row).map(Vec::as_slice).unwrap_or_default();
            Some(Detail {
                score,
                band: replay::band_by_contract(version, score),
                status: match issues.degraded() {
                    true => EntityResult::Degraded,
                    false => EntityResult::Ok,
                },
                missing: details::missing(issues),
                out_of_range: i32::try_from(issues.out_of_range.len()).unwrap_or(i32::MAX),
                reasons: reasons
                    .iter()
                    .filter_map(|reason| ReasonRow::of(reason, version, score))
                    .collect(),
            })
        };
        Ok(issues.iter().enumerate().map(detail).collect())
    }

    /// The columns of numbers; a row without a score has none.
    fn numbers(&self, values: &[f64], issues: &[Option<FeatureIssues>]) -> Vec<Values> {
        let width = self.prediction.width;
        let column = |column: usize| {
            let mut numbers = Values::none(self.prediction.numbers);
            let cells = values.iter().skip(column).step_by(width);
            for (value, issues) in cells.zip(issues) {
                numbers.push_number(issues.is_some().then_some(*value));
            }
            numbers
        };
        (0..width).map(column).collect()
    }
}

/// The most bytes of an id that is stored: an index of PostgreSQL takes entries of 2,704 bytes, the model's name included.
const KEY_BYTES: usize = 2600;

/// Why an id cannot be a key of a store; `None` if it can. A store would refuse the whole batch for it.
fn unfit_key(id: Option<&str>) -> Option<RowRejection> {
    let Some(id) = id else {
        let reason = "expected an id, found none; a store needs it for the key";
        return Some(RowRejection::of_row(RejectionKind::NoId, reason));
    };
    let reason = if id.contains('\0') {
        "expected an id without the character U+0000, which PostgreSQL cannot store, such as C-1042"
            .to_owned()
    } else if id.len() > KEY_BYTES {
        let found = id.len();
        format!("expected an id of at most {KEY_BYTES} bytes, such as C-1042, found {found} bytes")
    } else {
        return None;
    };
    Some(RowRejection::of_row(RejectionKind::UnfitId, reason))
}

/// The id of a row as text, if it has one.
pub(super) fn id_of(output: &OutputBatch, row: usize) -> Option<String> {
    let cell = output.ids.as_ref().map_or(Cell::Null, |ids| ids.cell(row));
    id_text(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_no_store_takes_are_refused_before() {
        let kind = |id: Option<&str>| unfit_key(id).map(|unfit| unfit.kind);
        assert_eq!(kind(Some("C-1042")), None);
        assert_eq!(kind(Some(&"x".repeat(2600))), None);
        assert_eq!(kind(Some(&"x".repeat(2601))), Some(RejectionKind::UnfitId));
        assert_eq!(kind(Some("a\0b")), Some(RejectionKind::UnfitId));
        assert_eq!(kind(None), Some(RejectionKind::NoId));
    }
}
