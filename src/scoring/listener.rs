//! The interface of what learns of answered scores, such as the store that compares them with outcomes.

use std::fmt::Debug;

use super::outcome::Scores;

/// Learns of the scores that answer requests. Shadow scores and offline scores are not told.
pub trait ScoreListener: Debug + Send + Sync {
    /// Takes note of an answer. `overridden` says of each result whether the request gave a feature of its entity; it is empty
    /// if none has any. Runs on the request path: must neither wait nor do long work.
    ///
    /// `at` is the time of the request in seconds since the Unix epoch.
    fn answered(&self, at: f64, scores: &Scores, overridden: &[bool]);
}
