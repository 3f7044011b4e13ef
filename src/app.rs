//! The composition root: builds everything that serves from the settings. Built once, then shared.

mod drift_keeper;
mod drift_metrics;
pub mod live_settings;
mod memory_metrics;
mod model_metrics;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use drift_keeper::DriftKeeper;
use drift_metrics::DriftMetrics;
use memory_metrics::MemoryMetrics;
use model_metrics::ModelMetrics;

use crate::config::Config;
use crate::features::metrics::FeatureMetrics;
use crate::features::sources::Sources;
use crate::features::warm;
use crate::heartbeat::Heartbeats;
use crate::lifecycle::{Lifecycle, LifecycleHandle};
use crate::memory::{DefaultBudget, MemoryBudget, available_memory};
use crate::metrics::Registry;
use crate::record::outcomes::metrics::OutcomeMetrics;
use crate::record::prediction_log::{LogMetrics, LogThreads, PredictionLog};
use crate::record::service::{OutcomeService, PerformanceThread};
use crate::scoring::hold_out::HoldOut;
use crate::scoring::metrics::ScoringMetrics;
use crate::scoring::ranking::metrics::RankingMetrics;
use crate::scoring::ranking::{RANKING_BYTES, RankingThread, Rankings};
use crate::scoring::score_metrics::ScoreMetrics;
use crate::scoring::servable::ServableMetrics;
use crate::scoring::{LiveSet, Scorer};
use crate::spans::Exporter;
use crate::values::time;
use crate::work::off_thread;

/// How long the end of the server waits for the collector of traces, and for the windows of drift to be saved.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

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
    /// Exports traces; `None` if the environment does not turn it on.
    pub exporter: Option<Exporter>,
    /// Cancelled when the server closes: it accepts nothing more, streams end, running requests finish.
    pub closing: CancellationToken,
    /// Sends commands to the lifecycle thread.
    pub lifecycle: LifecycleHandle,
    /// Whether what is scored is logged.
    pub logs_predictions: bool,
    /// The threads of the prediction log, until it is closed.
    prediction_log: Mutex<Option<LogThreads>>,
    /// Cancelled when the server begins to stop: readiness fails from then on.
    pub stopping: CancellationToken,
    memory_metrics: MemoryMetrics,
    drift_metrics: DriftMetrics,
    /// Saves the windows of drift, if the settings name a file.
    drift_keeper: Option<DriftKeeper>,
    model_metrics: ModelMetrics,
    /// What the background threads do.
    pub heartbeats: Heartbeats,
    /// Outcomes of customers, if the settings name a store.
    pub outcomes: Option<Arc<OutcomeService>>,
    _performance: Option<PerformanceThread>,
    /// All customers, ranked.
    pub rankings: Arc<Rankings>,
    _ranking: Option<RankingThread>,
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
        let score_metrics = ScoreMetrics::new(&registry).map_err(text)?;
        let scoring_metrics = ScoringMetrics::new(&registry).map_err(text)?;
        let lost_spans = registry
            .counter(
                "evergreen_spans_lost_total",
                "Spans that the collector of traces did not take.",
            )
            .map_err(text)?;
        let heartbeats = Heartbeats::default();
        let sources = Arc::new(Sources::new(&config, feature_metrics.clone())?);
        // The limit is set when it is known what models and snapshot take.
        let memory = MemoryBudget::of_process();
        let mut lifecycle = Lifecycle::start(
            &config,
            &sources,
            &registry,
            ServableMetrics {
                features: feature_metrics,
                scores: score_metrics.clone(),
            },
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
        let model_metrics = ModelMetrics::new(&registry, score_metrics).map_err(text)?;
        let drift_metrics = DriftMetrics::new(&registry).map_err(text)?;
        let scorer = Scorer::new(live, config.limits, memory.clone(), scoring_metrics);
        let log_metrics = LogMetrics::new(&registry).map_err(text)?;
        let prediction_log = PredictionLog::start(
            &config.prediction_log,
            &config.storage,
            &heartbeats,
            &memory,
            log_metrics,
        )?;
        let outcome_metrics = OutcomeMetrics::new(&registry).map_err(text)?;
        let outcomes = OutcomeService::start(&config.outcomes, outcome_metrics, Handle::current)?;
        let outcomes = outcomes.map(Arc::new);
        let hold_out = HoldOut::new(config.outcomes.hold_out, &config.outcomes.hold_out_salt);
        let mut scorer = scorer
            .map_err(|error| error.to_string())?
            .recording(prediction_log.as_ref().map(LogThreads::recorder))
            .with_hold_out(hold_out);
        if let Some(outcomes) = &outcomes {
            scorer = scorer.with_listener(outcomes.recorder());
        }
        let scorer = Arc::new(scorer);
        let watch = |outcomes: &Arc<OutcomeService>| outcomes.watch(&scorer, Handle::current());
        let performance = outcomes.as_ref().map(watch).transpose();
        let performance = performance.map_err(|error| error.to_string())?;
        let keeps_drift = Some(&config.drift).filter(|drift| drift.enabled);
        let drift_file = keeps_drift.map_or(Path::new(""), |drift| &drift.state_file);
        let drift_keeper = DriftKeeper::start(drift_file, &scorer).map_err(|error| error.to_string())?;
        let handle = lifecycle.run(&scorer).map_err(|error| error.to_string())?;
        let stopping = CancellationToken::new();
        let ranking_metrics = RankingMetrics::new(&registry).map_err(text)?;
        let rankings = Rankings::new(scorer.clone(), config.ranking, memory.clone(), ranking_metrics);
        let rankings = Arc::new(rankings);
        let ranking = RankingThread::start(&rankings, stopping.clone()).map_err(|error| error.to_string())?;
        // Set from the start, so that readiness is not reported and withdrawn again.
        let warming = !config.features.warm.as_os_str().is_empty();
        Ok(Self {
            config,
            scorer,
            sources,
            memory,
            memory_metrics,
            drift_metrics,
            drift_keeper,
            model_metrics,
            exporter: Exporter::from_environment(lost_spans)?,
            registry,
            closing: CancellationToken::new(),
            lifecycle: handle,
            stopping,
            logs_predictions: prediction_log.is_some(),
            prediction_log: Mutex::new(prediction_log),
            heartbeats,
            outcomes,
            _performance: performance,
            rankings,
            _ranking: ranking,
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

    /// Saves the windows of drift for the next run. A disk that hangs holds up the end for three seconds at most.
    pub async fn keep_drift(&self) {
        if let Some(file) = self.drift_keeper.as_ref().map(DriftKeeper::file) {
            // What could not be saved by then is lost.
            let _ = tokio::time::timeout(FLUSH_LIMIT, off_thread(move || file.save())).await;
        }
    }

    /// Exports the spans that are left. A collector that does not answer holds up the end for three seconds at most.
    pub async fn flush_spans(&self) {
        if let Some(exporter) = self.exporter.clone() {
            let flush = off_thread(move || exporter.shut_down());
            // What could not be sent by then is lost.
            let _ = tokio::time::timeout(FLUSH_LIMIT, flush).await;
        }
    }

    /// Completes the prediction log; waits for at most `limit`. Blocks.
    pub fn close_prediction_log(&self, limit: Duration) {
        let log = self
            .prediction_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(log) = log {
            log.close(limit);
        }
    }

    /// Writes the scores that wait for the store of outcomes.
    pub fn keep_scores(&self) {
        if let Some(outcomes) = &self.outcomes {
            outcomes.flush();
        }
    }

    /// Updates the metrics that are measured when they are read. Takes long for models with many features.
    pub fn measure(&self) {
        self.sources.measure();
        self.scorer.measure();
        let live = self.scorer.live();
        live.update_feature_counters();
        self.model_metrics.measure(&live);
        self.drift_metrics.measure(&live, &self.config.drift, time::now());
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
    let ranked = live.models().filter(|(_, entry)| entry.live.is_some()).count();
    let customers = live.snapshot.as_ref().map_or(0, |snapshot| snapshot.len());
    let rankings = match config.ranking.enabled && customers <= config.ranking.most_customers {
        true => ranked * customers * RANKING_BYTES,
        false => 0,
    };
    let caches = config.source.values().map(|source| source.cache.bytes);
    let budget = DefaultBudget {
        // Without a known limit, the least budget is safe.
        limit: available_memory().unwrap_or(0),
        resident: crate::os::resident_bytes() as u64,
        reload: (models + rows + ids + rankings) as u64,
        caches: caches.sum(),
    };
    budget.bytes()
}
