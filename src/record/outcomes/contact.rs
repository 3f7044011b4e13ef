//! What is known of contacts with customers, for people who decide whom to contact next.

use std::cmp::Reverse;

use super::interface::{CustomerEvent, there_until};
use super::{ActionTaken, CustomerResult, OutcomeRecord};

/// Most outcomes of a customer that are shown.
pub const MOST_SHOWN: usize = 100;

/// The last contact with a customer, and the last result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastContact {
    /// What was done last.
    pub done: Option<Done>,
    /// Whether the customer was there, and when, in microseconds since the Unix epoch.
    pub result: Option<(CustomerResult, i64)>,
}

/// What was done about a customer at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was done.
    pub action: ActionTaken,
    /// Which call or offer.
    pub detail: Option<String>,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
}

impl LastContact {
    /// Takes note of a record of the customer, if it is the latest of its kind.
    pub(super) fn add(&mut self, record: OutcomeRecord) {
        if let Some(action) = record.action.filter(|action| action.is_contact())
            && self.done.as_ref().is_none_or(|done| done.at <= record.at)
        {
            self.done = Some(Done {
                action,
                detail: record.detail,
                at: record.at,
            });
        }
        if let Some(result) = record.result
            && self
                .result
                .is_none_or(|(known, at)| in_order(known, at) <= in_order(result, record.at))
        {
            self.result = Some((result, record.at));
        }
    }

    /// Whether anything is known.
    pub(super) fn is_some(&self) -> bool {
        self.done.is_some() || self.result.is_some()
    }
}

/// The events that [`LastContact`] is made from: the last contact and the last result.
pub(super) fn last(events: &[CustomerEvent]) -> [Option<usize>; 2] {
    let latest = |time: fn(&CustomerEvent) -> Option<i64>| {
        let times = events.iter().enumerate();
        let times = times.filter_map(|(place, event)| Some((time(event)?, place)));
        times.max().map(|(_, place)| place)
    };
    let contact = |event: &CustomerEvent| {
        let contact = event.action.is_some_and(ActionTaken::is_contact);
        contact.then_some(event.at)
    };
    let result = |event: &CustomerEvent| Some(in_order(event.result?, event.at));
    [latest(contact), latest(result)]
}

/// The time by which results are ordered: who left on a day and was there on it was there before.
fn in_order(result: CustomerResult, at: i64) -> i64 {
    match result {
        CustomerResult::Left => there_until(at),
        CustomerResult::Stayed => at,
    }
}

/// Whether a customer was contacted at `since` or later, in microseconds since the Unix epoch, or has left.
pub(super) fn is_handled(events: &[CustomerEvent], since: i64) -> bool {
    let [done, result] = last(events).map(|place| events.get(place?));
    done.is_some_and(|event| event.at >= since)
        || result.is_some_and(|event| event.result == Some(CustomerResult::Left))
}

/// Sorts records, the newest first, and keeps as many as are shown.
pub(super) fn newest(records: &mut Vec<OutcomeRecord>) {
    records.sort_by(|a, b| (Reverse(a.at), &a.model, &a.key).cmp(&(Reverse(b.at), &b.model, &b.key)));
    records.truncate(MOST_SHOWN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::outcomes::DAY;

    fn event(at: i64, action: Option<ActionTaken>, result: Option<CustomerResult>) -> CustomerEvent {
        CustomerEvent { at, action, result }
    }

    #[test]
    fn who_was_contacted_lately_or_has_left_is_handled() {
        let call = event(10, Some(ActionTaken::Call), None);
        let nothing = event(50, Some(ActionTaken::Nothing), None);
        let left = event(5, None, Some(CustomerResult::Left));
        let stayed = event(20, None, Some(CustomerResult::Stayed));
        assert!(is_handled(&[call], 10) && !is_handled(&[call], 11));
        assert!(!is_handled(&[nothing, call], 11) && !is_handled(&[], 0));
        assert!(is_handled(&[left], 99) && !is_handled(&[left, stayed], 99));
    }

    #[test]
    fn a_date_of_leaving_comes_after_all_of_its_day() {
        let left = event(3 * DAY, None, Some(CustomerResult::Left));
        for (at, stayed_last) in [(3 * DAY, false), (4 * DAY - 2, false), (4 * DAY, true)] {
            let stayed = event(at, None, Some(CustomerResult::Stayed));
            for events in [[left, stayed], [stayed, left]] {
                let mut contact = LastContact::default();
                for (number, event) in events.into_iter().enumerate() {
                    contact.add(OutcomeRecord {
                        model: "churn".to_owned(),
                        customer: "a".to_owned(),
                        key: number.to_string(),
                        at: event.at,
                        action: None,
                        detail: None,
                        result: event.result,
                    });
                }
                assert_eq!(is_handled(&events, 5 * DAY), !stayed_last);
                let result = contact.result.map(|(result, _)| result);
                assert_eq!(result == Some(CustomerResult::Stayed), stayed_last);
            }
        }
    }

    #[test]
    fn the_last_of_each_counts() {
        let record = |at: i64, action, result| OutcomeRecord {
            model: "churn".to_owned(),
            customer: "a".to_owned(),
            key: at.to_string(),
            at,
            action,
            detail: Some(format!("at {at}")),
            result,
        };
        let mut contact = LastContact::default();
        assert!(!contact.is_some());
        contact.add(record(20, Some(ActionTaken::Offer), None));
        contact.add(record(
            30,
            Some(ActionTaken::Nothing),
            Some(CustomerResult::Stayed),
        ));
        contact.add(record(10, Some(ActionTaken::Call), Some(CustomerResult::Left)));
        let done = contact.done.clone().unwrap();
        assert_eq!(
            (done.action, done.detail.as_deref()),
            (ActionTaken::Offer, Some("at 20"))
        );
        assert_eq!(contact.result, Some((CustomerResult::Stayed, 30)));
        let mut records: Vec<_> = (0..150).map(|at| record(at, None, None)).collect();
        newest(&mut records);
        assert_eq!((records.len(), records[0].at), (MOST_SHOWN, 149));
    }
}
