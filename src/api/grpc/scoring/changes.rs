//! Messages of what changed in a score.

use super::reason::message_of;
use super::{feature_value, proto, version};
use crate::models::ModelVersion;
use crate::models::sentence::{Direction, describe_change};
use crate::scoring::changes::{ChangedFeature, ScoreAt, ScoreChange};

/// The answer to a request for changes.
pub(super) fn message(change: &ScoreChange) -> proto::GetChangesResponse {
    let reasons = change.reasons.iter();
    proto::GetChangesResponse {
        model: Some(version(&change.model)),
        text: change.text.clone(),
        now: Some(score_at(&change.now)),
        before: Some(score_at(&change.before)),
        reasons: reasons
            .filter_map(|feature| changed_feature(&change.model, feature))
            .collect(),
        remainder: change.remainder,
    }
}

fn score_at(at: &ScoreAt) -> proto::ScoreAt {
    proto::ScoreAt {
        score: at.score,
        band: at.band.as_deref().map(str::to_owned),
        as_of: at.as_of,
    }
}

fn changed_feature(model: &ModelVersion, feature: &ChangedFeature) -> Option<proto::ChangedFeature> {
    let input = model.inputs.get(feature.input)?;
    Some(proto::ChangedFeature {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        value: feature_value(&input.present(feature.now)),
        before: feature_value(&input.present(feature.before)),
        contribution: feature.contribution,
        direction: message_of(Direction::of(feature.contribution)).into(),
        text: describe_change(input, feature.now, feature.before),
    })
}
