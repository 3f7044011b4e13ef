//! What changed: the difference between an entity's score now and with the features of the previous snapshot, under the same
//! version.

use std::sync::Arc;
use std::time::Instant;

use evergreen_forest::OutputKind;

use super::assemble::{FeatureTrace, as_of, trace};
use super::calibration::band;
use super::client::Client;
use super::explain::explained_group;
use super::predict::{ScoreOutputs, predict};
use super::request::ModelRef;
use super::servable::Servable;
use super::trace::Traced;
use super::{Scorer, Wanted, explain_walks, off_thread_if_long};
use crate::error::Error;
use crate::features::plan::FetchedFeatures;
use crate::models::ModelVersion;
use crate::models::sentence::{compare_scores, describe_change};
use crate::values::entity_id::EntityId;

/// Reasons in an answer if the request does not say.
pub const DEFAULT_REASONS: usize = 3;

/// A score then and now.
#[derive(Debug)]
pub struct ScoreChange {
    /// The version that gives both scores.
    pub model: Arc<ModelVersion>,
    /// The change as a sentence, with the strongest reason that moved the score the same way.
    pub text: String,
    /// Now.
    pub now: ScoreAt,
    /// With the features of the previous snapshot.
    pub before: ScoreAt,
    /// The features whose contribution changed, the largest change first, at most as many as wanted.
    pub reasons: Vec<ChangedFeature>,
    /// The change of the margin that is not in the reasons.
    pub remainder: f64,
}

/// A score at a time.
#[derive(Debug)]
pub struct ScoreAt {
    /// The score.
    pub score: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
    /// The oldest `as_of` time of the features, in seconds since the Unix epoch.
    pub as_of: Option<f64>,
}

/// A feature then and now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangedFeature {
    /// Position among the model's inputs.
    pub input: usize,
    /// The value now; NaN for missing.
    pub now: f64,
    /// The value then.
    pub before: f64,
    /// The contribution now, less the one then. It can differ from 0 for a value that stayed: features act together.
    pub contribution: f64,
}

impl Scorer {
    /// Compares the score of an entity with the one that the previous snapshot gives.
    ///
    /// # Errors
    /// The model or entity is unknown, now or then; there is no previous snapshot; a feature comes from a store, whose
    /// previous values nobody has.
    pub async fn changes(
        self: &Arc<Self>,
        client: &Client,
        model: &ModelRef,
        id: EntityId,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<ScoreChange, Error> {
        let traced = self.traced(client, model, id, deadline, Wanted::one()).await?;
        let servable = traced.servable.clone();
        let before = servable.before().ok_or_else(|| {
            Error::entity_not_found(
                "there is no previous snapshot to compare with: it is kept when the snapshot is replaced \
                 (features.watch.previous), and only for models whose features all come from it",
            )
        })?;
        Traced::check(&servable, &traced.trace)?;
        let nothing = FetchedFeatures::default();
        let in_previous = |error: Error| error.within("in the previous snapshot");
        let observed = as_of(&before, &traced.entity, &nothing).map_err(in_previous)?;
        let oldest = |trace: &FeatureTrace| trace.as_of.iter().flatten().copied().reduce(f64::min);
        // Ages and times since an event are compared at the same distance from each snapshot.
        let between = oldest(&traced.trace)
            .zip(observed)
            .map_or(0.0, |(now, then)| now - then);
        let then = trace(&before, &traced.entity, &nothing, traced.now - between).map_err(in_previous)?;
        Traced::check(&servable, &then).map_err(in_previous)?;
        let times = [&traced.trace, &then].map(oldest);
        let Traced { trace, permit, .. } = traced;
        let rows = [trace.row, then.row].concat();
        let forest = &servable.model.forest;
        let walks = explain_walks(forest, 2).saturating_add(2 * forest.summary().trees);
        off_thread_if_long(walks, move || {
            let change = compare(&servable, &rows, times, most);
            drop(permit);
            change
        })
        .await
    }
}

/// Compares two rows: now and then.
fn compare(
    servable: &Servable,
    rows: &[f64],
    times: [Option<f64>; 2],
    most: usize,
) -> Result<ScoreChange, Error> {
    let model = &servable.model;
    let outputs = ScoreOutputs::of(model, rows)?;
    let scores = [outputs.score(0)?, outputs.score(1)?];
    let contributions = predict(&model.forest, OutputKind::Contributions, rows)?;
    let width = model.inputs.len();
    // Both rows are explained by the class that is predicted now.
    let group = explained_group(model, &outputs.values, 0);
    let groups = model.forest.summary().groups;
    let of_row = |row: usize| {
        let mut all = contributions.chunks_exact(width + 1);
        all.nth(row * groups + group).unwrap_or_default()
    };
    let (now, before) = (of_row(0), of_row(1));
    let mut changed: Vec<ChangedFeature> = (0..width)
        .map(|input| ChangedFeature {
            input,
            now: rows[input],
            before: rows[width + input],
            contribution: now[input] - before[input],
        })
        .filter(|feature| feature.contribution != 0.0)
        .collect();
    changed.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    let text = summary(model, scores, &changed);
    let remainder = changed
        .iter()
        .skip(most)
        .map(|feature| feature.contribution)
        .sum();
    changed.truncate(most);
    let [now, before] = [0, 1].map(|row| ScoreAt {
        score: scores[row],
        band: band(&servable.bands, scores[row]),
        as_of: times[row],
    });
    Ok(ScoreChange {
        text,
        now,
        before,
        reasons: changed,
        remainder,
        model: model.clone(),
    })
}

/// The change as a sentence.
fn summary(model: &ModelVersion, [now, before]: [f64; 2], changed: &[ChangedFeature]) -> String {
    let scores = compare_scores(model, now, before);
    let margin: f64 = changed.iter().map(|feature| feature.contribution).sum();
    let mut same_way = changed
        .iter()
        .filter(|feature| (feature.contribution > 0.0) == (margin > 0.0));
    let reason = same_way.next().filter(|_| now != before).and_then(|feature| {
        let input = model.inputs.get(feature.input)?;
        Some(describe_change(input, feature.now, feature.before))
    });
    match reason {
        Some(reason) => format!("{scores}. {reason}."),
        None => format!("{scores}."),
    }
}
