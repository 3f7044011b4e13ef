//! Bands: named ranges of the score.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A named range of the score, up to the next band's `from`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// `high`; shared with every answer that bears it.
    pub name: Arc<str>,
    /// The lowest score in the band.
    pub from: f64,
}
