//! The composition root: settings in, everything that serves out. Built once, then shared.

pub mod live_settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::config::{Config, LimitsSection};
use crate::features::sources::Sources;
use crate::features::warm;
use crate::lifecycle;
use crate::lifecycle::Lifecycle;
use crate::scoring::{Limits, Scorer};
use crate::telemetry::Metrics;

/// Everything a running server needs.
#[derive(Debug)]
pub struct App {
    /// Its settings.
    pub config: Config,
    /// The scoring path.
    pub scorer: Arc<Scorer>,
    /// The feature stores.
    pub sources: Arc<Sources>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Says that nothing more is accepted and streams are to end: what runs is finished, and that is all.
    pub closing: CancellationToken,
    /// Hands orders to the thread that loads models.
    pub reload: lifecycle::LifecycleHandle,
    /// Says that the server is about to stop: readiness fails from then on.
    pub stopping: CancellationToken,
    /// The caches are being filled.
    warming: AtomicBool,
}

/// The limits of requests, as the settings say.
fn limits(section: &LimitsSection) -> Limits {
    Limits {
        batch: section.batch,
        in_flight: section.in_flight,
        numbers: section.numbers,
    }
}

impl App {
    /// Loads models and customers. `progress` is told the bytes of the snapshot read so far and in all.
    ///
    /// # Errors
    /// The models' folder or the snapshot cannot be read. A model that the gate refuses is no error: it is logged,
    /// and readiness fails if none is left.
    pub fn build(
        config: Config,
        metrics: Arc<Metrics>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, String> {
        let sources = Arc::new(Sources::new(&config, metrics.feature.clone())?);
        let mut reloader = Lifecycle::start(&config, &sources, &metrics, progress)?;
        let live = reloader.live();
        if let Some(snapshot) = &live.snapshot {
            let (rows, ids) = snapshot.size_bytes();
            reloader.count_customers();
            tracing::info!(path = %snapshot.path().display(), customers = snapshot.len(), bytes = rows + ids, "snapshot loaded");
        }
        let scorer = Scorer::new(live, limits(&config.limits), metrics.clone());
        let scorer = Arc::new(scorer.map_err(|error| error.to_string())?);
        let reload = reloader.run(&scorer).map_err(|error| error.to_string())?;
        // From the first moment on: readiness must not be said before, and taken back.
        let warming = !config.features.warm.as_os_str().is_empty();
        Ok(Self {
            config,
            scorer,
            sources,
            metrics,
            closing: CancellationToken::new(),
            reload,
            stopping: CancellationToken::new(),
            warming: AtomicBool::new(warming),
        })
    }

    /// Fills the caches with what they held when the last run ended. Readiness waits for it, but no longer than the
    /// settings say.
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

    /// Keeps what the caches hold for the next run.
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

    /// Why requests should go elsewhere; empty when ready.
    pub fn why_not_ready(&self) -> Vec<String> {
        let mut reasons = self.scorer.live().why_not_ready();
        if self.warming.load(Ordering::Relaxed) {
            reasons.push("the caches are being filled".to_owned());
        }
        if self.stopping.is_cancelled() {
            reasons.push("the server is stopping".to_owned());
        }
        reasons
    }
}
