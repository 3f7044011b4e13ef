//! From entities to scores: rows are put together one by one, evaluated in one batch, and read back one by one.

use std::cell::RefCell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::calibration::{band, calibrate};
use super::domain::{Entity, EntityScore, From, Outcome, Reason, ScoreRequest, Scored};
use super::live::Served;
use crate::error::{Error, Kind};
use crate::features::cell::Cell;
use crate::features::plan::Plan;
use crate::features::row::{self, Found, Notes};
use crate::features::snapshot::EntityId;
use crate::forest::{Forest, OutputKind, PredictError, Scratch};
use crate::json::Scalar;
use crate::models::ModelVersion;
use crate::models::contract::Calibration;
use crate::models::input::{Encoded, Input};
use crate::nearest::hint;
use crate::telemetry::Metrics;

thread_local! {
    /// Working memory of the forest, one per thread: no allocation in the steady state.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// An entity whose row is complete: where in the batch it is, and what is to be said about it.
struct Ready {
    row: usize,
    notes: Notes,
    from: From,
    as_of: Option<f64>,
}

/// Scores every entity of the request with `served`.
pub(super) fn score_all(
    served: &Served,
    request: ScoreRequest,
    metrics: &Metrics,
) -> Result<Vec<EntityScore>, Error> {
    let start = Instant::now();
    let model = &*served.model;
    let mut rows: Vec<f64> = Vec::with_capacity(request.entities.len() * model.inputs.len());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let mut entities: Vec<(Option<EntityId>, Result<Ready, Error>)> =
        Vec::with_capacity(request.entities.len());
    for entity in request.entities {
        let before = rows.len();
        let ready = assemble(served, &entity, now, &mut rows);
        if ready.is_err() {
            rows.truncate(before);
        }
        entities.push((entity.id, ready));
    }
    metrics.features.observe(start.elapsed().as_secs_f64());
    let start = Instant::now();
    let evaluated = evaluate(model, &rows, request.explain)?;
    metrics.forest.observe(start.elapsed().as_secs_f64());
    let results = entities.into_iter().map(|(id, ready)| {
        let read = |ready| evaluated.read(served, &rows, ready, request.explain);
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
fn tally(served: &Served, outcome: &Outcome) {
    match outcome {
        Outcome::Scored(scored) => served.tally.score(scored.value),
        Outcome::Failed(error) => match error.kind() {
            Kind::Rejected | Kind::Internal => served.tally.failed(),
            _ => {}
        },
    }
}

/// Appends the entity's row to `rows`; on failure `rows` may hold a part of it.
fn assemble(served: &Served, entity: &Entity, now: f64, rows: &mut Vec<f64>) -> Result<Ready, Error> {
    let model = &*served.model;
    let given = overrides(model, &entity.features)?;
    let source = lookup(served, entity)?;
    let as_of = source.and_then(|(plan, row)| plan.as_of(row));
    let age = as_of.map(|time| now - time);
    let mut notes = Notes::default();
    for (position, input) in model.inputs.iter().enumerate() {
        let (found, age) = match given.iter().find(|&&(given, _)| given == position) {
            Some(&(_, found)) => (found, None),
            None => (
                source.map_or(Found::Absent, |(plan, row)| plan.get(row, position)),
                age,
            ),
        };
        rows.push(row::settle(input, position, found, age, &mut notes)?);
    }
    let from = if source.is_some() {
        From::Snapshot
    } else {
        From::Request
    };
    let row = rows.len() / model.inputs.len() - 1;
    Ok(Ready {
        row,
        notes,
        from,
        as_of,
    })
}

/// The entity's row in the source; `None` when the request's own values must do.
fn lookup<'a>(served: &'a Served, entity: &Entity) -> Result<Option<(&'a Plan, usize)>, Error> {
    let Some(id) = &entity.id else {
        if entity.features.is_empty() {
            return Err(Error::Invalid(
                "an entity needs an id, or features, or both".to_owned(),
            ));
        }
        return Ok(None);
    };
    let plan = served.plan.as_deref();
    match plan.and_then(|plan| plan.find(id.as_ref()).map(|row| (plan, row))) {
        Some(found) => Ok(Some(found)),
        None if !entity.features.is_empty() => Ok(None),
        None if plan.is_none() => Err(Error::Unavailable(
            "there is no feature source to look ids up in".to_owned(),
        )),
        None => {
            let message = format!("no {} `{id}`", served.model.entity());
            Err(Error::EntityNotFound(message))
        }
    }
}

/// The request's values by position among the inputs.
fn overrides(model: &ModelVersion, features: &[(String, Scalar)]) -> Result<Vec<(usize, Found)>, Error> {
    features
        .iter()
        .map(|(name, value)| {
            let position = model.input(name).ok_or_else(|| {
                let hint = hint(
                    name,
                    model.inputs.iter().map(|input| input.contract.name.as_str()),
                );
                Error::Invalid(format!("`{name}` is no feature of model `{}`{hint}", model.name))
            })?;
            let found = encode(&model.inputs[position], value);
            found
                .map(|found| (position, found))
                .map_err(|what| Error::Invalid(format!("feature `{name}`: {what}")))
        })
        .collect()
}

fn encode(input: &Input, value: &Scalar) -> Result<Found, String> {
    let cell = match value {
        Scalar::Null => Cell::Null,
        Scalar::Bool(value) => Cell::Bool(*value),
        Scalar::Int(value) => Cell::Int(*value),
        Scalar::Float(value) => Cell::Float(*value),
        Scalar::Text(text) => Cell::Text(text),
        Scalar::Other(what) => return Err(format!("expected {}, found {what}", input.contract.kind.noun())),
    };
    Ok(match input.encode(cell)? {
        Encoded::Value(value) => Found::Value(value),
        Encoded::Null => Found::Null,
        Encoded::UnknownCategory => Found::UnknownCategory,
    })
}

/// What the forest says of a batch.
struct Evaluated {
    margins: Vec<f64>,
    scores: Vec<f64>,
    contributions: Vec<f64>,
}

fn evaluate(model: &ModelVersion, rows: &[f64], explain: usize) -> Result<Evaluated, Error> {
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
    Ok(Evaluated {
        margins,
        scores,
        contributions,
    })
}

/// One output of a forest for a batch of rows, with this thread's working memory.
pub(super) fn predict(forest: &Forest, kind: OutputKind, rows: &[f64]) -> Result<Vec<f64>, Error> {
    let no_such_output = |error: PredictError| Error::Invalid(error.to_string());
    let count = rows.len().checked_div(forest.features().len()).unwrap_or(0);
    let mut out = vec![0.0; count * forest.width(kind).map_err(no_such_output)?];
    SCRATCH
        .with_borrow_mut(|scratch| forest.predict(kind, rows, &mut out, scratch))
        .map_err(no_such_output)?;
    Ok(out)
}

impl Evaluated {
    fn read(&self, served: &Served, rows: &[f64], ready: Ready, explain: usize) -> Outcome {
        let model = &*served.model;
        let Ready {
            row,
            notes,
            from,
            as_of,
        } = ready;
        let (Some(&value), Some(contract)) = (self.scores.get(row), &model.contract) else {
            return Outcome::Failed(Error::Internal("a row without a score".to_owned()));
        };
        let score = calibrate(&contract.output, self.margins.get(row).copied(), value);
        if !score.is_finite() {
            served.tally.not_finite();
            return Outcome::Failed(Error::Rejected(format!(
                "the model's score for these features is {score}"
            )));
        }
        let band = band(&served.bands, score);
        Outcome::Scored(Scored {
            score,
            value,
            band,
            reasons: self.reasons(model, rows, row, explain),
            notes,
            from,
            as_of,
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
