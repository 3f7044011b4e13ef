//! Pure statistics of scores and outcomes: intervals, ranking, calibration, and the performance that calibrated scores
//! promise. No I/O and no types of other modules.

pub mod calibration;
pub mod cbpe;
pub mod interval;
pub mod ranking;
pub mod repeats;
pub mod score_bins;
pub mod sums;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The value of the standard normal distribution that 97.5 % are below, for 95 % intervals.
pub const Z95: f64 = 1.959_963_984_540_054;

/// A measure with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Estimate {
    /// The measure.
    #[schema(example = 0.109)]
    pub value: f64,
    /// Lower end of the 95 % interval.
    #[schema(example = 0.093)]
    pub low: f64,
    /// Upper end of the 95 % interval.
    #[schema(example = 0.128)]
    pub high: f64,
}

impl Estimate {
    /// An estimate with a normal interval of this standard error, within the `range` of the measure.
    pub fn normal(value: f64, error: f64, range: (f64, f64)) -> Option<Self> {
        let half = Z95 * error;
        let known = value.is_finite() && half.is_finite();
        known.then(|| Self {
            value,
            low: (value - half).max(range.0),
            high: (value + half).min(range.1),
        })
    }

    /// The same estimate in another unit.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            value: self.value * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }
}

/// Converts a count; counts here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}
