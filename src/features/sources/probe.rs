//! Contacts the stores of the settings, for `evergreen doctor`.

use std::time::{Duration, Instant};

use super::Sources;
use crate::features::store_client::StoreIdentity;

/// Round trips of one measurement.
const ROUND_TRIPS: usize = 5;

/// What a store said of itself, and how fast it was.
#[derive(Debug)]
pub struct StoreAnswer {
    /// The last answer.
    pub identity: StoreIdentity,
    /// The median duration of a round trip.
    pub median: Duration,
    /// How far the clock of the store is ahead of this one, in seconds.
    pub skew: Option<f64>,
}

/// A store and its answer; `None` if it has no question to answer.
pub type ProbedStore = (String, Option<Result<StoreAnswer, String>>);

impl Sources {
    /// Contacts each store, for at most `timeout`.
    pub async fn probe(&self, timeout: Duration) -> Vec<ProbedStore> {
        let mut answers = Vec::with_capacity(self.remote.len());
        for (name, configured) in &self.remote {
            let answer = match configured.store.identify() {
                None => None,
                Some(first) => {
                    let rest = || configured.store.identify();
                    let answer = tokio::time::timeout(timeout, measure(first, rest)).await;
                    Some(answer.unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs()))))
                }
            };
            answers.push((name.clone(), answer));
        }
        answers
    }
}

/// Times round trips, without the first one, which connects.
///
/// # Errors
/// The store did not answer.
pub(crate) async fn measure<F: Future<Output = Result<StoreIdentity, String>>>(
    first: F,
    next: impl Fn() -> Option<F>,
) -> Result<StoreAnswer, String> {
    let mut identity = first.await?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut skew = None;
    for _ in 0..ROUND_TRIPS {
        let Some(question) = next() else { break };
        let (start, now) = (Instant::now(), crate::values::time::now());
        identity = question.await?;
        let duration = start.elapsed();
        times.push(duration);
        skew = identity
            .clock
            .map(|clock| clock - (now + duration.as_secs_f64() / 2.0));
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(StoreAnswer {
        identity,
        median,
        skew,
    })
}
