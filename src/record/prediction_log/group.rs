//! The rows of one version and one day that become one file.

use std::sync::Arc;
use std::time::Instant;

use jiff::tz::TimeZone;

use super::QueuedRows;
use crate::models::ModelVersion;
use crate::scoring::prediction::{Prediction, Predictions};
use crate::scoring::replay::margins;
use crate::values::time::instant;

/// Rows whose margins are computed at a time.
const MARGIN_ROWS: usize = 1024;

/// Rows in memory that are not in a file yet.
#[derive(Debug)]
pub(super) struct LogGroup {
    pub(super) model: Arc<ModelVersion>,
    /// The day of all rows in UTC, such as `2026-11-29`.
    pub(super) date: String,
    /// The same in days since the Unix epoch.
    day: i64,
    pub(super) opened: Instant,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    messages: Vec<QueuedRows>,
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct LoggedRow<'a> {
    pub(super) of: &'a Predictions,
    pub(super) prediction: &'a Prediction,
    pub(super) sequence: u64,
    /// The inputs as the model saw them.
    pub(super) values: &'a [f64],
}

impl LogGroup {
    /// A group for these rows.
    pub(super) fn new(rows: &QueuedRows) -> Self {
        Self {
            model: rows.predictions.model.clone(),
            date: date(rows.predictions.at),
            day: day(rows.predictions.at),
            opened: Instant::now(),
            rows: 0,
            bytes: 0,
            messages: Vec::new(),
        }
    }

    /// Whether rows belong here.
    pub(super) fn takes(&self, rows: &QueuedRows) -> bool {
        Arc::ptr_eq(&self.model, &rows.predictions.model) && self.day == day(rows.predictions.at)
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: QueuedRows) {
        self.rows += rows.predictions.rows.len();
        self.bytes += rows.bytes;
        self.messages.push(rows);
    }

    /// Every row, in the order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = LoggedRow<'_>> {
        let width = self.model.inputs.len();
        self.messages.iter().flat_map(move |message| {
            let of = &message.predictions;
            let rows = of.rows.iter().enumerate();
            rows.map(move |(index, prediction)| LoggedRow {
                of,
                prediction,
                sequence: message.first + index as u64,
                values: of
                    .values
                    .get(index * width..(index + 1) * width)
                    .unwrap_or_default(),
            })
        })
    }

    /// The margin of every row; empty if the model has none. They are computed here, from the inputs that the model saw, and not
    /// where requests are scored: few rows are logged, and this thread gives way to requests.
    pub(super) fn margins(&self) -> Vec<f64> {
        let rows: Vec<LoggedRow<'_>> = self.iter().collect();
        let mut found = Vec::with_capacity(rows.len());
        for rows in rows.chunks(MARGIN_ROWS) {
            let values: Vec<f64> = rows.iter().flat_map(|row| row.values).copied().collect();
            match margins(&self.model, &values) {
                Ok(Some(margins)) if margins.len() == rows.len() => found.extend(margins),
                // Rows without a margin are better than none.
                _ => return Vec::new(),
            }
        }
        found
    }
}

/// The day of a time in UTC, in days since the Unix epoch.
fn day(at: f64) -> i64 {
    stamp(at).as_second().div_euclid(86_400)
}

/// The day of a time in UTC.
fn date(at: f64) -> String {
    TimeZone::UTC.to_datetime(stamp(at)).date().to_string()
}

fn stamp(at: f64) -> jiff::Timestamp {
    instant(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_utc() {
        assert_eq!(date(1_795_996_799.999), "2026-11-29");
        assert_eq!(date(1_795_996_800.0), "2026-11-30");
        assert_eq!(date(f64::NAN), "1970-01-01");
        for at in [
            1_795_996_799.999,
            1_795_996_799.999_999_9,
            1_795_996_800.0,
            f64::NAN,
        ] {
            let of_day = jiff::Timestamp::from_second(day(at) * 86_400).unwrap();
            assert_eq!(
                date(at),
                TimeZone::UTC.to_datetime(of_day).date().to_string(),
                "{at}"
            );
        }
    }
}
