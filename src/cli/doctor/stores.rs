//! Checks of the feature stores: whether they answer, how fast, and whether their clocks agree with this one.

use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::features::metrics::FeatureMetrics;
use crate::features::sources::Sources;
use crate::features::sources::probe::ProbedStore;
use crate::metrics::Registry;

/// Longest wait for one store.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Clocks that differ by more seconds than this make ages of features wrong.
const MOST_SKEW: f64 = 2.0;

/// Longest time of all stores, one after the other.
pub(super) fn timeout(config: &Config) -> Duration {
    let stores = u32::try_from(config.source.len()).unwrap_or(u32::MAX);
    TIMEOUT.saturating_mul(stores.saturating_add(1))
}

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    if config.source.is_empty() {
        return Vec::new();
    }
    match probe(config) {
        Ok(stores) => stores
            .into_iter()
            .map(|(name, answer)| finding(config, (name, answer)))
            .collect(),
        Err(error) => vec![Finding::failed("stores", error)],
    }
}

fn probe(config: &Config) -> Result<Vec<ProbedStore>, String> {
    let metrics = FeatureMetrics::new(&Registry::default()).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    // Some clients start tasks when they are made.
    let _entered = runtime.enter();
    let sources = Sources::new(config, metrics)?;
    let stores = runtime.block_on(sources.probe(TIMEOUT));
    runtime.shutdown_background();
    Ok(stores)
}

fn finding(config: &Config, (name, answer): ProbedStore) -> Finding {
    let check = format!("store {name}");
    let answer = match answer {
        None => return Finding::ok(check, "its settings and files are valid; it was not contacted"),
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            return Finding::failed(
                check,
                format!("{error}; check that it runs, its address and its password ([source.{name}])"),
            );
        }
    };
    let mut detail = format!(
        "{}; {:.1} ms per round trip (median)",
        answer.identity.product,
        answer.median.as_secs_f64() * 1e3
    );
    let timeout = config
        .source
        .get(&name)
        .map_or(Duration::MAX, |source| source.timeout.0);
    if answer.median > timeout / 2 {
        return Finding::warning(
            check,
            format!(
                "{detail}; more than half of its timeout ({timeout:?}): raise source.{name}.timeout or move closer"
            ),
        );
    }
    match answer.skew.filter(|skew| skew.abs() > MOST_SKEW) {
        Some(skew) => Finding::warning(
            check,
            format!(
                "{detail}; its clock differs by {skew:+.1} s, and ages of features with it: set the clocks (NTP)"
            ),
        ),
        None => {
            if let Some(skew) = answer.skew {
                detail.push_str(&format!("; clock {skew:+.2} s"));
            }
            Finding::ok(check, detail)
        }
    }
}
