//! Outcomes: what was done about a customer, and whether the customer stayed. They are kept beside the scores that count for
//! evaluation, in a folder or in PostgreSQL.

mod contact;
mod files;
pub mod interface;
mod journal;
pub mod metrics;
#[cfg(feature = "postgres")]
mod postgres;
pub mod probe;
pub mod recorder;
pub mod store;

pub use contact::{Done, LastContact, MOST_SHOWN};

use crate::error::Error;
use crate::suggest::unknown;
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::feature_type::FeatureType;

/// Microseconds of a second and of a day.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 86_400 * SECOND;

/// Longest ids and texts, in bytes.
const CUSTOMER_BYTES: usize = 256;
const ID_BYTES: usize = 128;
const DETAIL_BYTES: usize = 128;

/// What the keys of records with an id of their own begin with.
const OWN_ID: &str = "id:";

/// How far the clock of a client may be ahead.
const AHEAD: i64 = DAY;

/// What was done about a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionTaken {
    /// Sales called.
    Call,
    /// The customer got an offer.
    Offer,
    /// Nothing was done, on purpose.
    Nothing,
}

impl ActionTaken {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Call, Self::Offer, Self::Nothing];

    /// The name in requests and files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Offer => "offer",
            Self::Nothing => "none",
        }
    }

    /// Whether the customer was contacted.
    pub fn is_contact(self) -> bool {
        self != Self::Nothing
    }
}

/// Whether a customer was there at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomerResult {
    /// The customer was there.
    Stayed,
    /// The customer left.
    Left,
}

impl CustomerResult {
    /// Every result.
    pub const ALL: [Self; 2] = [Self::Stayed, Self::Left];

    /// The name in requests and files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stayed => "stayed",
            Self::Left => "left",
        }
    }
}

/// What happened to a customer at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// The model.
    pub model: String,
    /// The customer, in the one spelling of an id.
    pub customer: String,
    /// What makes it one record: the client's id, or time, action and result. A record with a known key replaces the
    /// earlier one.
    pub key: String,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// What was done.
    pub action: Option<ActionTaken>,
    /// Which call or offer.
    pub detail: Option<String>,
    /// Whether the customer was there.
    pub result: Option<CustomerResult>,
}

impl OutcomeRecord {
    /// The id that its client gave it.
    pub fn own_id(&self) -> Option<&str> {
        self.key.strip_prefix(OWN_ID)
    }
}

/// An outcome as a client or a file gives it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of OutcomeRecord of that name")]
pub struct OutcomeDraft<'a> {
    pub id: Option<&'a str>,
    pub customer: Option<EntityId>,
    pub model: String,
    pub action: Option<&'a str>,
    pub detail: Option<&'a str>,
    pub result: Option<&'a str>,
    pub time: Option<Cell<'a>>,
}

/// The times that an outcome may have, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    earliest: i64,
    latest: i64,
}

impl TimeLimits {
    /// From what is kept to a day ahead of `now`, as clocks differ.
    pub fn new(now: i64, keep_days: u32) -> Self {
        Self {
            earliest: now - i64::from(keep_days) * DAY,
            latest: now + AHEAD,
        }
    }
}

impl OutcomeDraft<'_> {
    /// Checks the fields.
    ///
    /// # Errors
    /// A field is missing, too long or not valid; the error is about that field, and its message does not name it.
    pub fn check(self, limits: TimeLimits) -> Result<OutcomeRecord, Error> {
        let customer = self.customer.as_ref().map(|id| id.canonical().to_string());
        let customer = customer.filter(|id| !id.is_empty()).ok_or_else(|| {
            Error::invalid("expected an id such as \"C-1042\", found nothing").about("customer")
        })?;
        bounded("customer", &customer, CUSTOMER_BYTES)?;
        let action = self.action.map(action).transpose()?;
        let result = self.result.map(result).transpose()?;
        if action.is_none() && result.is_none() {
            let message =
                "expected `action` (call, offer, none), `result` (stayed, left) or both, found neither";
            return Err(Error::invalid(message).about("result"));
        }
        let detail = self.detail.filter(|detail| !detail.is_empty());
        if let Some(detail) = detail {
            bounded("detail", detail, DETAIL_BYTES)?;
        }
        let at = time(self.time, limits)?;
        let key = match self.id.filter(|id| !id.is_empty()) {
            Some(id) => {
                bounded("id", id, ID_BYTES)?;
                format!("{OWN_ID}{id}")
            }
            None => natural_key(at, action, result),
        };
        Ok(OutcomeRecord {
            model: self.model,
            customer,
            key,
            at,
            action,
            detail: detail.map(str::to_owned),
            result,
        })
    }
}

/// The key of a record without an id: what it says, and of when.
fn natural_key(at: i64, action: Option<ActionTaken>, result: Option<CustomerResult>) -> String {
    let action = action.map_or("", ActionTaken::label);
    let result = result.map_or("", CustomerResult::label);
    format!("at:{at}:{action}:{result}")
}

fn bounded(field: &'static str, text: &str, most: usize) -> Result<(), Error> {
    let found = text.len();
    if found > most {
        let message = format!("expected at most {most} bytes, found {found}");
        return Err(Error::invalid(message).about(field));
    }
    // A zero byte is no text for PostgreSQL; other control characters help nobody either.
    if text.chars().any(char::is_control) {
        let message = "expected a text without control characters, found one";
        return Err(Error::invalid(message).about(field));
    }
    Ok(())
}

/// Whether a text can be the id of a customer in an outcome. Scores of others can never be compared with one.
fn is_customer(text: &str) -> bool {
    !text.is_empty() && bounded("customer", text, CUSTOMER_BYTES).is_ok()
}

fn action(text: &str) -> Result<ActionTaken, Error> {
    named(
        "action",
        text,
        ActionTaken::ALL.map(|action| (action.label(), action)),
    )
}

fn result(text: &str) -> Result<CustomerResult, Error> {
    named(
        "result",
        text,
        CustomerResult::ALL.map(|result| (result.label(), result)),
    )
}

fn named<T: Copy, const N: usize>(
    field: &'static str,
    text: &str,
    known: [(&str, T); N],
) -> Result<T, Error> {
    let found = known.iter().find(|(label, _)| *label == text);
    let names = known.iter().map(|(label, _)| *label);
    let found = found.map(|(_, value)| *value);
    found.ok_or_else(|| Error::invalid(unknown(field, text, names)).about(field))
}

fn time(cell: Option<Cell<'_>>, limits: TimeLimits) -> Result<i64, Error> {
    const EXAMPLE: &str = "such as \"2026-03-01T09:30:00Z\"";
    let wrong = |message: String| Error::invalid(message).about("time");
    let seconds = cell
        .unwrap_or(Cell::Null)
        .number(FeatureType::Timestamp)
        .map_err(wrong)?;
    let seconds = seconds.ok_or_else(|| wrong(format!("expected a time {EXAMPLE}, found nothing")))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and the limits refuse the rest"
    )]
    let at = (seconds * 1e6).round() as i64;
    let TimeLimits { earliest, latest } = limits;
    let text =
        |at: i64| jiff::Timestamp::from_microsecond(at).map_or_else(|_| at.to_string(), |at| at.to_string());
    if at < earliest {
        let (found, first) = (text(at), text(earliest));
        return Err(wrong(format!(
            "expected a time from {first} on, as older outcomes are deleted (outcomes.keep_days), found {found}"
        )));
    }
    if at > latest {
        return Err(wrong(format!("expected a time in the past, found {}", text(at))));
    }
    Ok(at)
}

/// A score that counts for evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRecord {
    /// The model.
    pub model: String,
    /// The version that gave it.
    pub version: u64,
    /// The customer, in the one spelling of an id.
    pub customer: String,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// The score, a probability.
    pub score: f64,
    /// Whether nobody is to contact the customer.
    pub hold_out: bool,
}

/// The number of the period of `days` that a time is in. With seven days, periods are weeks from Monday.
pub fn period(at: i64, days: u32) -> i64 {
    // 1 January 1970 was a Thursday.
    (at.div_euclid(DAY) + 3).div_euclid(i64::from(days.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_772_366_400 * SECOND;

    fn draft() -> OutcomeDraft<'static> {
        OutcomeDraft {
            customer: Some(EntityId::Text("C-1".to_owned())),
            model: "churn".to_owned(),
            result: Some("left"),
            time: Some(Cell::Text("2026-02-20")),
            ..OutcomeDraft::default()
        }
    }

    fn check(draft: OutcomeDraft<'_>) -> Result<OutcomeRecord, Error> {
        draft.check(TimeLimits::new(NOW, 400))
    }

    #[test]
    fn the_same_fields_are_the_same_record_and_an_id_goes_before_them() {
        let first = check(draft()).unwrap();
        let spelt = OutcomeDraft {
            time: Some(Cell::Text("2026-02-20T01:00:00+01:00")),
            ..draft()
        };
        assert_eq!(check(spelt).unwrap(), first);
        let other = OutcomeDraft {
            action: Some("call"),
            ..draft()
        };
        assert_ne!(check(other).unwrap().key, first.key);
        let with_id = |time| OutcomeDraft {
            id: Some("r-1"),
            time: Some(Cell::Text(time)),
            ..draft()
        };
        let (a, b) = (
            check(with_id("2026-02-20")).unwrap(),
            check(with_id("2026-02-21")).unwrap(),
        );
        assert_eq!(a.key, b.key);
        let digits = OutcomeDraft {
            customer: Some(EntityId::Text("42".to_owned())),
            ..draft()
        };
        assert_eq!(check(digits).unwrap().customer, "42");
    }

    #[test]
    fn an_error_names_the_field_and_what_was_found() {
        let long = "x".repeat(300);
        for (wrong, field, part) in [
            (
                OutcomeDraft {
                    result: Some("lost"),
                    ..draft()
                },
                "result",
                "stayed",
            ),
            (
                OutcomeDraft {
                    action: Some("cal"),
                    ..draft()
                },
                "action",
                "did you mean `call`?",
            ),
            (
                OutcomeDraft {
                    result: None,
                    ..draft()
                },
                "result",
                "found neither",
            ),
            (
                OutcomeDraft {
                    customer: None,
                    ..draft()
                },
                "customer",
                "found nothing",
            ),
            (
                OutcomeDraft {
                    customer: Some(EntityId::Text(long.clone())),
                    ..draft()
                },
                "customer",
                "at most 256",
            ),
            (
                OutcomeDraft {
                    detail: Some(&long),
                    ..draft()
                },
                "detail",
                "at most 128 bytes, found 300",
            ),
            (
                OutcomeDraft {
                    id: Some("a\u{0}"),
                    ..draft()
                },
                "id",
                "control",
            ),
            (
                OutcomeDraft {
                    time: None,
                    ..draft()
                },
                "time",
                "such as \"2026-03-01T09:30:00Z\"",
            ),
            (
                OutcomeDraft {
                    time: Some(Cell::Text("soon")),
                    ..draft()
                },
                "time",
                "found \"soon\"",
            ),
            (
                OutcomeDraft {
                    time: Some(Cell::Text("2026-04-01")),
                    ..draft()
                },
                "time",
                "in the past",
            ),
            (
                OutcomeDraft {
                    time: Some(Cell::Text("2024-04-01")),
                    ..draft()
                },
                "time",
                "keep_days",
            ),
            (
                OutcomeDraft {
                    time: Some(Cell::Int(1_772_366_400_000)),
                    ..draft()
                },
                "time",
                "milliseconds",
            ),
        ] {
            let error = check(wrong).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        // 2 March 2026 is a Monday.
        let monday = 1_772_409_600 * SECOND;
        assert_eq!(period(monday, 7), period(monday + 7 * DAY - 1, 7));
        assert_ne!(period(monday, 7), period(monday - 1, 7));
        assert_eq!(period(monday, 1) + 1, period(monday + DAY, 1));
    }
}
