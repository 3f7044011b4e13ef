//! Assembles the row of model inputs for one entity: overrides of the request, values of the feature sources, derived
//! features, and then the contract's rules.

use super::outcome::FeatureOrigin;
use super::request::Entity;
use super::servable::Servable;
use crate::error::Error;
use crate::features::plan::{EntityFetch, EntityLookup, EntityRecord, FetchedFeatures, Origin};
use crate::models::ModelVersion;
use crate::models::apply::apply_contract;
use crate::models::derived::MOST_OPERANDS;
use crate::models::input::EncodedCell;
use crate::suggest::Suggestions;
use crate::values::cell::Cell;
use crate::values::issues::FeatureIssues;
use crate::values::json::Scalar;
use crate::values::slot_value::SlotValue;

/// An entity whose row is complete.
pub(super) struct AssembledRow {
    /// Its position among the complete rows of the batch.
    pub(super) row: usize,
    pub(super) issues: FeatureIssues,
    pub(super) from: FeatureOrigin,
    pub(super) as_of: Option<f64>,
    pub(super) unavailable: Vec<String>,
}

/// The request's own values by slot of the model; empty if the request gives none.
type OverrideValues = Vec<Option<SlotValue>>;

/// Appends the entity's row to `rows`, with `fetch` as what the remote sources returned for it and `now` in seconds
/// since the Unix epoch. `suggestions` are those of the request. Also returns the record of the sources. After an error `rows` is as before.
///
/// # Errors
/// The entity is unknown, a source is unavailable, or the contract rejects a value.
pub(super) fn assemble<'a>(
    servable: &'a Servable,
    entity: &Entity,
    fetch: EntityFetch<'a>,
    now: f64,
    suggestions: &Suggestions,
    rows: &mut Vec<f64>,
) -> Result<(AssembledRow, Option<EntityRecord<'a>>), Error> {
    let model = &*servable.model;
    let overrides = overrides(model, &entity.features, suggestions)?;
    let (record, from, unavailable) = match lookup(servable, entity, fetch)? {
        Some((record, origin, unavailable)) => (Some(record), FeatureOrigin::Source(origin), unavailable),
        None => (None, FeatureOrigin::Request, Vec::new()),
    };
    let known = KnownValues {
        model,
        overrides: &overrides,
        record: record.as_ref(),
        now,
    };
    let before = rows.len();
    let issues = known.append_row(rows)?;
    let assembled = AssembledRow {
        row: before / model.inputs.len().max(1),
        issues,
        from,
        as_of: record.as_ref().and_then(EntityRecord::as_of),
        unavailable,
    };
    Ok((assembled, record))
}

/// Appends the row of an entity to `rows` from a record of the snapshot, as [`assemble`] does for its id alone. After an error
/// `rows` is as before.
///
/// # Errors
/// The contract rejects a value.
pub(super) fn assemble_record(
    model: &ModelVersion,
    record: &EntityRecord<'_>,
    now: f64,
    rows: &mut Vec<f64>,
) -> Result<AssembledRow, Error> {
    let known = KnownValues::of_record(model, record, now);
    let before = rows.len();
    let issues = known.append_row(rows)?;
    Ok(AssembledRow {
        row: before / model.inputs.len().max(1),
        issues,
        from: FeatureOrigin::Source(Origin::Snapshot),
        as_of: record.as_of(),
        unavailable: Vec::new(),
    })
}

/// The number that the model sees for one input of a record, NaN for missing; `None` if the contract rejects the value.
pub(super) fn input_value(
    model: &ModelVersion,
    record: &EntityRecord<'_>,
    position: usize,
    now: f64,
    issues: &mut FeatureIssues,
) -> Option<f64> {
    let input = model.inputs.get(position)?;
    let (value, stale) = KnownValues::of_record(model, record, now).input(position);
    apply_contract(input, position, value, stale, issues).ok()
}

/// What a model sees of one entity, for people who ask why a score is what it is.
pub(super) struct FeatureTrace {
    /// The values of the inputs, in the model's order.
    pub(super) row: Vec<f64>,
    pub(super) issues: FeatureIssues,
    /// By input, its `as_of` time in seconds since the Unix epoch.
    pub(super) as_of: Vec<Option<f64>>,
    pub(super) from: FeatureOrigin,
    pub(super) unavailable: Vec<String>,
}

/// Traces what the model sees of an entity with an id; `fetched` holds this entity alone.
pub(super) fn trace(
    servable: &Servable,
    entity: &Entity,
    fetched: &FetchedFeatures,
    now: f64,
) -> Result<FeatureTrace, Error> {
    let mut row = Vec::new();
    let (assembled, record) = assemble(
        servable,
        entity,
        fetched.entity(0),
        now,
        &Suggestions::default(),
        &mut row,
    )?;
    let as_of = |position| record.as_ref().and_then(|record| record.slot_as_of(position));
    Ok(FeatureTrace {
        as_of: (0..row.len()).map(as_of).collect(),
        row,
        issues: assembled.issues,
        from: assembled.from,
        unavailable: assembled.unavailable,
    })
}

/// The `as_of` time of an entity's values, in seconds since the Unix epoch, if its sources have one.
///
/// # Errors
/// The entity is unknown, or a source is unavailable.
pub(super) fn as_of(
    servable: &Servable,
    entity: &Entity,
    fetched: &FetchedFeatures,
) -> Result<Option<f64>, Error> {
    let found = lookup(servable, entity, fetched.entity(0))?;
    Ok(found.and_then(|(record, _, _)| record.as_of()))
}

/// All that is known of an entity.
struct KnownValues<'a, 'r> {
    model: &'a ModelVersion,
    overrides: &'a OverrideValues,
    record: Option<&'a EntityRecord<'r>>,
    now: f64,
}

impl<'a, 'r> KnownValues<'a, 'r> {
    /// What a record holds of an entity whose request has no values of its own.
    fn of_record(model: &'a ModelVersion, record: &'a EntityRecord<'r>, now: f64) -> Self {
        const NONE: &OverrideValues = &OverrideValues::new();
        Self {
            model,
            overrides: NONE,
            record: Some(record),
            now,
        }
    }

    /// Appends the row of inputs to `rows`, by the contract's rules. After an error `rows` is as before.
    fn append_row(&self, rows: &mut Vec<f64>) -> Result<FeatureIssues, Error> {
        let mut issues = FeatureIssues::default();
        let before = rows.len();
        for (position, input) in self.model.inputs.iter().enumerate() {
            let (value, stale) = self.input(position);
            match apply_contract(input, position, value, stale, &mut issues) {
                Ok(number) => rows.push(number),
                Err(error) => {
                    rows.truncate(before);
                    return Err(error);
                }
            }
        }
        Ok(issues)
    }

    /// The value of an input, and whether it is stale.
    fn input(&self, position: usize) -> (SlotValue, bool) {
        let derived = self.model.derived.get(position).and_then(Option::as_ref);
        match derived {
            Some(derived) if self.overridden(position).is_none() => {
                let mut operands = [SlotValue::Absent; MOST_OPERANDS];
                let mut stale = false;
                for (operand, &slot) in operands.iter_mut().zip(derived.slots()) {
                    let (value, old) = self.slot(slot);
                    *operand = value;
                    stale |= old;
                }
                (derived.value(&operands[..derived.slots().len()], self.now), stale)
            }
            _ => self.slot(position),
        }
    }

    fn slot(&self, slot: usize) -> (SlotValue, bool) {
        if let Some(value) = self.overridden(slot) {
            return (value, false);
        }
        match self.record {
            Some(record) => record.get(slot, self.now),
            None => (SlotValue::Absent, false),
        }
    }

    fn overridden(&self, slot: usize) -> Option<SlotValue> {
        self.overrides.get(slot).copied().flatten()
    }
}

/// Looks the entity up in its sources; `None` if the request's own values must do.
fn lookup<'a>(
    servable: &'a Servable,
    entity: &Entity,
    fetch: EntityFetch<'a>,
) -> Result<Option<(EntityRecord<'a>, Origin, Vec<String>)>, Error> {
    let has_values = !entity.features.is_empty();
    let Some(id) = &entity.id else {
        return if has_values {
            Ok(None)
        } else {
            Err(Error::invalid("an entity needs an id, or features, or both").about("entities"))
        };
    };
    let Some(plan) = servable.plan.as_deref() else {
        return if has_values {
            Ok(None)
        } else {
            Err(Error::unavailable(
                "no feature source to look up ids in; name one with features.snapshot or [source.NAME]",
            ))
        };
    };
    match plan.find(id, fetch) {
        EntityLookup::Record {
            record,
            from,
            unavailable,
        } => Ok(Some((record, from, unavailable))),
        EntityLookup::Unknown if has_values => Ok(None),
        EntityLookup::Unknown => Err(Error::entity_not_found(format!(
            "no {} `{id}`",
            servable.model.entity()
        ))),
        EntityLookup::Unavailable(source) => Err(Error::unavailable(format!(
            "feature source `{source}` is unavailable"
        ))),
    }
}

/// The request's values by slot.
fn overrides(
    model: &ModelVersion,
    features: &[(String, Scalar)],
    suggestions: &Suggestions,
) -> Result<OverrideValues, Error> {
    if features.is_empty() {
        return Ok(OverrideValues::new());
    }
    let mut overrides = vec![None; model.inputs.len() + model.operands.len()];
    for (name, value) in features {
        let slot = model.slot_of(name).ok_or_else(|| {
            let hint = suggestions.hint(name, model.slots().map(|slot| slot.name.as_str()));
            Error::invalid(format!(
                "`{name}` is not a feature of model `{}`{hint}",
                model.name
            ))
            .about(name.as_str())
        })?;
        let value = encode(model, slot, value)
            .map_err(|what| Error::invalid(format!("feature `{name}`: {what}")).about(name.as_str()))?;
        overrides[slot] = Some(value);
    }
    Ok(overrides)
}

fn encode(model: &ModelVersion, slot: usize, value: &Scalar) -> Result<SlotValue, String> {
    let cell = match value {
        Scalar::Null => Cell::Null,
        Scalar::Bool(value) => Cell::Bool(*value),
        Scalar::Int(value) => Cell::Int(*value),
        Scalar::Float(value) => Cell::Float(*value),
        Scalar::Text(text) => Cell::Text(text),
        Scalar::Digits(digits) => Cell::Untyped(digits),
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
