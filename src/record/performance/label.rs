//! Decides what became of a customer after a score. A score is judged only when its horizon and the grace period are over:
//! leavers are known earlier than those who stay, and counting them earlier would exaggerate churn.

use super::days;
use crate::models::contract::{Absent, OutcomeSection};
use crate::record::outcomes::interface::{CustomerEvent, there_until};
use crate::record::outcomes::{ActionTaken, CustomerResult, DAY};

/// The rules of a contract, with times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct LabelRules {
    horizon: i64,
    grace: i64,
    absent: Absent,
}

impl LabelRules {
    /// The rules of a contract.
    pub fn of(outcome: &OutcomeSection) -> Self {
        Self {
            horizon: days(outcome.horizon_days),
            grace: days(outcome.grace_days),
            absent: outcome.absent,
        }
    }
}

/// What is known of a customer after a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreState {
    /// Horizon and grace period are not over: censored.
    Pending,
    /// The customer had left before the score: there was nothing to predict.
    Gone,
    /// They are over, and nobody knows.
    Unknown,
    /// The customer stayed through the horizon.
    Stayed,
    /// The customer left within the horizon, and did not come back within the grace period.
    Left,
}

/// What is known after a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Whether the customer stayed.
    pub state: ScoreState,
    /// Whether the customer was contacted from the day of the score on, before leaving.
    pub contacted: bool,
}

/// Decides about a score that was given `at`, as of `now`.
pub fn label(rules: LabelRules, at: i64, events: &[CustomerEvent], now: i64) -> Label {
    let end = at + rules.horizon;
    let leaves = || {
        let left = events
            .iter()
            .filter(|event| event.result == Some(CustomerResult::Left));
        left.map(|event| event.at)
            .filter(|&left| !came_back(events, left, rules.grace))
    };
    // A day of leaving that the horizon touches is within it.
    let within = leaves().filter(|&left| left <= end).map(there_until);
    let left_at = within.filter(|&left| left > at).min();
    let contact_end = left_at.unwrap_or(end).min(end);
    let contact_start = at.div_euclid(DAY) * DAY;
    let contacted = events.iter().any(|event| {
        event.action.is_some_and(ActionTaken::is_contact) && (contact_start..=contact_end).contains(&event.at)
    });
    let state = if is_gone(events, at, leaves()) {
        ScoreState::Gone
    } else if now < end + rules.grace {
        ScoreState::Pending
    } else if left_at.is_some() {
        ScoreState::Left
    } else if rules.absent == Absent::Stayed || was_there(events, end) {
        ScoreState::Stayed
    } else {
        ScoreState::Unknown
    };
    Label { state, contacted }
}

/// Whether a customer who left was there again within the grace period.
fn came_back(events: &[CustomerEvent], left: i64, grace: i64) -> bool {
    let stayed = events
        .iter()
        .filter(|event| event.result == Some(CustomerResult::Stayed));
    stayed
        .into_iter()
        .any(|event| event.at > there_until(left) && event.at <= left + grace)
}

/// Whether the customer had left before the score and was not seen since.
fn is_gone(events: &[CustomerEvent], at: i64, leaves: impl Iterator<Item = i64>) -> bool {
    let last_left = leaves.map(there_until).filter(|&left| left <= at).max();
    last_left.is_some_and(|left| {
        let seen = |event: &CustomerEvent| {
            event.result == Some(CustomerResult::Stayed) && event.at > left && event.at <= at
        };
        !events.iter().any(seen)
    })
}

/// Whether the customer was seen at the end of the horizon or later. `stayed` holds for its whole day, as it often has only
/// a date; a customer who leaves later was there until then.
fn was_there(events: &[CustomerEvent], end: i64) -> bool {
    let day = end.div_euclid(DAY) * DAY;
    events.iter().any(|event| match event.result {
        Some(CustomerResult::Stayed) => event.at >= day,
        Some(CustomerResult::Left) => event.at > end,
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::ScoreState::{Gone, Left, Pending, Stayed, Unknown};
    use super::*;

    const START: i64 = 20_000 * DAY + DAY / 2;

    fn at(day: i64, result: CustomerResult) -> CustomerEvent {
        CustomerEvent {
            at: START + day * DAY,
            action: None,
            result: Some(result),
        }
    }

    fn left(day: i64) -> CustomerEvent {
        at(day, CustomerResult::Left)
    }

    fn stayed(day: i64) -> CustomerEvent {
        at(day, CustomerResult::Stayed)
    }

    fn contact(day: i64, action: ActionTaken) -> CustomerEvent {
        CustomerEvent {
            at: START + day * DAY,
            action: Some(action),
            result: None,
        }
    }

    fn rules(absent: Absent) -> LabelRules {
        LabelRules {
            horizon: 30 * DAY,
            grace: 10 * DAY,
            absent,
        }
    }

    fn state(absent: Absent, events: &[CustomerEvent], today: i64) -> ScoreState {
        label(rules(absent), START, events, START + today * DAY).state
    }

    #[test]
    fn nothing_counts_before_horizon_and_grace_are_over() {
        for absent in [Absent::Stayed, Absent::Unknown] {
            for events in [&[][..], &[left(3)], &[stayed(35)]] {
                assert_eq!(state(absent, events, 39), Pending);
                assert_ne!(state(absent, events, 40), Pending);
            }
        }
    }

    #[test]
    fn who_left_within_the_horizon_left_and_later_did_not() {
        for (day, expected) in [(1, Left), (30, Left), (31, Stayed)] {
            assert_eq!(state(Absent::Unknown, &[left(day)], 60), expected, "{day}");
        }
    }

    #[test]
    fn absence_means_what_the_contract_says() {
        assert_eq!(state(Absent::Stayed, &[], 60), Stayed);
        assert_eq!(state(Absent::Unknown, &[], 60), Unknown);
        assert_eq!(
            state(Absent::Unknown, &[stayed(20)], 60),
            Unknown,
            "the horizon goes on after day 20"
        );
        assert_eq!(state(Absent::Unknown, &[stayed(30)], 60), Stayed);
        let midnight = CustomerEvent {
            at: stayed(30).at - DAY / 2,
            ..stayed(30)
        };
        assert_eq!(
            state(Absent::Unknown, &[midnight], 60),
            Stayed,
            "a date holds for its day"
        );
    }

    #[test]
    fn who_comes_back_within_the_grace_period_has_not_left() {
        assert_eq!(state(Absent::Stayed, &[left(5), stayed(15)], 60), Stayed);
        assert_eq!(state(Absent::Unknown, &[left(5), stayed(15)], 60), Unknown);
        assert_eq!(
            state(Absent::Unknown, &[left(5), stayed(15), stayed(32)], 60),
            Stayed
        );
        assert_eq!(
            state(Absent::Stayed, &[left(5), stayed(16)], 60),
            Left,
            "too late"
        );
        assert_eq!(
            state(Absent::Stayed, &[left(29), stayed(39)], 60),
            Stayed,
            "after the horizon"
        );
        assert_eq!(
            state(Absent::Stayed, &[left(5), stayed(8), left(20)], 60),
            Left,
            "left again"
        );
    }

    #[test]
    fn who_had_left_before_is_no_case() {
        assert_eq!(state(Absent::Stayed, &[left(-20)], 60), Gone);
        assert_eq!(state(Absent::Stayed, &[left(-20)], 0), Gone, "known at once");
        assert_eq!(
            state(Absent::Stayed, &[left(-20), stayed(-2)], 60),
            Stayed,
            "came back"
        );
        assert_eq!(
            state(Absent::Stayed, &[left(-2), stayed(3)], 60),
            Stayed,
            "back within the grace period"
        );
    }

    /// A `left` with the date of a day after that of the score: midnight.
    fn left_on(day: i64) -> CustomerEvent {
        CustomerEvent {
            at: START - DAY / 2 + day * DAY,
            ..left(day)
        }
    }

    #[test]
    fn a_date_of_leaving_means_some_time_of_that_day() {
        for (day, expected) in [(-1, Gone), (0, Left), (1, Left), (30, Left), (31, Stayed)] {
            assert_eq!(state(Absent::Unknown, &[left_on(day)], 60), expected, "{day}");
        }
        let back = [left_on(5), stayed(5)];
        assert_eq!(state(Absent::Stayed, &back, 60), Left, "there, then left");
        let back = [left_on(5), stayed(6)];
        assert_eq!(state(Absent::Stayed, &back, 60), Stayed, "came back");
        let morning = CustomerEvent {
            at: left(0).at - 1,
            ..left(0)
        };
        assert_eq!(
            state(Absent::Stayed, &[morning], 60),
            Gone,
            "a time counts to the microsecond"
        );
    }

    #[test]
    fn a_contact_on_the_date_of_leaving_counts() {
        let contacted = |left: CustomerEvent, day| {
            let events = [left, contact(day, ActionTaken::Call)];
            label(rules(Absent::Stayed), START, &events, START).contacted
        };
        assert!(contacted(left_on(4), 4) && contacted(left_on(0), 0));
        assert!(!contacted(left_on(4), 5), "the day after");
        let morning = CustomerEvent {
            at: left(4).at - DAY / 4,
            ..left(4)
        };
        assert!(!contacted(morning, 4), "hours after a time of leaving");
    }

    #[test]
    fn contact_counts_from_the_day_of_the_score_until_the_customer_left() {
        let contacted =
            |events: &[CustomerEvent]| label(rules(Absent::Stayed), START, events, START).contacted;
        assert!(contacted(&[contact(5, ActionTaken::Call)]));
        assert!(contacted(&[contact(30, ActionTaken::Offer)]));
        let morning = contact(0, ActionTaken::Call);
        assert!(contacted(&[CustomerEvent {
            at: morning.at - DAY / 4,
            ..morning
        }]));
        assert!(!contacted(&[contact(5, ActionTaken::Nothing)]));
        assert!(
            !contacted(&[contact(31, ActionTaken::Call)]) && !contacted(&[contact(-1, ActionTaken::Call)])
        );
        assert!(!contacted(&[left(4), contact(5, ActionTaken::Call)]), "too late");
    }
}
