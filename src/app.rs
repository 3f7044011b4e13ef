//! The composition root: builds everything that serves from the settings. Built once, then shared.

pub mod live_settings;
mod memory_metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use memory_metrics::MemoryMetrics;

use crate::config::Config;
use crate::features::metrics::FeatureMetrics;
use crate::features::sources::Sources;
use crate::features::warm;
use crate::heartbeat::Heartbeats;
use crate::lifecycle::{Lifecycle, LifecycleHandle};
use crate::memory::{DefaultBudget, MemoryBudget, available_memory};
use crate::metrics::Registry;
use crate::scoring::metrics::ScoringMetrics;
use crate::scoring::{LiveSet, Scorer};
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
    /// The memory budget of requests.
    pub memory: Arc<MemoryBudget>,
    /// The registry of metrics.
    pub registry: Registry,
    /// Cancelled when the server closes: it accepts nothing more, streams end, running requests finish.
    pub closing: CancellationToken,
    /// Sends commands to the lifecycle thread.
    pub lifecycle: LifecycleHandle,
    /// Cancelled when the server begins to stop: readiness fails from then on.
    pub stopping: CancellationToken,
    memory_metrics: MemoryMetrics,
    /// What the background threads do.
    pub heartbeats: Heartbeats,
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
        let heartbeats = Heartbeats::default();
        let sources = Arc::new(Sources::new(&config, feature_metrics.clone())?);
        // The limit is set when it is known what models and snapshot take.
        let memory = MemoryBudget::unlimited();
        let mut lifecycle = Lifecycle::start(
            &config,
            &sources,
            &registry,
            feature_metrics,
            &heartbeats,
            &memory,
            progress,
        )?;
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
        memory.set_limit(match config.limits.memory {
            0 => default_budget(&config, &live),
            bytes => bytes,
        });
        tracing::info!(bytes = memory.limit(), "memory budget of requests");
        let memory_metrics = MemoryMetrics::new(&registry).map_err(text)?;
        let scorer = Scorer::new(live, config.limits, memory.clone(), scoring_metrics);
        let scorer = Arc::new(scorer.map_err(|error| error.to_string())?);
        let handle = lifecycle.run(&scorer).map_err(|error| error.to_string())?;
        // Set from the start, so that readiness is not reported and withdrawn again.
        let warming = !config.features.warm.as_os_str().is_empty();
        Ok(Self {
            config,
            scorer,
            sources,
            memory,
            memory_metrics,
            registry,
            closing: CancellationToken::new(),
            lifecycle: handle,
            stopping: CancellationToken::new(),
            heartbeats,
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

    /// Updates the metrics that are measured when they are read.
    pub fn measure(&self) {
        self.sources.measure();
        self.scorer.measure();
        self.scorer.live().update_feature_counters();
        self.memory_metrics.measure(&self.memory);
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
        reasons.extend(self.heartbeats.troubles());
        reasons
    }
}

/// The default of `limits.memory`.
fn default_budget(config: &Config, live: &LiveSet) -> usize {
    let models = live.models().filter_map(|(_, entry)| entry.live.as_ref());
    let models: usize = models.map(|servable| servable.model.forest.size_bytes()).sum();
    let (rows, ids) = live
        .snapshot
        .as_ref()
        .map_or((0, 0), |snapshot| snapshot.size_bytes());
    let caches = config.source.values().map(|source| source.cache.bytes);
    let budget = DefaultBudget {
        // Without a known limit, the least budget is safe.
        limit: available_memory().unwrap_or(0),
        resident: crate::os::resident_bytes(),
        reload: (models + rows + ids) as u64,
        caches: caches.sum(),
    };
    budget.bytes()
}
