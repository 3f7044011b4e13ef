//! From entities to scores: rows are put together one by one, evaluated in one batch, and read back one by one.

use std::cell::RefCell;
use std::time::Instant;

use super::calibration::{band, calibrate};
use super::live_set::Servable;
use super::request::{Entity, EntityScore, FeatureOrigin, Outcome, Reason, Score};
use crate::error::{Error, ErrorKind};
use crate::features::plan::{EntityLookup, EntityRecord, FetchedFeatures, Origin};
use crate::features::row;
use crate::models::ModelVersion;
use crate::models::contract::Calibration;
use crate::models::derived::MOST_OPERANDS;
use crate::models::input::EncodedCell;
use crate::suggest::hint;
use crate::telemetry::Metrics;
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::issues::FeatureIssues;
use crate::values::json::Scalar;
use crate::values::slot_value::SlotValue;
use evergreen_forest::{Forest, OutputKind, PredictError, Scratch};

thread_local! {
    /// Working memory of the forest, one per thread: no allocation in the steady state.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// An entity whose row is complete: where in the batch it is, and what is to be said about it.
struct AssembledRow {
    row: usize,
    notes: FeatureIssues,
    from: FeatureOrigin,
    as_of: Option<f64>,
    unavailable: Vec<String>,
}

/// What the request itself says of an entity's features, by slot of the model; empty when it says nothing.
type Overrides = Vec<Option<SlotValue>>;

/// What a batch is scored with.
pub(super) struct EntityBatch<'a> {
    pub(super) served: &'a Servable,
    pub(super) entities: Vec<Entity>,
    pub(super) explain: usize,
    /// What the remote sources gave, one per entity with an id, in their order.
    pub(super) gathered: FetchedFeatures,
    /// Seconds since the Unix epoch.
    pub(super) now: f64,
}

/// Scores every entity of the batch.
pub(super) fn score_all(batch: EntityBatch<'_>, metrics: &Metrics) -> Result<Vec<EntityScore>, Error> {
    let start = Instant::now();
    let EntityBatch {
        served,
        entities,
        explain,
        gathered,
        now,
    } = batch;
    let model = &*served.model;
    let mut rows: Vec<f64> = Vec::with_capacity(entities.len() * model.inputs.len());
    let mut assembled: Vec<(Option<EntityId>, Result<AssembledRow, Error>)> =
        Vec::with_capacity(entities.len());
    let mut seat = 0;
    for entity in entities {
        let before = rows.len();
        let ready = assemble(served, &entity, (&gathered, seat), now, &mut rows);
        if ready.is_err() {
            rows.truncate(before);
        }
        seat += usize::from(entity.id.is_some());
        assembled.push((entity.id, ready.map(|(ready, _)| ready)));
    }
    served.features.count(
        assembled
            .iter()
            .filter_map(|(_, ready)| Some(&ready.as_ref().ok()?.notes)),
    );
    metrics.features.observe(start.elapsed().as_secs_f64());
    let start = Instant::now();
    let evaluated = evaluate(model, &rows, explain)?;
    metrics.forest.observe(start.elapsed().as_secs_f64());
    let results = assembled.into_iter().map(|(id, ready)| {
        let read = |ready| evaluated.read(served, &rows, ready, explain);
        let outcome = ready.map_or_else(Outcome::Failed, read);
        tally(served, &outcome);
        EntityScore {
            id,
            model: None,
            outcome,
        }
    });
    Ok(results.collect())
}

/// Counts what became of an entity, for those who watch the version. What the request itself did wrong is not the
/// version's doing.
fn tally(served: &Servable, outcome: &Outcome) {
    match outcome {
        Outcome::Scored(scored) => served.tally.score(scored.value),
        Outcome::Failed(error) => match error.kind() {
            ErrorKind::Rejected | ErrorKind::Internal => served.tally.failed(),
            _ => {}
        },
    }
}

/// Appends the entity's row to `rows`, and gives what the sources have of it; on failure `rows` may hold a part of it.
fn assemble<'a>(
    served: &'a Servable,
    entity: &Entity,
    gathered: (&'a FetchedFeatures, usize),
    now: f64,
    rows: &mut Vec<f64>,
) -> Result<(AssembledRow, Option<EntityRecord<'a>>), Error> {
    let model = &*served.model;
    let given = overrides(model, &entity.features)?;
    let (record, from, unavailable) = match lookup(served, entity, gathered)? {
        Some((record, origin, unavailable)) => (Some(record), FeatureOrigin::Source(origin), unavailable),
        None => (None, FeatureOrigin::Request, Vec::new()),
    };
    let values = Values {
        model,
        given: &given,
        record: record.as_ref(),
        now,
    };
    let mut notes = FeatureIssues::default();
    for (position, input) in model.inputs.iter().enumerate() {
        let (found, stale) = values.input(position);
        rows.push(row::settle(input, position, found, stale, &mut notes)?);
    }
    let row = rows.len() / model.inputs.len() - 1;
    let as_of = record.as_ref().and_then(EntityRecord::as_of);
    let ready = AssembledRow {
        row,
        notes,
        from,
        as_of,
        unavailable,
    };
    Ok((ready, record))
}

/// What a model sees of one entity.
pub(super) struct FeatureTrace {
    pub(super) row: Vec<f64>,
    pub(super) notes: FeatureIssues,
    /// By input, when its value was true.
    pub(super) as_of: Vec<Option<f64>>,
    pub(super) from: FeatureOrigin,
    pub(super) unavailable: Vec<String>,
}

/// What the model sees of an entity with an id.
pub(super) fn see(
    served: &Servable,
    entity: &Entity,
    gathered: &FetchedFeatures,
    now: f64,
) -> Result<FeatureTrace, Error> {
    let mut row = Vec::new();
    let (ready, record) = assemble(served, entity, (gathered, 0), now, &mut row)?;
    let as_of = |position| record.as_ref().and_then(|record| record.slot_as_of(position));
    Ok(FeatureTrace {
        as_of: (0..row.len()).map(as_of).collect(),
        row,
        notes: ready.notes,
        from: ready.from,
        unavailable: ready.unavailable,
    })
}

/// All that is known of an entity.
struct Values<'a, 'r> {
    model: &'a ModelVersion,
    given: &'a Overrides,
    record: Option<&'a EntityRecord<'r>>,
    now: f64,
}

impl Values<'_, '_> {
    /// What is known of an input, and whether that is too old.
    fn input(&self, position: usize) -> (SlotValue, bool) {
        let derived = self.model.derived.get(position).and_then(Option::as_ref);
        match derived {
            Some(derived) if self.given(position).is_none() => {
                let mut operands = [SlotValue::Absent; MOST_OPERANDS];
                let mut stale = false;
                for (operand, &slot) in operands.iter_mut().zip(derived.slots()) {
                    let (found, old) = self.slot(slot);
                    *operand = found;
                    stale |= old;
                }
                (derived.value(&operands[..derived.slots().len()], self.now), stale)
            }
            _ => self.slot(position),
        }
    }

    fn slot(&self, slot: usize) -> (SlotValue, bool) {
        if let Some(found) = self.given(slot) {
            return (found, false);
        }
        match self.record {
            Some(record) => record.get(slot, self.now),
            None => (SlotValue::Absent, false),
        }
    }

    fn given(&self, slot: usize) -> Option<SlotValue> {
        self.given.get(slot).copied().flatten()
    }
}

/// What the sources have of the entity; `None` when the request's own values must do.
fn lookup<'a>(
    served: &'a Servable,
    entity: &Entity,
    (gathered, seat): (&'a FetchedFeatures, usize),
) -> Result<Option<(EntityRecord<'a>, Origin, Vec<String>)>, Error> {
    let Some(id) = &entity.id else {
        if entity.features.is_empty() {
            return Err(Error::invalid(
                "an entity needs an id, or features, or both".to_owned(),
            ));
        }
        return Ok(None);
    };
    let Some(plan) = served.plan.as_deref() else {
        return if entity.features.is_empty() {
            Err(Error::unavailable(
                "there is no feature source to look ids up in".to_owned(),
            ))
        } else {
            Ok(None)
        };
    };
    match plan.find(id, gathered, seat) {
        EntityLookup::Record {
            record,
            from,
            unavailable,
        } => Ok(Some((record, from, unavailable))),
        EntityLookup::Unknown if !entity.features.is_empty() => Ok(None),
        EntityLookup::Unknown => Err(Error::entity_not_found(format!(
            "no {} `{id}`",
            served.model.entity()
        ))),
        EntityLookup::Unavailable(source) => Err(Error::unavailable(format!(
            "the feature source `{source}` does not answer"
        ))),
    }
}

/// The request's values by slot.
fn overrides(model: &ModelVersion, features: &[(String, Scalar)]) -> Result<Overrides, Error> {
    if features.is_empty() {
        return Ok(Overrides::new());
    }
    let mut given = vec![None; model.inputs.len() + model.operands.len()];
    for (name, value) in features {
        let slot = model.slot_of(name).ok_or_else(|| {
            let hint = hint(name, model.slots().map(|slot| slot.name.as_str()));
            Error::invalid(format!("`{name}` is no feature of model `{}`{hint}", model.name))
        })?;
        let found =
            encode(model, slot, value).map_err(|what| Error::invalid(format!("feature `{name}`: {what}")))?;
        given[slot] = Some(found);
    }
    Ok(given)
}

fn encode(model: &ModelVersion, slot: usize, value: &Scalar) -> Result<SlotValue, String> {
    let cell = match value {
        Scalar::Null => Cell::Null,
        Scalar::Bool(value) => Cell::Bool(*value),
        Scalar::Int(value) => Cell::Int(*value),
        Scalar::Float(value) => Cell::Float(*value),
        Scalar::Text(text) => Cell::Text(text),
        Scalar::Other(what) => {
            let noun = model.slot(slot).map_or("a value", |slot| slot.kind.noun());
            return Err(format!("expected {noun}, found {what}"));
        }
    };
    Ok(match model.slot_encode(slot, cell)? {
        EncodedCell::Value(value) => SlotValue::Value(value),
        EncodedCell::Null => SlotValue::Null,
        EncodedCell::UnknownCategory => SlotValue::UnknownCategory,
    })
}

/// What the forest says of a batch.
struct Evaluation {
    margins: Vec<f64>,
    scores: Vec<f64>,
    contributions: Vec<f64>,
}

fn evaluate(model: &ModelVersion, rows: &[f64], explain: usize) -> Result<Evaluation, Error> {
    let forest = &model.forest;
    let platt = model
        .contract
        .as_ref()
        .and_then(|contract| contract.output.calibration.as_ref());
    let margins = match platt {
        Some(Calibration::Platt { .. }) => predict(forest, OutputKind::Margin, rows)?,
        _ => Vec::new(),
    };
    let scores = predict(forest, model.score_output(), rows)?;
    let contributions = match explain {
        0 => Vec::new(),
        _ => predict(forest, OutputKind::Contributions, rows)?,
    };
    Ok(Evaluation {
        margins,
        scores,
        contributions,
    })
}

/// One output of a forest for a batch of rows, with this thread's working memory.
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
    fn read(&self, served: &Servable, rows: &[f64], ready: AssembledRow, explain: usize) -> Outcome {
        let model = &*served.model;
        let AssembledRow {
            row,
            notes,
            from,
            as_of,
            unavailable,
        } = ready;
        let (Some(&value), Some(contract)) = (self.scores.get(row), &model.contract) else {
            return Outcome::Failed(Error::internal("a row without a score".to_owned()));
        };
        let score = calibrate(&contract.output, self.margins.get(row).copied(), value);
        if !score.is_finite() {
            served.tally.not_finite();
            return Outcome::Failed(Error::rejected(format!(
                "the model's score for these features is {score}"
            )));
        }
        let band = band(&served.bands, score);
        Outcome::Scored(Score {
            score,
            value,
            band,
            reasons: self.reasons(model, rows, row, explain),
            notes,
            from,
            as_of,
            unavailable,
        })
    }

    fn reasons(&self, model: &ModelVersion, rows: &[f64], row: usize, explain: usize) -> Vec<Reason> {
        let features = model.inputs.len();
        // Per group: one contribution per feature, then the bias. A class is explained by the margin of that class.
        let groups = model.forest.summary().groups;
        let group = if groups > 1 {
            class_of(&self.scores, row)
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

/// The class predicted for a row.
fn class_of(scores: &[f64], row: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a class is a small whole number"
    )]
    scores.get(row).map_or(0, |&class| class as usize)
}
