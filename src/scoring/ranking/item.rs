//! What a ranking says of a customer.

use std::sync::Arc;

use super::query::Fields;
use super::table::RankTable;
use crate::error::Error;
use crate::features::plan::Plan;
use crate::scoring::assemble::assemble_record;
use crate::scoring::calibration::band;
use crate::scoring::evaluate::evaluate;
use crate::scoring::outcome::{Outcome, Reason};
use crate::scoring::servable::Servable;
use crate::spans::RequestSpan;
use crate::values::entity_id::EntityId;

/// A customer of a ranking.
#[derive(Clone, Debug)]
pub struct RankedItem {
    /// The place in the order of the scores, from 1 for the highest.
    pub rank: usize,
    /// The id.
    pub id: EntityId,
    /// The score.
    pub score: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
    /// The score by the previous snapshot, if it has the customer.
    pub before: Option<ScoreBefore>,
    /// The wanted reasons.
    pub reasons: Vec<Reason>,
    /// The values of the wanted features; NaN for missing.
    pub values: Vec<f64>,
    /// Whether nobody is to contact the customer.
    pub hold_out: bool,
}

/// The score by the previous snapshot.
#[derive(Clone, Debug)]
pub struct ScoreBefore {
    /// The score.
    pub score: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
}

/// What is computed for the customers of a page.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) fields: Fields,
    /// The positions of the wanted features.
    pub(super) inputs: Vec<usize>,
    /// The time of the ranking, in seconds since the Unix epoch.
    pub(super) now: f64,
}

impl Details {
    /// Whether the row of each customer is needed.
    pub(super) fn needs_rows(&self) -> bool {
        self.fields.reasons > 0 || !self.inputs.is_empty()
    }
}

/// The customers at some positions.
///
/// # Errors
/// The model cannot explain.
pub(super) fn items(
    servable: &Servable,
    plan: &Plan,
    table: &RankTable,
    positions: &[usize],
    details: &Details,
) -> Result<Vec<RankedItem>, Error> {
    let item = |&position: &usize| {
        let score = table.score(position);
        RankedItem {
            rank: position + 1,
            id: owned(table, position),
            score,
            band: band(&servable.bands, score),
            before: table.before(position).map(|score| ScoreBefore {
                score,
                band: band(&servable.bands, score),
            }),
            reasons: Vec::new(),
            values: Vec::new(),
            hold_out: false,
        }
    };
    let mut items: Vec<RankedItem> = positions.iter().map(item).collect();
    if details.needs_rows() {
        add_details(servable, plan, table, positions, details, &mut items)?;
    }
    Ok(items)
}

fn owned(table: &RankTable, position: usize) -> EntityId {
    let id = table.snapshot().id(table.row(position));
    id.unwrap_or(EntityId::Int(0))
}

/// Adds reasons and values of features. The rows are assembled at the time of the ranking, so that they give its scores.
fn add_details(
    servable: &Servable,
    plan: &Plan,
    table: &RankTable,
    positions: &[usize],
    details: &Details,
    items: &mut [RankedItem],
) -> Result<(), Error> {
    let model = &*servable.model;
    let width = model.inputs.len();
    let mut rows = Vec::with_capacity(positions.len() * width);
    let mut assembled = Vec::with_capacity(positions.len());
    for &position in positions {
        let record = plan.record(table.row(position));
        assembled.push(assemble_record(model, &record, details.now, &mut rows)?);
    }
    for (item, row) in items.iter_mut().zip(rows.chunks_exact(width.max(1))) {
        let values = details.inputs.iter().filter_map(|&input| row.get(input).copied());
        item.values = values.collect();
    }
    if details.fields.reasons > 0 {
        let span = RequestSpan::default();
        let mut evaluation = evaluate(model, &rows, details.fields.wanted(), &span)?;
        for (item, assembled) in items.iter_mut().zip(assembled) {
            if let Outcome::Scored(score) = evaluation.outcome(servable, assembled) {
                item.reasons = score.reasons;
            }
        }
    }
    Ok(())
}
