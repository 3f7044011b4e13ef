//! The composition root: builds everything that serves from the settings. Built once, then shared.

pub mod live_settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::features::metrics::FeatureMetrics;
use crate::features::sources::Sources;
use crate::features::warm;
use crate::lifecycle::{Lifecycle, LifecycleHandle};
use crate::metrics::Registry;
use crate::scoring::Scorer;
use crate::scoring::metrics::ScoringMetrics;
use crate::values::time;

/// Everything a running server needs.
#[derive(Debug)]
pub struct App {
    /// The settings.
    pub config: Config,
    /// Scores requests.
    pub scorer: Arc<Scorer>,
    /// The feature stores.
    pub sources: Arc<Sources>,
    /// The registry of metrics.
    pub registry: Registry,
    /// Cancelled when the server closes: it accepts nothing more, streams end, running requests finish.
    pub closing: CancellationToken,
    /// Sends commands to the lifecycle thread.
    pub lifecycle: LifecycleHandle,
    /// Cancelled when the server begins to stop: readiness fails from then on.
    pub stopping: CancellationToken,
    /// Whether the caches are still being filled.
    warming: AtomicBool,
}

impl App {
    /// Loads models and customers. `progress` receives the bytes of the snapshot read so far and in total.
    ///
    /// # Errors
    /// The repository or the snapshot cannot be read. A model that the gate refuses is not an error: it is logged, and
    /// readiness fails if no model is live.
    pub fn build(
        config: Config,
        registry: Registry,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, String> {
        let text = |error: prometheus::Error| error.to_string();
        let feature_metrics = FeatureMetrics::new(&registry).map_err(text)?;
        let scoring_metrics = ScoringMetrics::new(&registry).map_err(text)?;
        let sources = Arc::new(Sources::new(&config, feature_metrics.clone())?);
        let mut lifecycle = Lifecycle::start(&config, &sources, &registry, feature_metrics, progress)?;
        let live = lifecycle.live_set();
        if let Some(snapshot) = &live.snapshot {
            let (rows, ids) = snapshot.size_bytes();
            lifecycle.measure_snapshot();
            let path = snapshot.path().display();
            tracing::info!(%path, customers = snapshot.len(), bytes = rows + ids, "snapshot loaded");
        }
        if live.has_no_source() {
            tracing::warn!(
                "no feature source: requests must bring every feature; name the customers with features.snapshot or \
                 --customers, or a store with [source.NAME]"
            );
        }
        let scorer = Scorer::new(live, config.limits, scoring_metrics);
        let scorer = Arc::new(scorer.map_err(|error| error.to_string())?);
        let handle = lifecycle.run(&scorer).map_err(|error| error.to_string())?;
        // Set from the start, so that readiness is not reported and withdrawn again.
        let warming = !config.features.warm.as_os_str().is_empty();
        Ok(Self {
            config,
            scorer,
            sources,
            registry,
            closing: CancellationToken::new(),
            lifecycle: handle,
            stopping: CancellationToken::new(),
            warming: AtomicBool::new(warming),
        })
    }

    /// Fills the caches with the entities of the last run. Readiness waits for it, up to `features.warm_timeout`.
    pub async fn warm(&self) {
        let features = &self.config.features;
        if features.warm.as_os_str().is_empty() {
            return;
        }
        match warm::load(&self.sources, &features.warm, features.warm_timeout.0).await {
            Ok(entities) => tracing::info!(entities, "caches warmed"),
            Err(error) => tracing::warn!(error, "caches not warmed"),
        }
        self.warming.store(false, Ordering::Relaxed);
    }

    /// Saves the ids in the caches for the next run.
    pub fn keep_warm(&self) {
        let path = &self.config.features.warm;
        if path.as_os_str().is_empty() {
            return;
        }
        match warm::save(&self.sources, path) {
            Ok(entities) => tracing::info!(entities, path = %path.display(), "ids of the caches written"),
            Err(error) => tracing::warn!(error, "ids of the caches not written"),
        }
    }

    /// The reasons why the server is not ready; empty if it is.
    pub fn why_not_ready(&self) -> Vec<String> {
        let mut reasons = self.scorer.live().why_not_ready();
        reasons.extend(time::check_clock().err());
        if self.warming.load(Ordering::Relaxed) {
            reasons.push("the caches are being filled".to_owned());
        }
        if self.stopping.is_cancelled() {
            reasons.push("the server is stopping".to_owned());
        }
        reasons
    }
}
