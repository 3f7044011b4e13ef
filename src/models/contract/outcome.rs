//! `[outcome]`: what the score predicts and by when, so that scores can be compared with what customers did.

use serde::Deserialize;

/// Longest horizon and grace period, in days.
const MOST_DAYS: u32 = 3650;

/// The share of customers that can be called unless the contract says another.
const DEFAULT_CAPACITY: f64 = 0.1;

/// What the score predicts: that a customer leaves within the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeSection {
    /// Days after the score within which the customer leaves, such as 30.
    pub horizon_days: u32,
    /// Days within which a customer who left may come back and has not left then. Default: 0.
    #[serde(default)]
    pub grace_days: u32,
    /// What it means that nothing was recorded of a customer within the horizon.
    #[serde(default)]
    pub absent: Absent,
    /// Share of the customers that sales can call, above 0 up to 1, for the lift. Default: 0.1.
    #[serde(default = "default_capacity")]
    pub contact_capacity: f64,
}

/// What no recorded outcome means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// The customer stayed: whoever leaves is recorded.
    Stayed,
    /// Nobody knows: only recorded results count.
    #[default]
    Unknown,
}

impl Absent {
    /// The name in contracts and answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stayed => "stayed",
            Self::Unknown => "unknown",
        }
    }
}

fn default_capacity() -> f64 {
    DEFAULT_CAPACITY
}

impl OutcomeSection {
    /// # Errors
    /// A value is out of its range.
    pub(super) fn validate(&self) -> Result<(), String> {
        if !(1..=MOST_DAYS).contains(&self.horizon_days) {
            let found = self.horizon_days;
            return Err(format!(
                "horizon_days: expected 1 to {MOST_DAYS}, such as 30, found {found}"
            ));
        }
        if self.grace_days > MOST_DAYS {
            let found = self.grace_days;
            return Err(format!(
                "grace_days: expected 0 to {MOST_DAYS}, such as 14, found {found}"
            ));
        }
        let capacity = self.contact_capacity;
        if capacity.is_nan() || capacity <= 0.0 || capacity > 1.0 {
            return Err(format!(
                "contact_capacity: expected a share above 0 up to 1, such as 0.1, found {capacity}"
            ));
        }
        Ok(())
    }
}
