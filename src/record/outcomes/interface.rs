//! What every store of outcomes takes and gives.

use std::time::Duration;

use super::{ActionTaken, CustomerResult, DAY, ScoreRecord};
use crate::error::Error;

/// Why a store cannot do something now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It is at its limit or cannot write.
    #[error("{0}")]
    Full(String),
    /// It cannot be reached, or its files cannot be read.
    #[error("{0}")]
    Unavailable(String),
}

/// Retry times: a full store needs an operator, an outage may end soon.
const AFTER_FULL: Duration = Duration::from_secs(60);
pub(super) const AFTER_OUTAGE: Duration = Duration::from_secs(5);

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        // A database that gives no answer in time may still keep the request.
        let (what_next, wait) = match &error {
            StoreError::Full(_) => ("nothing of this request is recorded", AFTER_FULL),
            StoreError::Unavailable(_) => (
                "repeat the request, as what is recorded already counts once",
                AFTER_OUTAGE,
            ),
        };
        Self::unavailable(format!("outcomes: {error}; {what_next}")).after(wait)
    }
}

/// What became of the records of a request, by their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// New ones.
    pub new: Vec<usize>,
    /// Those that replace an earlier record of the same key.
    pub replaced: Vec<usize>,
    /// Those that were known already.
    pub known: Vec<usize>,
}

/// What happened to a customer, as evaluation needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomerEvent {
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// What was done.
    pub action: Option<ActionTaken>,
    /// Whether the customer was there.
    pub result: Option<CustomerResult>,
}

/// Until when a customer was there who left at a time, as far as scores, contacts and `stayed` are concerned. Midnight (UTC)
/// stands for a date: the customer left at some time of that day. Otherwise those who leave on the day of their score would
/// count nowhere, as customers who had left before.
pub fn there_until(left: i64) -> i64 {
    if left.rem_euclid(DAY) == 0 {
        left + DAY - 1
    } else {
        left
    }
}

/// Takes the scores of a model, each with all that happened to its customer.
pub trait ScoreVisitor: Send + 'static {
    /// Takes one score.
    fn visit(&mut self, score: &ScoreRecord, events: &[CustomerEvent]);
}
