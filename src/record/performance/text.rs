//! Performance in sentences.

use super::report::{
    ContactReport, GroupReport, HoldOutReport, ObservedPerformance, ScoreCounts, VersionPerformance,
};
use crate::models::contract::OutcomeSection;
use crate::statistics::{Estimate, number};
use crate::words::thousands;

/// What to say of a model without scores.
pub(super) const NO_SCORES: &str = "No scores are kept yet.";

/// A version in sentences.
pub(super) fn version(outcome: &OutcomeSection, version: &VersionPerformance) -> String {
    let age = outcome.horizon_days + outcome.grace_days;
    let mut sentences = Vec::new();
    match &version.observed {
        Some(observed) => sentences.extend(of_observed(age, &version.counts, observed)),
        None => sentences.push(format!(
            "No score is at least {age} days old with a known result."
        )),
    }
    if let Some(coverage) = version.counts.coverage.filter(|&coverage| coverage < 1.0) {
        sentences.push(format!(
            "The result of {} scores of that age is unknown ({} are known).",
            thousands(version.counts.unknown),
            percent(coverage)
        ));
    }
    if let Some(expected) = &version.expected
        && version.counts.pending > 0
    {
        let auc = expected.auc.map(|auc| {
            format!(
                " and an AUC of {:.2} ({:.2} to {:.2})",
                auc.value, auc.low, auc.high
            )
        });
        sentences.push(format!(
            "{} are too recent to judge. By their own account, all scores together promise that {} of {} leave{}, if the \
             relation between features and churn is unchanged and scores are calibrated.",
            scores(version.counts.pending),
            rounded(expected.left),
            thousands(version.counts.scores - version.counts.already_left),
            auc.unwrap_or_default()
        ));
    }
    sentences.join(" ")
}

fn of_observed(age: u32, counts: &ScoreCounts, observed: &ObservedPerformance) -> Vec<String> {
    let who = match number(counts.known) > counts.customers {
        true => format!(
            "{} of {} customers, each",
            scores(counts.known),
            rounded(counts.customers)
        ),
        false => format!("{} with a score", customers(counts.known)),
    };
    let mut sentences = vec![format!(
        "Of {who} at least {age} days old, {} left ({}).",
        thousands(observed.left),
        with_interval(observed.rate)
    )];
    let expected = observed.expected_left / number(counts.known);
    let verdict = match observed.rate {
        rate if expected > rate.high => ", more than chance explains: scores are too high",
        rate if expected < rate.low => ", fewer than chance explains: scores are too low",
        _ => "",
    };
    sentences.push(format!(
        "The model expected {}{verdict}.",
        rounded(observed.expected_left)
    ));
    if let Some(auc) = observed.auc {
        let hundred = auc.scaled(100.0);
        sentences.push(format!(
            "Of a customer who left and one who stayed, the one who left had the higher score in {:.0} of 100 cases ({:.0} \
             to {:.0}).",
            hundred.value, hundred.low, hundred.high
        ));
    }
    if let Some(lift) = &observed.lift {
        sentences.push(format!(
            "The {} with the highest scores hold {} of those who left, {:.1} times as many as chance ({:.1} to {:.1}).",
            percent(lift.share),
            percent(lift.captured.value),
            lift.lift.value,
            lift.lift.low,
            lift.lift.high
        ));
    }
    sentences
}

/// Contact in sentences.
pub(super) fn contact(report: &ContactReport) -> String {
    let mut sentences = Vec::new();
    if report.contacted.scores == 0 {
        sentences.push("Nobody was contacted.".to_owned());
    } else {
        sentences.push(format!(
            "Of {} contacted {}; of {} others {}.",
            thousands(report.contacted.scores),
            left(&report.contacted),
            thousands(report.not_contacted.scores),
            left(&report.not_contacted)
        ));
        sentences.push(
            "This difference is no effect of contact, as contacted customers were chosen: only a random hold-out makes a \
             difference an effect."
                .to_owned(),
        );
    }
    if report.all.hold_out.scores == 0 {
        sentences.push(
            "No score says that its customer was held out (outcomes.hold_out), so the effect of contact is unknown."
                .to_owned(),
        );
        return sentences.join(" ");
    }
    sentences.extend(effect("all customers", &report.all));
    sentences.extend(effect("the customers at risk", &report.at_risk));
    if report.all.contacted_anyway > 0 {
        sentences.push(format!(
            "{} of the hold-out were contacted anyway, which hides a part of the effect.",
            thousands(report.all.contacted_anyway)
        ));
    }
    sentences.join(" ")
}

fn effect(who: &str, report: &HoldOutReport) -> Option<String> {
    let effect = report.effect?.scaled(100.0);
    let verdict = match effect {
        effect if effect.low > 0.0 => "fewer leave when contact is allowed",
        effect if effect.high < 0.0 => "more leave when contact is allowed",
        _ => "the difference may be chance",
    };
    Some(format!(
        "Hold-out, {who}: of {} held out {}; of {} open to contact {}. Difference: {:.1} points ({:.1} to {:.1}): {verdict}.",
        thousands(report.hold_out.scores),
        left(&report.hold_out),
        thousands(report.others.scores),
        left(&report.others),
        effect.value,
        effect.low,
        effect.high
    ))
}

fn left(group: &GroupReport) -> String {
    let interval = group.rate.map(|rate| format!(" ({})", with_interval(rate)));
    format!("{} left{}", thousands(group.left), interval.unwrap_or_default())
}

fn with_interval(share: Estimate) -> String {
    let share = share.scaled(100.0);
    format!("{:.1} %, {:.1} to {:.1} %", share.value, share.low, share.high)
}

fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

fn scores(number: u64) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { "score" } else { "scores" }
    )
}

fn customers(number: u64) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { "customer" } else { "customers" }
    )
}

fn rounded(number: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count; a cast saturates"
    )]
    let whole = number.round() as u64;
    thousands(whole)
}

#[cfg(test)]
mod tests {
    use crate::models::contract::{Absent, OutcomeSection};
    use crate::record::outcomes::interface::{CustomerEvent, ScoreVisitor as _};
    use crate::record::outcomes::{ActionTaken, CustomerResult, DAY, ScoreRecord};
    use crate::record::performance::{Definition, Evaluation};

    /// 1,204 customers with a score of 0.106 on Monday 2 March 2026, 131 of whom left.
    fn evaluation(now: i64) -> Evaluation {
        let definition = Definition {
            outcome: OutcomeSection {
                horizon_days: 30,
                grace_days: 0,
                absent: Absent::Stayed,
                contact_capacity: 0.1,
            },
            threshold: 0.1,
            band: Some("high".to_owned()),
        };
        let mut evaluation = Evaluation::new(definition, START + now * DAY);
        for id in 0..1204 {
            let score = ScoreRecord {
                model: "churn".to_owned(),
                version: 3,
                customer: format!("C-{id}"),
                at: START,
                score: 0.106,
                hold_out: id % 10 == 0,
            };
            let left = (id < 131).then_some(CustomerResult::Left);
            let event = CustomerEvent {
                at: START + DAY,
                action: Some(ActionTaken::Nothing),
                result: left,
            };
            let call = CustomerEvent {
                at: START,
                action: Some(ActionTaken::Call),
                result: None,
            };
            let events = [event, call];
            evaluation.visit(&score, if id % 7 == 0 { &events } else { &events[..1] });
        }
        evaluation
    }

    const START: i64 = 1_772_409_600_000_000;

    #[test]
    fn the_sentences_have_the_numbers() {
        let report = evaluation(31).report("churn");
        let text = &report.text;
        assert!(
            text.starts_with(
                "Version 3: Of 1,204 customers with a score at least 30 days old, 131 left (10.9 %, 9.2 to 12.8 %). The \
                 model expected 128."
            ),
            "{text}"
        );
        let contact = &report.versions[0].contact.as_ref().unwrap().text;
        assert!(
            contact.contains("only a random hold-out makes a difference an effect"),
            "{contact}"
        );
        assert!(
            contact.contains("Hold-out, all customers: of 121 held out 14 left"),
            "{contact}"
        );
        assert!(contact.contains("contacted anyway"), "{contact}");
        assert_eq!(report.versions[0].weeks[0].week.to_string(), "2026-03-02");
        assert!(report.measures().contains(&(3, "matured", 1204.0)));
    }

    #[test]
    fn what_is_too_recent_is_in_no_denominator() {
        let report = evaluation(29).report("churn");
        let version = &report.versions[0];
        assert_eq!((version.counts.pending, version.counts.matured), (1204, 0));
        assert!(version.observed.is_none() && version.contact.is_none());
        assert!(
            version.text.contains("1,204 scores are too recent to judge")
                && version.text.contains("128 of 1,204 leave"),
            "{}",
            version.text
        );
        let empty = Evaluation::new(evaluation(0).definition.clone(), START).report("churn");
        assert_eq!(empty.text, "No scores are kept yet.");
    }
}
