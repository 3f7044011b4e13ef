//! Metrics of feature stores and their caches, and of the features of scored entities.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::metrics::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result,
};

use crate::values::issues::{FeatureIssues, STATUSES};

/// Upper bounds in seconds: from a store on the same host to one that hardly answers.
const SECONDS: [f64; 14] = [
    5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1, 5e-1, 1.0,
];

/// All metrics of features, by their labels.
#[derive(Clone, Debug)]
pub struct FeatureMetrics {
    fetches: IntCounterVec,
    seconds: HistogramVec,
    cache: IntCounterVec,
    entries: IntGaugeVec,
    bytes: IntGaugeVec,
    status: IntCounterVec,
}

/// The handles of one source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    source: String,
    fetches: IntCounterVec,
    answered: IntCounter,
    seconds: Histogram,
    hit: IntCounter,
    ageing: IntCounter,
    miss: IntCounter,
    /// Entries of the cache.
    pub entries: IntGauge,
    /// Bytes of the cache.
    pub bytes: IntGauge,
    last_logged: Arc<AtomicU64>,
}

/// The counts of one version. Nearly every feature is present, so the count of present ones is derived from the others when
/// metrics are read: an entity without issues costs one addition.
#[derive(Debug)]
pub struct FeatureCounters {
    features: Vec<FeatureCounter>,
    entities: AtomicU64,
}

#[derive(Debug)]
struct FeatureCounter {
    present: IntCounter,
    /// By status.
    others: [IntCounter; STATUSES.len()],
    /// Entities for which the feature was not present.
    otherwise: AtomicU64,
    /// Entities already counted in `present`.
    told: AtomicU64,
}

impl FeatureMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            fetches: registry.counters(
                "evergreen_source_fetches_total",
                "Fetches from a feature store, by result (ok, dropped, failed, timed_out, open: skipped by the circuit breaker).",
                &["source", "result"],
            )?,
            seconds: registry.histograms(
                "evergreen_source_seconds",
                "Seconds of a fetch from a feature store, including a second attempt.",
                &["source"],
                &SECONDS,
            )?,
            cache: registry.counters(
                "evergreen_source_cache_total",
                "Lookups in the cache of a feature store, by result (hit, ageing: answered and fetched again, miss).",
                &["source", "result"],
            )?,
            entries: registry.gauges(
                "evergreen_source_cache_entries",
                "Entities in the cache of a feature store.",
                &["source"],
            )?,
            bytes: registry.gauges(
                "evergreen_source_cache_bytes",
                "Bytes in the cache of a feature store.",
                &["source"],
            )?,
            status: registry.counters(
                "evergreen_features_total",
                "Features of scored entities, by status (present, missing, null, stale, out_of_range, default).",
                &["model", "feature", "status"],
            )?,
        })
    }

    /// The handles of a source.
    pub fn source(&self, name: &str) -> SourceMetrics {
        let cache = |result: &str| self.cache.with_label_values(&[name, result]);
        SourceMetrics {
            source: name.to_owned(),
            fetches: self.fetches.clone(),
            answered: self.fetches.with_label_values(&[name, "ok"]),
            seconds: self.seconds.with_label_values(&[name]),
            hit: cache("hit"),
            ageing: cache("ageing"),
            miss: cache("miss"),
            entries: self.entries.with_label_values(&[name]),
            bytes: self.bytes.with_label_values(&[name]),
            last_logged: Arc::default(),
        }
    }

    /// The handles of a model with these features.
    pub fn counters<'a>(&self, model: &str, features: impl Iterator<Item = &'a str>) -> FeatureCounters {
        let counter = |feature, status| self.status.with_label_values(&[model, feature, status]);
        let handles = features.map(|feature| FeatureCounter {
            present: counter(feature, "present"),
            others: STATUSES.map(|status| counter(feature, status)),
            otherwise: AtomicU64::new(0),
            told: AtomicU64::new(0),
        });
        FeatureCounters {
            features: handles.collect(),
            entities: AtomicU64::new(0),
        }
    }
}

impl SourceMetrics {
    /// Counts a lookup that the cache answered.
    pub fn hit(&self) {
        self.hit.inc();
    }

    /// Counts a lookup that the cache answered while the entry is fetched again.
    pub fn ageing(&self) {
        self.ageing.inc();
    }

    /// Counts a lookup that the cache could not answer.
    pub fn miss(&self) {
        self.miss.inc();
    }

    /// Counts a fetch; `error` is the label of what went wrong.
    pub fn fetched(&self, took: Duration, error: Option<&str>) {
        self.seconds.observe(took.as_secs_f64());
        match error {
            None => self.answered.inc(),
            Some(label) => self.fetches.with_label_values(&[&self.source, label]).inc(),
        }
    }

    /// Returns true at most once per second, to limit failure logs.
    pub fn may_log_failure(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        self.last_logged.swap(now, Ordering::Relaxed) != now
    }
}

impl FeatureCounters {
    /// Counts the issues of some entities.
    pub fn count<'a>(&self, entities: impl Iterator<Item = &'a FeatureIssues>) {
        let mut seen = 0;
        for notes in entities {
            seen += 1;
            let lists = notes.lists();
            for (status, list) in lists.iter().enumerate() {
                for &position in *list {
                    let feature = &self.features[position];
                    feature.others[status].inc();
                    // A feature may be in two lists: missing, and replaced by a default.
                    let counted = lists[..status].iter().any(|list| list.contains(&position));
                    if !counted {
                        feature.otherwise.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        self.entities.fetch_add(seen, Ordering::Relaxed);
    }

    /// Updates the counters of present features.
    pub fn update_present(&self) {
        let entities = self.entities.load(Ordering::Relaxed);
        for feature in &self.features {
            // In-flight requests count features before entities.
            let present = entities.saturating_sub(feature.otherwise.load(Ordering::Relaxed));
            let told = feature.told.fetch_max(present, Ordering::Relaxed);
            feature.present.inc_by(present.saturating_sub(told));
        }
    }
}

impl Drop for FeatureCounters {
    fn drop(&mut self) {
        self.update_present();
    }
}
