//! Values and rows of PostgreSQL as records, and back.

use std::time::{Duration, SystemTime};

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::record::outcomes::interface::StoreError;
use crate::record::outcomes::{ActionTaken, CustomerResult, OutcomeRecord, ScoreRecord};

/// A time as PostgreSQL takes it.
pub(super) fn system(at: i64) -> SystemTime {
    let micros = Duration::from_micros(at.unsigned_abs());
    match at {
        0.. => SystemTime::UNIX_EPOCH + micros,
        _ => SystemTime::UNIX_EPOCH - micros,
    }
}

/// Microseconds since the Unix epoch.
pub(super) fn micros(time: SystemTime) -> i64 {
    let count = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => count(since),
        Err(before) => -count(before.duration()),
    }
}

/// A column of a row.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at)
        .map_err(|error| StoreError::Unavailable(format!("PostgreSQL: unexpected column: {error}")))
}

/// The action with this label.
pub(super) fn action(label: &str) -> Option<ActionTaken> {
    ActionTaken::ALL
        .into_iter()
        .find(|action| action.label() == label)
}

/// The result with this label.
pub(super) fn result(label: &str) -> Option<CustomerResult> {
    CustomerResult::ALL
        .into_iter()
        .find(|result| result.label() == label)
}

/// The record of a row of outcomes.
pub(super) fn record(row: &Row) -> Result<OutcomeRecord, StoreError> {
    Ok(OutcomeRecord {
        model: column(row, 0)?,
        customer: column(row, 1)?,
        key: column(row, 2)?,
        at: micros(column(row, 3)?),
        action: column::<Option<&str>>(row, 4)?.and_then(action),
        detail: column(row, 5)?,
        result: column::<Option<&str>>(row, 6)?.and_then(result),
    })
}

/// The score of a row: customer, version, period, time, score, and whether it is held out.
pub(super) fn score(model: &str, row: &Row) -> Result<ScoreRecord, StoreError> {
    Ok(ScoreRecord {
        model: model.to_owned(),
        version: u64::try_from(column::<i64>(row, 1)?).unwrap_or_default(),
        customer: column(row, 0)?,
        at: micros(column(row, 3)?),
        score: column(row, 4)?,
        hold_out: column(row, 5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back() {
        for at in [0, 1, -1, 1_772_409_600_123_456, -86_400_000_000] {
            assert_eq!(micros(system(at)), at);
        }
    }
}
