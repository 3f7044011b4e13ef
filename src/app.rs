//! The composition root: settings in, everything that serves out. Built once, then shared.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::features::snapshot::Snapshot;
use crate::features::sources::Sources;
use crate::features::table::Table;
use crate::features::warm;
use crate::models::gate::Step;
use crate::models::registry;
use crate::scoring::{Limits, Live, Scorer};
use crate::telemetry::Metrics;

/// Everything a running server needs.
#[derive(Debug)]
pub struct App {
    /// Its settings.
    pub config: Config,
    /// The scoring path.
    pub scorer: Arc<Scorer>,
    /// The feature stores.
    pub sources: Sources,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Says that nothing more is accepted and streams are to end: what runs is finished, and that is all.
    pub closing: CancellationToken,
    stopping: AtomicBool,
    /// The caches are being filled.
    warming: AtomicBool,
}

impl App {
    /// Loads models and customers. `progress` is told the bytes of the snapshot read so far and in all.
    ///
    /// # Errors
    /// The models' folder or the snapshot cannot be read. A model that the gate refuses is no error: it is logged,
    /// and readiness fails if none is left.
    pub fn build(config: Config, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, String> {
        let metrics = Arc::new(Metrics::new().map_err(|error| error.to_string())?);
        let sources = Sources::new(&config, metrics.feature.clone())?;
        let mut found = registry::load(&config.models.dir)?;
        let snapshot = match config.snapshot() {
            Some(path) => snapshot(&path, &config, &sources, &mut found, progress)?,
            None => None,
        };
        for model in &found {
            log_model(model, &metrics);
        }
        if let Some(snapshot) = &snapshot {
            let (rows, ids) = snapshot.size_bytes();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            {
                metrics.snapshot_rows.set(snapshot.len() as f64);
                metrics.snapshot_bytes.set((rows + ids) as f64);
            }
            tracing::info!(path = %snapshot.path().display(), customers = snapshot.len(), bytes = rows + ids, "snapshot loaded");
        }
        let limits = Limits {
            batch: config.limits.batch,
            in_flight: config.limits.in_flight,
            numbers: config.limits.numbers,
        };
        let live = Live::new(found, &sources, snapshot);
        let scorer = Arc::new(Scorer::new(live, limits, metrics.clone()));
        Ok(Self {
            config,
            scorer,
            sources,
            metrics,
            closing: CancellationToken::new(),
            stopping: AtomicBool::new(false),
            warming: AtomicBool::new(false),
        })
    }

    /// Fills the caches with what they held when the last run ended. Readiness waits for it, but no longer than the
    /// settings say.
    pub async fn warm(&self) {
        let features = &self.config.features;
        if features.warm.as_os_str().is_empty() {
            return;
        }
        self.warming.store(true, Ordering::Relaxed);
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

    /// Says that the server is about to stop: readiness fails from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why requests should go elsewhere; empty when ready.
    pub fn why_not_ready(&self) -> Vec<String> {
        let mut reasons = self.scorer.live().why_not_ready();
        if self.warming.load(Ordering::Relaxed) {
            reasons.push("the caches are being filled".to_owned());
        }
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the server is stopping".to_owned());
        }
        reasons
    }
}

/// Reads the snapshot for the models that it can feed; the others are refused.
fn snapshot(
    path: &Path,
    config: &Config,
    sources: &Sources,
    found: &mut [registry::Found],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Arc<Snapshot>>, String> {
    let table = Table::open(path).map_err(|error| error.to_string())?;
    let mut reasons = Vec::new();
    for model in &mut *found {
        if let Some(reason) = model.live.as_ref().and_then(|live| sources.unfed(live, &table)) {
            reasons.push(format!("model `{}`: {reason}", model.name));
            model.refuse_live(Step::Features, reason);
        }
    }
    // Customers that no model can take are a mistake in the settings, not in a model.
    if !reasons.is_empty() && found.iter().all(|model| model.live.is_none()) {
        return Err(reasons.join("; "));
    }
    let has = |name: &&str| table.columns().iter().any(|known| known == name);
    let as_of = Some(config.features.as_of.as_str()).filter(has);
    let Some(spec) = sources.snapshot_spec(found.iter().filter_map(|model| model.live.as_deref()), as_of)
    else {
        tracing::warn!(path = %path.display(), "no live model has a contract that takes these customers: not read");
        return Ok(None);
    };
    let total = table.bytes() * 2;
    let snapshot = Snapshot::load(path, &spec, &mut |done| progress(done, total));
    Ok(Some(Arc::new(snapshot.map_err(|error| error.to_string())?)))
}

fn log_model(model: &registry::Found, metrics: &Metrics) {
    for refused in &model.refused {
        let reason = refused.report.failure().map_or("", |step| step.detail.as_str());
        tracing::error!(
            model = model.name,
            version = refused.version,
            reason,
            "version refused"
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    metrics
        .model_refused
        .with_label_values(&[&model.name])
        .set(model.refused.len() as f64);
    if let Some(live) = &model.live {
        metrics
            .model_live
            .with_label_values(&[&model.name, &live.version.to_string()])
            .set(1.0);
        tracing::info!(
            model = live.name,
            version = live.version,
            sha256 = live.sha256,
            "version live"
        );
    }
}
