//! The composition root: settings in, everything that serves out. Built once, then shared.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Config;
use crate::features::plan;
use crate::features::snapshot::Snapshot;
use crate::features::table::Table;
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
    /// The metrics.
    pub metrics: Arc<Metrics>,
    stopping: AtomicBool,
}

impl App {
    /// Loads models and customers. `progress` is told the bytes of the snapshot read so far and in all.
    ///
    /// # Errors
    /// The models' folder or the snapshot cannot be read. A model that the gate refuses is no error: it is logged,
    /// and readiness fails if none is left.
    pub fn build(config: Config, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, String> {
        let metrics = Arc::new(Metrics::new().map_err(|error| error.to_string())?);
        let found = registry::load(&config.models.dir)?;
        for model in &found {
            log_model(model, &metrics);
        }
        let live = found.iter().filter_map(|model| model.live.as_deref());
        let snapshot = match config.snapshot() {
            Some(path) => snapshot(&path, &config, live, progress)?,
            None => None,
        };
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
        };
        let live = Live::new(found, snapshot)?;
        let scorer = Arc::new(Scorer::new(live, limits, metrics.clone()));
        Ok(Self {
            config,
            scorer,
            metrics,
            stopping: AtomicBool::new(false),
        })
    }

    /// Says that the server is about to stop: readiness fails from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why requests should go elsewhere; empty when ready.
    pub fn why_not_ready(&self) -> Vec<String> {
        let mut reasons = self.scorer.live().why_not_ready();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the server is stopping".to_owned());
        }
        reasons
    }
}

fn snapshot<'a>(
    path: &Path,
    config: &Config,
    live: impl Iterator<Item = &'a crate::models::ModelVersion>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Arc<Snapshot>>, String> {
    let table = Table::open(path).map_err(|error| error.to_string())?;
    let as_of =
        Some(config.features.as_of.as_str()).filter(|name| table.columns().iter().any(|known| known == name));
    let Some(spec) = plan::spec(live, as_of)? else {
        return Ok(None);
    };
    let total = table.bytes() * 2;
    let snapshot =
        Snapshot::load(path, &spec, &mut |done| progress(done, total)).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(snapshot)))
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
