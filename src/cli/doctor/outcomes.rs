//! Checks the store of outcomes: whether it takes them, and how fast.

use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::record::outcomes::probe::{ProbedOutcomes, probe};

/// Longest wait for the database.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request waits for the store; one that is slower than this has a fault.
const SLOW: Duration = Duration::from_millis(500);

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let check = "outcomes";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::failed(check, error.to_string())],
    };
    let found = runtime.block_on(probe(&config.outcomes, TIMEOUT));
    runtime.shutdown_background();
    found
        .map(|found| match found {
            Ok(probed) => finding(check, probed),
            Err(error) => Finding::failed(check, error),
        })
        .into_iter()
        .collect()
}

fn finding(check: &str, probed: ProbedOutcomes) -> Finding {
    let ProbedOutcomes {
        store,
        latency,
        warning,
    } = probed;
    let detail = format!(
        "{store}; {:.1} ms for a write or a round trip",
        latency.as_secs_f64() * 1e3
    );
    let slow = (latency > SLOW).then(|| "slow; check the disk or the network".to_owned());
    match warning.or(slow) {
        Some(warning) => Finding::warning(check, format!("{detail}; {warning}")),
        None => Finding::ok(check, detail),
    }
}
