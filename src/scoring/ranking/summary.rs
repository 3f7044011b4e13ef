//! How many customers are in each band, and how many of them the scores expect to leave.

use std::sync::Arc;

use super::table::RankTable;
use crate::models::contract::ScoreKind;
use crate::scoring::servable::Servable;

/// The customers of a band.
#[derive(Clone, Debug, PartialEq)]
pub struct BandSummary {
    /// The name of the band.
    pub name: Arc<str>,
    /// The lowest score in the band.
    pub from: f64,
    /// Number of customers.
    pub customers: usize,
    /// The sum of their scores, if these are probabilities.
    pub expected: Option<f64>,
    /// Number of customers, less the number by the previous snapshot; `None` without one.
    pub change: Option<i64>,
}

/// Summarizes the bands of `servable`, the highest first. `before` has the scores by the previous snapshot, NaN for none.
pub(super) fn summarize(servable: &Servable, table: &RankTable, before: Option<&[f64]>) -> Vec<BandSummary> {
    bands(
        servable,
        |from| table.at_least(from),
        |position| table.score(position),
        before,
    )
}

/// Summarizes the bands of a list of customers by their scores, the highest first.
pub(super) fn summarize_scores(servable: &Servable, scores: &[f64]) -> Vec<BandSummary> {
    let at_least = |from: f64| scores.partition_point(|&score| score >= from);
    let score = |position: usize| scores.get(position).copied().unwrap_or(f64::NAN);
    bands(servable, at_least, score, None)
}

/// Summarizes bands; `at_least` is the number of customers from a score on, `score` the score at a position.
fn bands(
    servable: &Servable,
    at_least: impl Fn(f64) -> usize,
    score: impl Fn(usize) -> f64,
    before: Option<&[f64]>,
) -> Vec<BandSummary> {
    let output = servable
        .model
        .contract
        .as_ref()
        .map(|contract| contract.output.kind);
    let probability = output == Some(ScoreKind::Probability);
    let mut start = 0;
    let mut below = f64::INFINITY;
    let bands = servable.bands.iter().rev().map(|band| {
        let end = at_least(band.from).max(start);
        let members = start..end;
        let then = before.map(|scores| {
            let inside = |score: &&f64| **score >= band.from && **score < below;
            scores.iter().filter(inside).count()
        });
        let count = |customers: usize| i64::try_from(customers).unwrap_or(i64::MAX);
        let summary = BandSummary {
            name: band.name.clone(),
            from: band.from,
            customers: members.len(),
            change: then.map(|then| count(members.len()) - count(then)),
            expected: probability.then(|| members.map(&score).fold(0.0, |sum, score| sum + score)),
        };
        start = end;
        below = band.from;
        summary
    });
    bands.collect()
}
