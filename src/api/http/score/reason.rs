//! JSON bodies of reasons.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::schema::{FeatureValue, labels};
use crate::models::ModelVersion;
use crate::models::sentence::Direction;
use crate::models::usual::{Usual, UsualRange};
use crate::scoring::outcome::{Explanation, Reason, ReasonView};

labels! {
    /// What a reason does to the score.
    DirectionName = Direction::ALL.map(Direction::label)
}

/// A reason for a score: a feature, or a group of features.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct ReasonBody<'a> {
    /// The feature's name; of a group, its strongest feature.
    #[schema(example = "support_calls_30d")]
    feature: &'a str,
    /// The feature's name for people.
    #[schema(example = "Support calls, last 30 days")]
    label: &'a str,
    /// The group of the feature in the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Support")]
    group: Option<&'a str>,
    /// The value that the model used: a number, a category, true, false, or null if missing.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// The unit of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "EUR")]
    unit: Option<&'a str>,
    /// What was usual at training.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    usual: Option<UsualBody>,
    /// What the feature adds to the margin; a negative number lowers the score. Of a group, the sum.
    #[schema(example = 0.92)]
    contribution: f64,
    /// `raises` or `lowers`.
    #[schema(value_type = DirectionName, example = "raises")]
    direction: &'static str,
    /// The score less what it would be if this feature, or this group, had its usual value and all others their own.
    /// Effects do not add up, and can differ in sign from the contribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.18)]
    effect: Option<f64>,
    /// The value in words, the beginning of `text`.
    #[schema(example = "7 support calls in 30 days")]
    phrase: String,
    /// The reason as a sentence, safe in HTML and in tables.
    #[schema(
        example = "7 support calls in 30 days, usually 0 to 2. This raises the risk of leaving: 64 in 100 instead of 46."
    )]
    text: String,
    /// Words for the customer, from the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "I read about your call. Is it solved?")]
    say: Option<String>,
    /// What the caller should know, and may not mention.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Read the tickets first.")]
    advice: Option<String>,
    /// The features of a group, if more than one contributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    parts: Vec<PartBody<'a>>,
}

/// What was usual at training: the middle half of the numbers, or the most common category, true or false.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct UsualBody {
    /// A quarter of the values are below.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = FeatureValue, required = false)]
    low: Option<serde_json::Value>,
    /// A quarter of the values are above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = FeatureValue, required = false)]
    high: Option<serde_json::Value>,
    /// The value that the effect is measured against: the median, or the most common value; null if most have none.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// The share of the most common value, without a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    share: Option<f64>,
    /// The share of rows without a value.
    #[schema(example = 0.0)]
    missing: f64,
}

/// The contribution of one feature of a group.
#[derive(Debug, Serialize, ToSchema)]
struct PartBody<'a> {
    /// The feature's name.
    feature: &'a str,
    /// The feature's name for people.
    label: &'a str,
    /// The value that the model used.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// What the feature adds to the margin.
    contribution: f64,
}

/// How the contributions add up: `base`, all `contribution`s and `remainder` together are the margin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplanationBody {
    /// The mean margin over the training weights of the model file.
    #[schema(example = -1.7)]
    base: f64,
    /// The score of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.15)]
    base_score: Option<f64>,
    /// The contributions that are not in `reasons`.
    #[schema(example = 0.04)]
    remainder: f64,
}

impl From<&Explanation> for ExplanationBody {
    fn from(explanation: &Explanation) -> Self {
        let Explanation {
            base,
            base_score,
            remainder,
        } = *explanation;
        Self {
            base,
            base_score,
            remainder,
        }
    }
}

/// The reasons for a score.
pub(in crate::api::http) fn bodies<'a>(
    model: &'a ModelVersion,
    score: f64,
    reasons: &[Reason],
) -> Vec<ReasonBody<'a>> {
    let reasons = reasons.iter();
    reasons.filter_map(|reason| body(model, score, reason)).collect()
}

fn body<'a>(model: &'a ModelVersion, score: f64, reason: &Reason) -> Option<ReasonBody<'a>> {
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
    let parts = parts.into_iter().map(|(input, part)| PartBody {
        feature: &input.contract.name,
        label: input.contract.label(),
        value: input.present(part.value),
        contribution: part.contribution,
    });
    Some(ReasonBody {
        feature: &input.contract.name,
        label: input.contract.label(),
        group,
        value: input.present(value),
        unit,
        usual: usual.map(|usual| usual_body(usual, |value| input.present(value))),
        contribution: reason.contribution,
        direction: direction.label(),
        effect: reason.effect,
        phrase: texts.phrase,
        text: texts.text,
        say: texts.say,
        advice: texts.advice,
        parts: parts.collect(),
    })
}

/// What is usual; `present` writes a value as JSON.
pub(in crate::api::http) fn usual_body(
    usual: &Usual,
    present: impl Fn(f64) -> serde_json::Value,
) -> UsualBody {
    let (low, high, share) = match usual.range {
        UsualRange::Between { low, high } => (Some(present(low)), Some(present(high)), None),
        UsualRange::Share(share) => (None, None, Some(share)),
    };
    UsualBody {
        low,
        high,
        value: present(usual.typical()),
        share,
        missing: usual.missing,
    }
}
