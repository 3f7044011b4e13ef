//! Scores the entities of a request by one version: fetch features, assemble rows, evaluate the forest once, read the
//! outcomes.

use std::time::{Duration, Instant};

use super::assemble::{AssembledRow, assemble};
use super::evaluate::{Evaluation, evaluate};
use super::explain::Wanted;
use super::metrics::ScoringMetrics;
use super::outcome::{EntityScore, Outcome};
use super::prediction::{Draft, PredictionRecorder, Recording};
use super::request::Entity;
use super::servable::Servable;
use crate::error::Error;
use crate::features::plan::FetchedFeatures;
use crate::models::ModelVersion;
use crate::observe::monitor::ObservedEntity;
use crate::observe::window::Observed;
use crate::spans::RequestSpan;
use crate::suggest::Suggestions;
use crate::values::entity_id::EntityId;

/// Fetches what the remote sources hold for `entities`, in time for an answer by `deadline`. Does nothing if no source is
/// remote.
pub(super) async fn fetch(
    servable: &Servable,
    entities: &[Entity],
    now: f64,
    deadline: Option<Instant>,
    span: &RequestSpan,
) -> FetchedFeatures {
    match servable.plan.as_ref().filter(|plan| plan.is_remote()) {
        None => FetchedFeatures::default(),
        Some(plan) => {
            let ids = entities.iter().map(|entity| entity.id.as_ref());
            plan.fetch(ids, now, deadline.map(fetch_deadline), span).await
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
    /// The span of the request; the stages are its parts.
    pub(super) span: RequestSpan,
    /// How to record the predictions; `None` if nobody wants them.
    pub(super) recording: Option<Recording>,
}

impl EntityBatch<'_> {
    /// Scores every entity, in their order. `recorder` takes the predictions if the batch is to be recorded.
    ///
    /// # Errors
    /// The model lacks an output that the request needs. Errors of single entities are in their outcomes.
    pub(super) fn score(
        self,
        metrics: &ScoringMetrics,
        recorder: Option<&dyn PredictionRecorder>,
    ) -> Result<Vec<EntityScore>, Error> {
        let Self {
            servable,
            entities,
            explain,
            fetched,
            now,
            span,
            recording,
        } = self;
        let model = &*servable.model;
        let mut draft = recorder
            .zip(recording.as_ref())
            .map(|(recorder, recording)| Draft::new(recorder, recording, &servable.model, now));
        let start = Instant::now();
        let part = span.part("assemble");
        let suggestions = Suggestions::default();
        let mut rows: Vec<f64> = Vec::with_capacity(entities.len() * model.inputs.len());
        let assemble_one = |(position, entity): (usize, Entity)| {
            let fetch = fetched.entity(position);
            let before = rows.len();
            let assembled = assemble(servable, &entity, fetch, now, &suggestions, &mut rows);
            let enough = assembled.and_then(|(assembled, record)| {
                model.known.check(&assembled.issues, &model.inputs)?;
                Ok((assembled, record))
            });
            let enough = enough.inspect_err(|_| rows.truncate(before));
            if let Some(draft) = &mut draft {
                draft.choose(position, &entity);
                if let Ok((_, record)) = &enough {
                    draft.add_row(position, &rows[before..], record.as_ref());
                }
            }
            let hypothetical = !entity.features.is_empty() && servable.plan.is_some();
            EntityRow {
                id: entity.id,
                hypothetical,
                assembled: enough.map(|(assembled, _)| assembled),
            }
        };
        let assembled: Vec<EntityRow> = entities.into_iter().enumerate().map(assemble_one).collect();
        let complete = assembled.iter().filter_map(|row| row.assembled.as_ref().ok());
        servable.features.count(complete.map(|row| &row.issues));
        drop(part);
        metrics.features.observe(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut evaluation = evaluate(model, &rows, explain, &span)?;
        metrics.forest.observe(start.elapsed().as_secs_f64());

        if let Some(drift) = &servable.drift {
            let observed = assembled
                .iter()
                .filter_map(|row| row.observed(model, &rows, &evaluation));
            drift.record(now, observed);
        }
        let results = assembled.into_iter().map(|row| {
            let read = |assembled| evaluation.outcome(servable, assembled);
            EntityScore {
                id: row.id,
                model: None,
                outcome: row.assembled.map_or_else(Outcome::Failed, read),
                hold_out: false,
            }
        });
        let results: Vec<EntityScore> = results.collect();
        if let Some(counters) = &servable.scores {
            counters.count(&results);
        }
        if let Some(draft) = draft {
            draft.finish(&results, explain.any());
        }
        Ok(results)
    }
}

/// An entity of a batch, and where its row is.
struct EntityRow {
    id: Option<EntityId>,
    /// Whether the request replaces what feature sources hold.
    hypothetical: bool,
    assembled: Result<AssembledRow, Error>,
}

impl EntityRow {
    /// What the entity adds to the windows of drift; `None` if it does not count: it has no id, no row, or values that are
    /// not its own.
    fn observed<'a>(
        &'a self,
        model: &ModelVersion,
        rows: &'a [f64],
        evaluation: &Evaluation<'_>,
    ) -> Option<ObservedEntity<'a>> {
        let id = self.id.as_ref().filter(|_| !self.hypothetical)?;
        let assembled = self.assembled.as_ref().ok()?;
        let width = model.inputs.len();
        Some(ObservedEntity {
            id: id.as_ref(),
            observed: Observed {
                row: rows.get(assembled.row * width..(assembled.row + 1) * width)?,
                value: evaluation.value(assembled.row),
                issues: &assembled.issues,
            },
        })
    }
}
