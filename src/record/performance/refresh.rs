//! Computes performance for requests and for the metrics: at most once per `outcomes.refresh` and one at a time, however many
//! ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::PerformanceReport;
use super::{Definition, Evaluation};
use crate::error::Error;
use crate::models::contract::ScoreKind;
use crate::record::outcomes::metrics::OutcomeMetrics;
use crate::record::outcomes::recorder::now;
use crate::record::outcomes::store::OutcomeStore;
use crate::scoring::Servable;

/// The threshold of a model without bands.
const THRESHOLD: f64 = 0.5;

/// Performance of models, computed when it is asked for.
#[derive(Clone, Debug)]
pub struct PerformanceCache {
    store: OutcomeStore,
    metrics: OutcomeMetrics,
    /// Age from which a report is computed again.
    refresh: Duration,
    /// By model. Who computes holds the lock, so that others take the result.
    reports: Arc<tokio::sync::Mutex<HashMap<String, CachedReport>>>,
}

#[derive(Debug)]
struct CachedReport {
    /// When the computation began: what is recorded later may not be in the report.
    begun: Instant,
    definition: Definition,
    report: Arc<PerformanceReport>,
}

impl Definition {
    /// The rules of a version.
    ///
    /// # Errors
    /// Its contract has no `[outcome]`; the message shows one.
    pub fn of(servable: &Servable) -> Result<Self, Error> {
        let model = &servable.model;
        let contract = model.contract.as_ref();
        let outcome = contract
            .filter(|contract| contract.output.kind == ScoreKind::Probability)
            .and_then(|contract| contract.outcome);
        let outcome = outcome.ok_or_else(|| {
            Error::rejected(format!(
                "version {} of model `{}` does not say what it predicts: expected a section such as `[outcome]` with \
                 `horizon_days = 30` in bundle.toml (save_bundle(outcomes={{\"horizon_days\": 30}}))",
                model.version, model.name
            ))
        })?;
        let band = servable.bands.last();
        Ok(Self {
            outcome,
            threshold: band.map_or(THRESHOLD, |band| band.from),
            band: band.map(|band| band.name.to_string()),
        })
    }
}

impl PerformanceCache {
    /// A cache over a store; nothing is computed yet.
    pub fn new(store: OutcomeStore, metrics: OutcomeMetrics, refresh: Duration) -> Self {
        Self {
            store,
            metrics,
            refresh,
            reports: Arc::default(),
        }
    }

    /// The performance of a model, at most `outcomes.refresh` old.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn report(&self, model: &str, definition: Definition) -> Result<Arc<PerformanceReport>, Error> {
        let asked = Instant::now();
        let mut reports = self.reports.clone().lock_owned().await;
        if let Some(cached) = reports.get(model)
            && (cached.begun >= asked || cached.begun.elapsed() < self.refresh)
            && cached.definition == definition
        {
            return Ok(cached.report.clone());
        }
        // In a task, so that a client that leaves does not let the next one begin again.
        let (cache, model) = (self.clone(), model.to_owned());
        let work = tokio::spawn(async move {
            let begun = Instant::now();
            let report = cache.compute(&model, definition.clone()).await?;
            let cached = CachedReport {
                begun,
                definition,
                report: report.clone(),
            };
            reports.insert(model, cached);
            Ok(report)
        });
        work.await
            .unwrap_or_else(|error| Err(Error::internal(format!("evaluation stopped: {error}"))))
    }

    async fn compute(&self, model: &str, definition: Definition) -> Result<Arc<PerformanceReport>, Error> {
        let evaluation = Evaluation::new(definition, now());
        let evaluation = self.store.visit(model, evaluation).await?;
        let report = evaluation.report(model);
        self.metrics.set_performance(model, &report.measures());
        Ok(Arc::new(report))
    }
}
