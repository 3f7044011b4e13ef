//! Messages of reasons.

use super::{feature_value, proto};
use crate::models::ModelVersion;
use crate::models::sentence::Direction;
use crate::models::usual::{Usual, UsualRange};
use crate::scoring::outcome::{Explanation, Reason, ReasonView};

/// The reasons for a score.
pub(super) fn messages(model: &ModelVersion, score: f64, reasons: &[Reason]) -> Vec<proto::Reason> {
    let reasons = reasons.iter();
    reasons
        .filter_map(|reason| message(model, score, reason))
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

/// The message of a direction.
pub(super) fn message_of(direction: Direction) -> proto::Direction {
    match direction {
        Direction::Raises => proto::Direction::Raises,
        Direction::Lowers => proto::Direction::Lowers,
    }
}

fn message(model: &ModelVersion, score: f64, reason: &Reason) -> Option<proto::Reason> {
    let ReasonView {
        input,
        value,
        group,
        unit,
        usual,
        direction,
        texts,
        parts,
    } = reason.view(model, score)?;
    let parts = parts.into_iter().map(|(input, part)| proto::ReasonPart {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        value: feature_value(&input.present(part.value)),
        contribution: part.contribution,
    });
    Some(proto::Reason {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        value: feature_value(&input.present(value)),
        contribution: reason.contribution,
        text: texts.text,
        phrase: texts.phrase,
        direction: message_of(direction).into(),
        effect: reason.effect,
        group: group.map(str::to_owned),
        unit: unit.map(str::to_owned),
        usual: usual.map(|usual| usual_message(usual, |value| feature_value(&input.present(value)))),
        say: texts.say,
        advice: texts.advice,
        parts: parts.collect(),
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
