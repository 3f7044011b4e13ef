//! Drift: how far the features and scores of present entities are from those at training. Pure counting and statistics,
//! below the scoring path.

pub mod bins;
pub mod distance;
pub mod distinct;
pub mod distinct_window;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod monitor;
pub mod report;
pub mod saved;
pub mod window;
