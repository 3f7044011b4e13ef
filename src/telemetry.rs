//! Every metric of the program, and the set-up of the log. The doc comment of a metric is its help text.

pub mod connections;
mod features;
pub mod models;
pub mod security;

pub use features::{FeatureCounters, FeatureMetrics, SourceMetrics};
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};
use connections::PortMetrics;
pub use models::ModelMetrics;
use security::SecurityMetrics;

/// From a microsecond, for a cached row and a small forest, to ten seconds, for a bulk request.
const SECONDS: [f64; 18] = [
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1.0, 10.0,
];

/// What became of an entity: the labels of [`Metrics::entities_scored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the status of the same name in an answer")]
pub enum EntityResult {
    Ok,
    Degraded,
    NotFound,
    Error,
}

impl EntityResult {
    /// As it stands in answers and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::NotFound => "not_found",
            Self::Error => "error",
        }
    }
}

/// The handles of all metrics, resolved once at start-up.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests by API (rest, grpc), operation and result (ok or the kind of the error).
    pub requests: IntCounterVec,
    entities: [(EntityResult, IntCounter); 4],
    /// Seconds that a scoring request spent on getting features into rows.
    pub features: Histogram,
    /// Seconds that a scoring request spent in the forest.
    pub forest: Histogram,
    /// Seconds of a scoring request from admission to answer, without the protocol.
    pub whole: Histogram,
    /// Models on their way to answering.
    pub models: ModelMetrics,
    /// Rows of the snapshot.
    pub snapshot_rows: Gauge,
    /// Bytes that the snapshot holds in memory.
    pub snapshot_bytes: Gauge,
    /// Feature stores, their caches, and what became of features.
    pub feature: FeatureMetrics,
    /// Connections of the ports.
    pub ports: PortMetrics,
    /// Certificates and keys.
    pub security: SecurityMetrics,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// A name or label is not valid, or stands twice.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let help = "Requests by API, operation and result (ok or the kind of the error).";
        let requests = counters("evergreen_requests_total", help, &["api", "operation", "result"])?;
        let entities = counters(
            "evergreen_entities_total",
            "Entities asked for, by what became of them.",
            &["result"],
        )?;
        let results = [
            EntityResult::Ok,
            EntityResult::Degraded,
            EntityResult::NotFound,
            EntityResult::Error,
        ];
        let entities = results.map(|result| (result, entities.with_label_values(&[result.label()])));
        let help =
            "Seconds of a scoring request by stage: features, forest, and the whole without the protocol.";
        let options = HistogramOpts::new("evergreen_stage_seconds", help).buckets(SECONDS.to_vec());
        let stages = HistogramVec::new(options, &["stage"])?;
        registry.register(Box::new(stages.clone()))?;
        let rows = gauges("evergreen_snapshot_rows", "Rows of the snapshot.", &[])?;
        let bytes = gauges(
            "evergreen_snapshot_bytes",
            "Bytes that the snapshot holds in memory.",
            &[],
        )?;
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        let none: [&str; 0] = [];
        Ok(Self {
            requests,
            entities,
            features: stages.with_label_values(&["features"]),
            forest: stages.with_label_values(&["forest"]),
            whole: stages.with_label_values(&["whole"]),
            models: ModelMetrics::new(&registry)?,
            snapshot_rows: rows.with_label_values(&none),
            snapshot_bytes: bytes.with_label_values(&none),
            feature: FeatureMetrics::new(&registry)?,
            ports: PortMetrics::new(&registry)?,
            security: SecurityMetrics::new(&registry)?,
            registry,
        })
    }

    /// Counts what became of entities.
    pub fn entities_scored(&self, results: impl IntoIterator<Item = EntityResult>) {
        for result in results {
            for (known, counter) in &self.entities {
                if *known == result {
                    counter.inc();
                }
            }
        }
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// A collector failed.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Sends the log to standard error as `section` says; `RUST_LOG` goes before its level.
///
/// # Errors
/// The level is not one that the log knows.
pub fn log_to_stderr(section: &LogSection) -> Result<LogLevel, String> {
    let filter = filter(&section.level)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let set: SetFilter = match section.format {
        LogFormat::Text => {
            let log = log.with_target(false).with_filter_reloading();
            let handle = log.reload_handle();
            log.try_init().map_err(|error| failed(&error))?;
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let handle = log.reload_handle();
            log.try_init().map_err(|error| failed(&error))?;
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
    };
    Ok(LogLevel { set })
}

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Changes what is logged while the program runs.
pub struct LogLevel {
    set: SetFilter,
}

impl LogLevel {
    /// Logs by another level or filter from now on; `RUST_LOG` goes before it.
    ///
    /// # Errors
    /// The level is not one that the log knows.
    pub fn set(&self, level: &str) -> Result<(), String> {
        (self.set)(filter(level)?)
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).map_err(|error| format!("RUST_LOG: {error}"))
        }
        _ => EnvFilter::try_new(level).map_err(|error| format!("log.level: {error}")),
    }
}
