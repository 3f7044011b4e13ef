//! `[ranking]`: the ranking of all customers of a snapshot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::source::Span;

/// The ranking of all customers of the snapshot by the live version of each model. It takes 8 to 24 bytes of memory for each
/// customer and model, and 48 more while it is computed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RankingSection {
    /// Whether customers are ranked.
    pub enabled: bool,
    /// Maximum number of customers; a larger snapshot is not ranked.
    pub most_customers: usize,
    /// Age from which the customers are ranked again if the model counts days until now, or has features that become too old.
    /// Other rankings stay until the live version or the snapshot changes.
    pub refresh: Span,
}

impl Default for RankingSection {
    fn default() -> Self {
        Self {
            enabled: true,
            most_customers: 10_000_000,
            refresh: Span(Duration::from_secs(3600)),
        }
    }
}

impl RankingSection {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.most_customers == 0 {
            return Err(
                "ranking.most_customers: expected at least 1, found 0; set ranking.enabled = false to rank nobody".to_owned(),
            );
        }
        Ok(())
    }
}
