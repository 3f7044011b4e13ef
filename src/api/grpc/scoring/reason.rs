//! Messages of reasons.

use super::{feature_value, proto};
use crate::models::ModelVersion;
use crate::models::sentence::{Direction, Push, describe};
use crate::models::usual::{Usual, UsualRange};
use crate::scoring::outcome::{Explanation, Part, Reason, Score};

/// The reasons for a score.
pub(super) fn messages(model: &ModelVersion, scored: &Score) -> Vec<proto::Reason> {
    let reasons = scored.reasons.iter();
    reasons
        .filter_map(|reason| message(model, scored.score, reason))
        .collect()
}

/// How contributions add up.
pub(super) fn explanation(explanation: &Explanation) -> proto::Explanation {
    proto::Explanation {
        base: explanation.base,
        base_score: explanation.base_score,
        remainder: explanation.remainder,
    }
}

/// The direction of a contribution.
pub(super) fn direction(contribution: f64) -> proto::Direction {
    match Direction::of(contribution) {
        Direction::Raises => proto::Direction::Raises,
        Direction::Lowers => proto::Direction::Lowers,
    }
}

fn message(model: &ModelVersion, score: f64, reason: &Reason) -> Option<proto::Reason> {
    let first = reason.parts.first()?;
    let input = model.inputs.get(first.input)?;
    let push = Push {
        input: first.input,
        value: first.value,
        contribution: reason.contribution,
        effect: reason.effect,
        score,
        grouped: reason.grouped,
    };
    let texts = describe(model, &push)?;
    let usual = model.usual.get(first.input).and_then(Option::as_ref);
    let wording = &input.contract.reason;
    let parts = match reason.parts.as_slice() {
        [_] => Vec::new(),
        parts => parts
            .iter()
            .filter_map(|part| part_message(model, part))
            .collect(),
    };
    Some(proto::Reason {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        value: feature_value(&input.present(first.value)),
        contribution: reason.contribution,
        text: texts.text,
        direction: direction(reason.contribution).into(),
        effect: reason.effect,
        group: wording.group.as_ref().map(|group| group.source().to_owned()),
        unit: wording.unit.as_ref().map(|unit| unit.source().to_owned()),
        usual: usual.map(|usual| usual_message(usual, |value| feature_value(&input.present(value)))),
        say: texts.say,
        advice: texts.advice,
        parts,
    })
}

fn part_message(model: &ModelVersion, part: &Part) -> Option<proto::ReasonPart> {
    let input = model.inputs.get(part.input)?;
    Some(proto::ReasonPart {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        value: feature_value(&input.present(part.value)),
        contribution: part.contribution,
    })
}

fn usual_message(usual: &Usual, present: impl Fn(f64) -> Option<proto::FeatureValue>) -> proto::Usual {
    let (low, high, share) = match usual.range {
        UsualRange::Between { low, high } => (present(low), present(high), None),
        UsualRange::Share(share) => (None, None, Some(share)),
    };
    proto::Usual {
        low,
        high,
        value: present(usual.typical()),
        share,
        missing: usual.missing,
    }
}
