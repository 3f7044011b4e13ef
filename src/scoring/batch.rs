//! Scores the entities of a request by one version: fetch features, assemble rows, evaluate the forest once, read the
//! outcomes.

use std::time::{Duration, Instant};

use super::assemble::{AssembledRow, assemble};
use super::evaluate::evaluate;
use super::explain::Wanted;
use super::metrics::ScoringMetrics;
use super::outcome::{EntityScore, Outcome};
use super::request::Entity;
use super::servable::Servable;
use crate::error::Error;
use crate::features::plan::FetchedFeatures;
use crate::suggest::Suggestions;
use crate::values::entity_id::EntityId;

/// Fetches what the remote sources hold for `entities`, in time for an answer by `deadline`. Does nothing if no source is
/// remote.
pub(super) async fn fetch(
    servable: &Servable,
    entities: &[Entity],
    now: f64,
    deadline: Option<Instant>,
) -> FetchedFeatures {
    match servable.plan.as_ref().filter(|plan| plan.is_remote()) {
        None => FetchedFeatures::default(),
        Some(plan) => {
            let ids = entities.iter().map(|entity| entity.id.as_ref());
            plan.fetch(ids, now, deadline.map(fetch_deadline)).await
        }
    }
}

/// The instant by which features must be there so that the answer meets `deadline`: a tenth of the time is left for
/// scoring, at most 5 ms.
fn fetch_deadline(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(Duration::from_millis(5))
}

/// The entities of a request that one version scores, with their fetched features.
pub(super) struct EntityBatch<'a> {
    pub(super) servable: &'a Servable,
    pub(super) entities: Vec<Entity>,
    /// The reasons wanted for each score.
    pub(super) explain: Wanted,
    pub(super) fetched: FetchedFeatures,
    /// Seconds since the Unix epoch.
    pub(super) now: f64,
}

impl EntityBatch<'_> {
    /// Scores every entity, in their order.
    ///
    /// # Errors
    /// The model lacks an output that the request needs. Errors of single entities are in their outcomes.
    pub(super) fn score(self, metrics: &ScoringMetrics) -> Result<Vec<EntityScore>, Error> {
        let Self {
            servable,
            entities,
            explain,
            fetched,
            now,
        } = self;
        let model = &*servable.model;
        let start = Instant::now();
        let suggestions = Suggestions::default();
        let mut rows: Vec<f64> = Vec::with_capacity(entities.len() * model.inputs.len());
        let assemble_one = |(position, entity): (usize, Entity)| {
            let fetch = fetched.entity(position);
            let before = rows.len();
            let assembled = assemble(servable, &entity, fetch, now, &suggestions, &mut rows);
            let enough = assembled.and_then(|(assembled, _)| {
                model.known.check(&assembled.issues, &model.inputs)?;
                Ok(assembled)
            });
            (entity.id, enough.inspect_err(|_| rows.truncate(before)))
        };
        let assembled: Vec<(Option<EntityId>, Result<AssembledRow, Error>)> =
            entities.into_iter().enumerate().map(assemble_one).collect();
        let complete = assembled.iter().filter_map(|(_, row)| row.as_ref().ok());
        servable.features.count(complete.map(|row| &row.issues));
        metrics.features.observe(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut evaluation = evaluate(model, &rows, explain)?;
        metrics.forest.observe(start.elapsed().as_secs_f64());

        let results = assembled.into_iter().map(|(id, assembled)| {
            let read = |row| evaluation.outcome(servable, row);
            EntityScore {
                id,
                model: None,
                outcome: assembled.map_or_else(Outcome::Failed, read),
            }
        });
        Ok(results.collect())
    }
}
