//! Predictions for the prediction log: what the model saw of an entity, and what was answered. The scoring path only copies
//! what it has at hand, for the sampled entities alone; who records it implements [`PredictionRecorder`].

use std::fmt::Debug;
use std::sync::Arc;

use super::client::RequestIds;
use super::outcome::{EntityScore, FeatureOrigin, Outcome, Reason};
use super::request::Entity;
use crate::features::plan::EntityRecord;
use crate::models::ModelVersion;
use crate::values::entity_id::{EntityId, IdRef};
use crate::values::id_hash::{HashShare, IdHasher};
use crate::values::issues::FeatureIssues;

/// Samples entities, independently of canaries and shadows.
const SAMPLE: IdHasher = IdHasher::new("prediction log");

/// Bytes that a reason takes in memory, about.
const REASON_BYTES: usize = 256;

/// Records predictions.
pub trait PredictionRecorder: Debug + Send + Sync {
    /// The share of the entities to record at this time in seconds since the Unix epoch, 0 to 1.
    fn sample(&self, at: f64) -> f64;

    /// Takes predictions, or drops them. Never waits.
    fn record(&self, predictions: Predictions);
}

/// Why a version scored an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The live version, for a request that left the choice to the server.
    Live,
    /// The canary, for its share of the entities.
    Canary,
    /// The version or label that the request named.
    Chosen,
}

impl Arm {
    /// The name in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Canary => "canary",
            Self::Chosen => "chosen",
        }
    }
}

/// The predictions of one request by one version.
#[derive(Debug)]
pub struct Predictions {
    /// The version.
    pub model: Arc<ModelVersion>,
    /// The ids of the request; `None` for work that no request asked for.
    pub request: Option<RequestIds>,
    /// Why this version.
    pub arm: Arm,
    /// The time, in seconds since the Unix epoch.
    pub at: f64,
    /// The share of the entities that was sampled.
    pub share: f64,
    /// The sampled entities that have a score, in the order of the request.
    pub rows: Vec<Prediction>,
    /// The inputs as the model saw them, row-major; NaN for missing.
    pub values: Vec<f64>,
}

/// The prediction for one entity.
#[derive(Debug)]
pub struct Prediction {
    /// The id, if the request gave one.
    pub id: Option<EntityId>,
    /// The calibrated score.
    pub score: f64,
    /// The model's value before calibration.
    pub value: f64,
    /// The name of the band.
    pub band: Option<Arc<str>>,
    /// What is missing, stale or out of range.
    pub issues: FeatureIssues,
    /// Where the features come from.
    pub from: FeatureOrigin,
    /// The oldest `as_of` time of the features, in seconds since the Unix epoch.
    pub as_of: Option<f64>,
    /// By slot, when its value was true, in seconds since the Unix epoch; NaN if that is not known. Empty if `as_of` is the
    /// time of all stored values.
    pub slot_times: Vec<f64>,
    /// Names of unavailable sources.
    pub unavailable: Vec<String>,
    /// The slots whose values the request gave.
    pub overridden: Vec<usize>,
    /// The reasons, if the request wanted them.
    pub reasons: Option<Vec<Reason>>,
}

impl Predictions {
    /// The bytes of all rows in memory, about.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(Prediction::bytes).sum();
        size_of::<Self>() + rows + self.values.len() * size_of::<f64>()
    }
}

impl Prediction {
    fn bytes(&self) -> usize {
        let id = match &self.id {
            Some(EntityId::Text(id)) => id.len(),
            _ => 0,
        };
        let issues: usize = self.issues.lists().iter().map(|list| list.len()).sum();
        let sources: usize = self.unavailable.iter().map(|name| name.len() + 24).sum();
        let reasons = self.reasons.as_ref().map_or(0, Vec::len) * REASON_BYTES;
        let slots = issues + self.overridden.len() + self.slot_times.len();
        size_of::<Self>() + id + slots * size_of::<u64>() + sources + reasons
    }
}

/// How the predictions of one request by one version are recorded.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) arm: Arm,
    pub(super) request: Option<RequestIds>,
}

/// The predictions of a batch in the making.
pub(super) struct Draft<'a> {
    recorder: &'a dyn PredictionRecorder,
    recording: &'a Recording,
    share: f64,
    sample: HashShare,
    model: &'a Arc<ModelVersion>,
    at: f64,
    sampled: Vec<Sampled>,
    values: Vec<f64>,
}

/// A sampled entity.
struct Sampled {
    /// Its position in the batch.
    position: usize,
    overridden: Vec<usize>,
    slot_times: Vec<f64>,
    /// Whether its row is complete.
    complete: bool,
}

impl<'a> Draft<'a> {
    /// Begins the predictions of `model` at the time `at`.
    pub(super) fn new(
        recorder: &'a dyn PredictionRecorder,
        recording: &'a Recording,
        model: &'a Arc<ModelVersion>,
        at: f64,
    ) -> Self {
        let share = recorder.sample(at);
        Self {
            share,
            sample: HashShare::new(share),
            recorder,
            recording,
            model,
            at,
            sampled: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Samples the entity at this position of the batch.
    pub(super) fn choose(&mut self, position: usize, entity: &Entity) {
        let request = self.recording.request.as_ref();
        if !is_sampled(self.sample, entity.id.as_ref(), request, position) {
            return;
        }
        let features = entity.features.iter();
        let overridden = features.filter_map(|(name, _)| self.model.slot_of(name));
        self.sampled.push(Sampled {
            position,
            overridden: overridden.collect(),
            slot_times: Vec::new(),
            complete: false,
        });
    }

    /// Copies the row of an entity and the times of its record, if it is the last that was sampled.
    pub(super) fn add_row(&mut self, position: usize, row: &[f64], record: Option<&EntityRecord<'_>>) {
        if let Some(last) = self.sampled.last_mut().filter(|last| last.position == position) {
            last.complete = true;
            last.slot_times = record.map_or_else(Vec::new, EntityRecord::slot_times);
            self.values.extend_from_slice(row);
        }
    }

    /// Records the sampled entities that have a score among the results of the batch.
    pub(super) fn finish(self, results: &[EntityScore], explained: bool) {
        let width = self.model.inputs.len();
        let mut values = self.values;
        let mut kept = 0;
        let mut rows = Vec::with_capacity(self.sampled.len());
        let complete = self.sampled.into_iter().filter(|sampled| sampled.complete);
        for (row, sampled) in complete.enumerate() {
            let result = results.get(sampled.position);
            let Some(prediction) = result.and_then(|result| prediction(result, sampled, explained)) else {
                continue;
            };
            values.copy_within(row * width..(row + 1) * width, kept * width);
            kept += 1;
            rows.push(prediction);
        }
        values.truncate(kept * width);
        if rows.is_empty() {
            return;
        }
        self.recorder.record(Predictions {
            model: self.model.clone(),
            request: self.recording.request.clone(),
            arm: self.recording.arm,
            at: self.at,
            share: self.share,
            rows,
            values,
        });
    }
}

/// The prediction of a result; `None` without a score.
fn prediction(result: &EntityScore, sampled: Sampled, explained: bool) -> Option<Prediction> {
    let Outcome::Scored(score) = &result.outcome else {
        return None;
    };
    Some(Prediction {
        id: result.id.clone(),
        score: score.score,
        value: score.value,
        band: score.band.clone(),
        issues: score.issues.clone(),
        from: score.from,
        as_of: score.as_of,
        slot_times: sampled.slot_times,
        unavailable: score.unavailable.clone(),
        overridden: sampled.overridden,
        reasons: explained.then(|| score.reasons.clone()),
    })
}

/// Whether an entity is in the sample: by its id, alike on every server and for every model, so that its history stays
/// whole. One without an id is chosen by its request and its position there.
fn is_sampled(
    sample: HashShare,
    id: Option<&EntityId>,
    request: Option<&RequestIds>,
    position: usize,
) -> bool {
    if sample.is_all() {
        return true;
    }
    sample.has(match (id, request) {
        (Some(id), _) => SAMPLE.hash(id.as_ref()),
        (None, Some(request)) => {
            let position = i64::try_from(position).unwrap_or(i64::MAX);
            IdHasher::new(&request.request_id.to_string()).hash(IdRef::Int(position))
        }
        (None, None) => fastrand::u64(..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::client::RequestId;

    fn ids(request_id: &str) -> RequestIds {
        RequestIds {
            request_id: RequestId::Given(request_id.into()),
            trace_id: None,
        }
    }

    #[test]
    fn an_entity_is_always_or_never_in_the_sample() {
        let request = ids("a");
        let sampled =
            |share, id: i64| is_sampled(HashShare::new(share), Some(&EntityId::Int(id)), Some(&request), 0);
        let tenth: Vec<i64> = (0..10_000).filter(|&id| sampled(0.1, id)).collect();
        assert!((900..1100).contains(&tenth.len()), "{}", tenth.len());
        // A larger sample has every entity of a smaller one; the request and the form of the id do not matter.
        assert!(tenth.iter().all(|&id| sampled(0.2, id)));
        let text = |id: &i64| EntityId::Text(id.to_string());
        assert!(
            tenth
                .iter()
                .all(|id| is_sampled(HashShare::new(0.1), Some(&text(id)), Some(&ids("b")), 7))
        );
        assert!((0..100).all(|id| sampled(1.0, id) && !sampled(0.0, id)));
    }

    #[test]
    fn entities_without_an_id_are_chosen_by_their_request() {
        let chosen = |request: &RequestIds| -> Vec<usize> {
            (0..1000)
                .filter(|&position| is_sampled(HashShare::new(0.5), None, Some(request), position))
                .collect()
        };
        assert_eq!(chosen(&ids("a")), chosen(&ids("a")));
        assert_ne!(chosen(&ids("a")), chosen(&ids("b")));
        assert!((400..600).contains(&chosen(&ids("a")).len()));
    }
}
