//! What if: how the score of one entity depends on each of its values, and the smallest changes that reach a lower band. This
//! shows how the model responds, not what customers do.

mod axis;
mod curve;
mod pair;
mod rows;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::client::Client;
use super::predict::ScoreOutputs;
use super::request::{Entity, ModelRef};
use super::servable::Servable;
use super::trace::Traced;
use super::{Scorer, calibration, off_thread_if_long};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::ScoreKind;
use crate::suggest::unknown;
use axis::{Axis, feeds_derived};
pub use curve::{Curve, CurvePoint};
use pair::PairSearch;
use rows::RowScorer;

/// What a request costs, in scored entities: as many as it scores in the common case.
const COST: usize = 5000;

/// Most rows that the curves of one request score. Each step of a feature is one.
const MOST_ROWS: usize = 1 << 16;

/// Most features whose changes are tried together: pairs grow with the square.
const MOST_ACTIONABLE: usize = 64;

/// What a client wants to know.
#[derive(Debug)]
pub struct WhatIfRequest {
    /// The entity, with the values that differ from its own.
    pub entity: Entity,
    /// The features whose curves to return; `None`: the actionable ones, or all if the contract names none.
    pub curves: Option<Vec<String>>,
    /// Whether to look for two changes together, where one is not enough or two are smaller.
    pub pairs: bool,
}

/// How the score of an entity depends on its values.
#[derive(Debug)]
pub struct WhatIf {
    /// The version.
    pub model: Arc<ModelVersion>,
    /// The values, by input; NaN for missing.
    pub row: Vec<f64>,
    /// The score.
    pub score: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
    /// One for each wanted feature that can have one.
    pub curves: Vec<Curve>,
    /// The wanted features without a curve, by input, and why.
    pub skipped: Vec<(usize, &'static str)>,
    /// The smallest changes that reach a lower band, the smallest first.
    pub changes: Vec<Change>,
    /// Whether the search for two changes was finished; `None` if there was none.
    pub pairs_complete: Option<bool>,
}

/// A change that reaches a lower band.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The features that change: one or two.
    pub parts: Vec<ChangedValue>,
    /// The score after it.
    pub score: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
    /// The shares of the training rows that the values pass, added up.
    pub distance: f64,
    /// Whether no smaller change of these features (of one), or of any two (of two), reaches a lower band.
    pub optimal: bool,
}

/// A feature that changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangedValue {
    /// Position among the model's inputs.
    pub input: usize,
    /// The value now.
    pub from: f64,
    /// The value after the change.
    pub to: f64,
}

impl Scorer {
    /// Computes how the score of an entity depends on its values.
    ///
    /// # Errors
    /// The model, entity or a feature is unknown; the model's leaves are linear functions; the curves have too many steps.
    pub async fn what_if(
        self: &Arc<Self>,
        client: &Client,
        model: &ModelRef,
        request: WhatIfRequest,
        deadline: Option<Instant>,
    ) -> Result<WhatIf, Error> {
        let WhatIfRequest {
            entity,
            curves,
            pairs,
        } = request;
        let traced = self.traced_at(client, model, entity, deadline, COST).await?;
        let servable = traced.servable.clone();
        Traced::check(&servable, &traced.trace)?;
        let wanted = wanted_inputs(&servable.model, curves)?;
        off_thread_if_long(usize::MAX, move || {
            let Traced { trace, permit, .. } = traced;
            let found = what_if(&servable, trace.row, &wanted, pairs);
            drop(permit);
            found
        })
        .await
    }
}

/// The inputs whose curves are wanted.
fn wanted_inputs(model: &ModelVersion, names: Option<Vec<String>>) -> Result<Vec<usize>, Error> {
    if let Some(names) = names {
        let (found, most) = (names.len(), model.inputs.len());
        if found > most {
            let message =
                format!("curves: expected at most {most} features, as the model has, found {found}");
            return Err(Error::invalid(message).about("curves"));
        }
        let known = || model.inputs.iter().map(|input| input.contract.name.as_str());
        let position = |name: String| {
            let found = model.input(&name);
            found.ok_or_else(|| Error::invalid(unknown("feature", &name, known())).about("curves"))
        };
        let mut inputs = names.into_iter().map(position).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        inputs.retain(|&input| seen.insert(input));
        return Ok(inputs);
    }
    let actionable: Vec<usize> = actionable(model).collect();
    Ok(match actionable.is_empty() {
        true => (0..model.inputs.len()).collect(),
        false => actionable,
    })
}

/// The inputs that somebody can change.
fn actionable(model: &ModelVersion) -> impl Iterator<Item = usize> {
    let inputs = model.inputs.iter().enumerate();
    inputs
        .filter(|(_, input)| input.contract.actionable.is_some())
        .map(|(position, _)| position)
}

fn what_if(servable: &Servable, row: Vec<f64>, wanted: &[usize], pairs: bool) -> Result<WhatIf, Error> {
    let model = &servable.model;
    let steps = model
        .forest
        .steps()
        .map_err(|error| Error::invalid(error.to_string()).about("model"))?;
    let score = ScoreOutputs::of(model, &row)?.score(0)?;
    let mut scorer = RowScorer::new(servable, &row);
    let (mut curves, mut skipped) = (Vec::new(), Vec::new());
    for &input in wanted {
        if feeds_derived(model, input) {
            skipped.push((input, "derived features depend on it, or it is one"));
        } else if let Some(curve) = Curve::compute(&mut scorer, input, &steps[input], row[input])? {
            curves.push(curve);
        } else {
            skipped.push((input, "its values at training are not known"));
        }
    }
    let (changes, pairs_complete) = changes(&mut scorer, &steps, &row, score, pairs)?;
    Ok(WhatIf {
        model: model.clone(),
        score,
        band: calibration::band(&servable.bands, score),
        curves,
        skipped,
        changes,
        pairs_complete,
        row,
    })
}

/// The smallest changes that reach a lower band, and whether the search for pairs was finished.
fn changes(
    scorer: &mut RowScorer<'_>,
    steps: &[Vec<f64>],
    row: &[f64],
    score: f64,
    pairs: bool,
) -> Result<(Vec<Change>, Option<bool>), Error> {
    let model = scorer.model();
    let kind = model.contract.as_ref().map(|contract| contract.output.kind);
    let bands = scorer.bands();
    let current = bands.iter().rev().find(|band| score >= band.from);
    // In the lowest band, or with classes, nothing is lower.
    let Some(below) = current.filter(|band| bands.first().is_some_and(|first| first.from < band.from)) else {
        return Ok((Vec::new(), None));
    };
    if kind == Some(ScoreKind::Class) {
        return Ok((Vec::new(), None));
    }
    let limit = below.from;
    let axes: Vec<Axis> = actionable(model)
        .filter(|&input| !feeds_derived(model, input))
        .filter_map(|input| Axis::new(model, input, &steps[input], row[input]))
        .collect();
    let mut found = Vec::new();
    for axis in &axes {
        found.extend(single(scorer, axis, limit)?);
    }
    found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    let one_group = model.forest.summary().groups == 1;
    if !pairs || axes.len() < 2 || !one_group {
        return Ok((found, None));
    }
    // Two changes are of interest only if they are smaller than one.
    let most = found.first().map_or(f64::INFINITY, |change| change.distance);
    let tried = axes.get(..MOST_ACTIONABLE).unwrap_or(&axes);
    let search = PairSearch::new(tried, row, limit, most).run(scorer)?;
    if let Some(change) = search.found {
        found.insert(0, change);
    }
    // Beyond the limit, pairs were not looked at.
    let all = actionable(model).count() <= MOST_ACTIONABLE;
    Ok((found, Some(search.complete && all)))
}

/// The smallest change of one feature after which the score is below `limit`.
fn single(scorer: &mut RowScorer<'_>, axis: &Axis, limit: f64) -> Result<Option<Change>, Error> {
    let mut order: Vec<_> = axis.cells().collect();
    order.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    let values: Vec<f64> = order.iter().map(|cell| cell.value).collect();
    let scores = scorer.with_values(axis.input, &values)?;
    let reached = order.iter().zip(&scores).find(|(_, score)| **score < limit);
    Ok(reached.map(|(cell, &score)| Change {
        parts: vec![ChangedValue {
            input: axis.input,
            from: axis.current,
            to: cell.value,
        }],
        score,
        band: calibration::band(scorer.bands(), score),
        distance: cell.distance,
        optimal: true,
    }))
}
