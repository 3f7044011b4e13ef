//! Reasons as sentences: "7 support calls in 30 days, usually 0 to 2. This raises the score: 64 in 100 instead of 46."
//!
//! The phrase for the value comes from the contract ([`Wording`](super::contract::Wording)); what is usual and the effect are
//! added here.

use super::ModelVersion;
use super::contract::{ByDirection, ScoreKind, Template, safe};
use super::input::ModelInput;
use super::usual::{Usual, UsualRange};
use crate::values::feature_type::FeatureType;
use crate::values::time::instant;

/// What a feature does to a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It raises the score.
    Raises,
    /// It lowers the score.
    Lowers,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Raises, Self::Lowers];

    /// The direction of a contribution.
    pub fn of(contribution: f64) -> Self {
        if contribution < 0.0 {
            Self::Lowers
        } else {
            Self::Raises
        }
    }

    /// The name in answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Raises => "raises",
            Self::Lowers => "lowers",
        }
    }

    fn template(self, texts: &ByDirection) -> Option<&Template> {
        match self {
            Self::Raises => texts.raises.as_ref(),
            Self::Lowers => texts.lowers.as_ref(),
        }
    }
}

/// A feature of one score, and what it does to it.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    /// Position among the model's inputs.
    pub input: usize,
    /// The value that the model saw; NaN for missing.
    pub value: f64,
    /// What the reason adds to the margin.
    pub contribution: f64,
    /// The score less what it would be with the usual value; `None` if that is not known.
    pub effect: Option<f64>,
    /// The score.
    pub score: f64,
    /// Whether other features of its group share in the contribution and the effect.
    pub grouped: bool,
}

/// A reason as people read it. All texts are safe in HTML and in tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonTexts {
    /// The value in words, without what is usual and without an end: "7 support calls in 30 days".
    pub phrase: String,
    /// One or two sentences.
    pub text: String,
    /// Words for the customer.
    pub say: Option<String>,
    /// What the caller should know, and may not mention.
    pub advice: Option<String>,
}

/// Describes a reason; `None` if the model has no such input.
pub fn describe(model: &ModelVersion, push: &Push) -> Option<ReasonTexts> {
    let input = model.inputs.get(push.input)?;
    let usual = model.usual.get(push.input).and_then(Option::as_ref);
    let direction = Direction::of(push.contribution);
    let wording = &input.contract.reason;
    // A template for numbers below 0 has the sign in its words. The usual range has its sign, so it does not fit there.
    let is_negative = push.value < 0.0 && wording.negative.is_some();
    let number = value_text(input, if is_negative { -push.value } else { push.value });
    let fill = |texts: &ByDirection| {
        let template = direction
            .template(texts)
            .filter(|_| wording.is_right_for(push.value))?;
        Some(template.fill(input.contract.label(), &number))
    };
    let usual = usual
        .filter(|_| !is_negative)
        .map(|usual| usual_clause(input, usual, push.value))
        .unwrap_or_default();
    let phrase = phrase(input, push.value, &number);
    let text = format!("{phrase}{usual}. {}", effect(model, input, push, direction));
    Some(ReasonTexts {
        phrase: safe(&phrase),
        text: safe(&text),
        say: fill(&wording.say).filter(|_| !push.value.is_nan()),
        advice: fill(&wording.advice),
    })
}

/// Describes how a value changed: "Visits, last 30 days: 3, before 14", safe in HTML and in tables.
pub fn describe_change(input: &ModelInput, now: f64, before: f64) -> String {
    let label = input.contract.label();
    if now == before || (now.is_nan() && before.is_nan()) {
        return safe(&format!("{label}: {}, as before", value_text(input, now)));
    }
    let mut texts = [now, before].map(|value| value_text(input, value));
    if texts[0] == texts[1] {
        texts = [now, before].map(|value| input.decimal(value));
    }
    let [now, before] = texts;
    safe(&format!("{label}: {now}, before {before}"))
}

/// Compares two scores of a model: "64 in 100, 12 more than before".
pub fn compare_scores(model: &ModelVersion, now: f64, before: f64) -> String {
    let output = model.contract.as_ref().map(|contract| &contract.output);
    if output.is_none_or(|output| output.kind != ScoreKind::Probability) {
        return format!("{}, before {}", decimal(now), decimal(before));
    }
    let texts = [now, before].map(in_100);
    let points = (100.0 * now).round() - (100.0 * before).round();
    let change = match points {
        _ if texts[0] == texts[1] => "as before".to_owned(),
        points if points >= 0.0 => format!("{points} more than before"),
        points => format!("{} fewer than before", -points),
    };
    format!("{} in 100, {change}", texts[0])
}

/// Describes a value that could be another: "Monthly price: 79 instead of 99", safe in HTML and in tables.
pub fn describe_proposal(input: &ModelInput, from: f64, to: f64) -> String {
    let mut texts = [to, from].map(|value| value_text(input, value));
    if texts[0] == texts[1] {
        texts = [to, from].map(|value| input.decimal(value));
    }
    let [to, from] = texts;
    safe(&format!("{}: {to} instead of {from}", input.contract.label()))
}

/// A score as people read it: "64 in 100" for a probability, else the number.
pub fn score_text(model: &ModelVersion, score: f64) -> String {
    let output = model.contract.as_ref().map(|contract| &contract.output);
    match output {
        Some(output) if output.kind == ScoreKind::Probability => format!("{} in 100", in_100(score)),
        _ => decimal(score),
    }
}

fn value_text(input: &ModelInput, value: f64) -> String {
    if value.is_nan() {
        "not known".to_owned()
    } else {
        number_text(input, value)
    }
}

/// The phrase for a value, without an end: the contract's, or "LABEL: VALUE". `shown` is the value as a text.
fn phrase(input: &ModelInput, value: f64, shown: &str) -> String {
    let (wording, label) = (&input.contract.reason, input.contract.label());
    let kind = input.contract.kind;
    // A text about something that is so does not fit where it is not.
    let text = wording
        .text
        .as_ref()
        .filter(|_| kind != FeatureType::Bool || value != 0.0);
    let special = match value {
        value if value.is_nan() => return fill_or_list(wording.missing.as_ref(), label, shown),
        _ if kind == FeatureType::Category => &None,
        0.0 => &wording.none,
        1.0 => &wording.one,
        ..0.0 => &wording.negative,
        _ => &None,
    };
    fill_or_list(special.as_ref().or(text), label, shown)
}

fn fill_or_list(template: Option<&Template>, label: &str, shown: &str) -> String {
    match template {
        Some(template) => template.fill(label, shown),
        None => format!("{label}: {shown}"),
    }
}

/// A value as people write it: a category's name, yes or no, a date, or a short number with its
/// unit.
pub(crate) fn number_text(input: &ModelInput, value: f64) -> String {
    let unit = || match &input.contract.reason.unit {
        Some(unit) => format!(" {}", unit.source()),
        None => String::new(),
    };
    match input.contract.kind {
        FeatureType::Category => match input.present(value) {
            serde_json::Value::String(name) => name,
            _ => "another one".to_owned(),
        },
        FeatureType::Bool => if value == 0.0 { "no" } else { "yes" }.to_owned(),
        FeatureType::Timestamp => match instant(value) {
            Some(time) => time.strftime("%-d %B %Y").to_string(),
            None => "another time".to_owned(),
        },
        FeatureType::Int | FeatureType::Float => decimal(value) + &unit(),
    }
}

/// A short number: whole from 10 on, with one decimal from 1 on, else with two significant digits; and a true minus sign, as
/// a spreadsheet takes a hyphen for a formula.
pub(crate) fn decimal(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "−" } else { "" };
    if size < 1e15 && size.fract() == 0.0 {
        // Most values. To round decimals that are exact is slow.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 0 to 10^15"
        )]
        let whole = size as u64;
        return format!("{sign}{whole}");
    }
    let text = match size {
        ..1e-4 | 1e15.. => format!("{size:.1e}"),
        ..1.0 => format!("{size:.*}", leading_zeros(size) + 2),
        ..10.0 => format!("{size:.1}"),
        _ => format!("{size:.0}"),
    };
    let text = match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text.as_str(),
    };
    format!("{sign}{text}")
}

/// The zeros after the point of a number from 0.0001 to 1.
fn leading_zeros(size: f64) -> usize {
    [0.1, 0.01, 0.001]
        .into_iter()
        .filter(|limit| size < *limit)
        .count()
}

/// What is usual, as the end of a phrase.
fn usual_clause(input: &ModelInput, usual: &Usual, value: f64) -> String {
    match (value.is_nan(), usual.is_mostly_missing()) {
        (true, true) => return format!(", as for {} in 100", in_100(usual.missing)),
        // What is known of others does not fit a phrase for what is not known here, and the range of the few that have a
        // value is not what is usual.
        (true, false) | (false, true) => return String::new(),
        (false, false) => {}
    }
    match usual.range {
        UsualRange::Share(share) if input.contract.kind == FeatureType::Bool => {
            let of_this = if value == usual.value { share } else { 1.0 - share };
            format!(", as for {} in 100", in_100(of_this))
        }
        UsualRange::Share(share) if value == usual.value => format!(", as for {} in 100", in_100(share)),
        UsualRange::Share(share) => {
            format!(
                ", usually {} ({} in 100)",
                number_text(input, usual.value),
                in_100(share)
            )
        }
        UsualRange::Between { low, high } => {
            let range = range_text(input, low, high);
            if low < high && low <= value && value <= high {
                format!(", within the usual {range}")
            } else {
                format!(", usually {range}")
            }
        }
    }
}

/// A range as people write it: "0 to 2", or one number.
pub(crate) fn range_text(input: &ModelInput, low: f64, high: f64) -> String {
    let (low, high) = match input.contract.kind {
        FeatureType::Timestamp => (number_text(input, low), number_text(input, high)),
        _ => (decimal(low), number_text(input, high)),
    };
    if high
        .strip_prefix(low.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    {
        high
    } else {
        format!("{low} to {high}")
    }
}

/// What a reason does to the score, as a sentence. The contribution and the effect can differ in sign: the one shares out
/// what features do together, the other changes one of them alone.
fn effect(model: &ModelVersion, input: &ModelInput, push: &Push, direction: Direction) -> String {
    let output = model.contract.as_ref().map(|contract| &contract.output);
    if output.is_some_and(|output| output.kind == ScoreKind::Class) {
        let side = match direction {
            Direction::Raises => "for",
            Direction::Lowers => "against",
        };
        return format!("This speaks {side} class {}.", decimal(push.score));
    }
    let outcome = output.and_then(|output| output.outcome.as_ref());
    let outcome = outcome.map_or("the score", Template::source);
    let group = input.contract.reason.group.as_ref().filter(|_| push.grouped);
    let group = group.map(|group| format!("“{}”", group.source()));
    let subject = group.as_deref().unwrap_or("This");
    let verb = direction.label();
    let probability = output.is_some_and(|output| output.kind == ScoreKind::Probability);
    let Some(effect) = push.effect.filter(|_| probability) else {
        return format!("{subject} {verb} {outcome}.");
    };
    let (now, usual) = (in_100(push.score), in_100(push.score - effect));
    if now == usual {
        return format!("{subject} {verb} {outcome}.");
    }
    match (group, Direction::of(effect) == direction) {
        (None, true) => format!("This {verb} {outcome}: {now} in 100 instead of {usual}."),
        (Some(group), true) => {
            format!("With usual values of {group}, {outcome} would be {usual} in 100 instead of {now}.")
        }
        (group, false) => {
            let subject = group.as_deref().unwrap_or("this");
            format!("Together with the other values, {subject} {verb} {outcome}.")
        }
    }
}

/// A share as a whole number of 100. Nothing but 0 and 1 themselves is 0 or 100.
fn in_100(share: f64) -> String {
    match share {
        share if share > 0.0 && share < 0.01 => "less than 1".to_owned(),
        share if share < 1.0 && share > 0.99 => "more than 99".to_owned(),
        share => format!("{:.0}", 100.0 * share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    fn text(model: &ModelVersion, name: &str, value: f64, contribution: f64, effect: Option<f64>) -> String {
        let push = Push {
            input: model.input(name).unwrap(),
            value,
            contribution,
            effect,
            score: 0.64,
            grouped: false,
        };
        describe(model, &push).unwrap().text
    }

    #[test]
    fn numbers_are_short_and_no_formulas() {
        for (value, expected) in [
            (0.0, "0"),
            (-3.0, "−3"),
            (0.8512, "0.85"),
            (2.7134, "2.7"),
            (12.345, "12"),
            (628.4, "628"),
            (-0.0012, "−0.0012"),
            (0.5, "0.5"),
            (1e300, "1.0e300"),
            (10.0, "10"),
            (-0.0, "0"),
            (9.0, "9"),
            (9.96, "10"),
            (-999_999_999_999_999.0, "−999999999999999"),
            (1e15, "1.0e15"),
        ] {
            assert_eq!(decimal(value), expected);
        }
        assert_eq!(
            [0.0, 0.004, 0.3, 0.996, 1.0].map(in_100),
            ["0", "less than 1", "30", "more than 99", "100"]
        );
    }

    #[test]
    fn a_sentence_has_the_value_what_is_usual_and_the_effect() {
        let model = sample::version(1);
        assert_eq!(
            text(&model, "support_calls_30d", 7.0, 0.9, Some(0.18)),
            "7 support calls in 30 days, usually 0 to 1. This raises the risk of leaving: 64 in 100 instead of 46."
        );
        assert_eq!(
            text(&model, "auto_pay", 0.0, 0.2, Some(-0.1)),
            "Pays each invoice by hand, as for 38 in 100. Together with the other values, this raises the risk of leaving."
        );
        // Most customers have none, so there is nothing usual to compare with.
        let renewal = text(&model, "months_to_renewal", 1.0, 0.9, Some(0.3));
        assert!(
            renewal.starts_with("Yearly contract ends next month. This raises"),
            "{renewal}"
        );
        let missing = text(&model, "months_to_renewal", f64::NAN, -0.2, Some(0.0));
        assert!(
            missing.starts_with("Not tied to a renewal date, as for 64 in 100. This lowers"),
            "{missing}"
        );
        let fewer = text(&model, "mattresses_change_90d", -5.0, 0.2, None);
        assert!(
            fewer.starts_with("Mattresses rented: 5 fewer than 90 days ago. This "),
            "{fewer}"
        );
        assert!(fewer.ends_with("This raises the risk of leaving."), "{fewer}");
    }

    #[test]
    fn a_sentence_about_a_group_says_what_its_usual_values_would_do() {
        let model = sample::version(1);
        let push = |effect| Push {
            input: model.input("visits_30d").unwrap(),
            value: 3.0,
            contribution: 0.9,
            effect: Some(effect),
            score: 0.64,
            grouped: true,
        };
        let texts = [0.18, -0.1, 0.0].map(|effect| describe(&model, &push(effect)).unwrap().text);
        assert_eq!(
            texts,
            [
                "With usual values of “Visits”, the risk of leaving would be 46 in 100 instead of 64.",
                "Together with the other values, “Visits” raises the risk of leaving.",
                "“Visits” raises the risk of leaving.",
            ]
            .map(|effect| format!("3 visits in 30 days, usually 4 to 10. {effect}"))
        );
    }

    #[test]
    fn words_for_the_customer_depend_on_the_direction() {
        let model = sample::version(1);
        let push = |contribution| Push {
            input: model.input("support_calls_30d").unwrap(),
            value: 7.0,
            contribution,
            effect: None,
            score: 0.5,
            grouped: false,
        };
        let raising = describe(&model, &push(1.0)).unwrap();
        let lowering = describe(&model, &push(-1.0)).unwrap();
        assert!(raising.say.is_some() && lowering.say.is_none());
    }
}
