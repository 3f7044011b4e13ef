//! Metrics of feature stores, their caches, and of what became of each feature.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::features::remote::CacheLookup;
use crate::values::issues::{FeatureIssues, STATUSES};

/// From a store on the same host to one that has gone to sleep.
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
    complained: Arc<AtomicU64>,
}

/// The counts of one version. Nearly every feature is present, so presence is worked out from the rest when somebody
/// looks: an entity about which nothing is to be said costs one addition.
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
    /// Entities where something else became of it than being present.
    otherwise: AtomicU64,
    /// Entities where it was present that are in `present` already.
    told: AtomicU64,
}

impl FeatureMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// One of that name is registered already.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let gauges = |name: &str, help: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["source"])?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let help = "Seconds of a fetch from a feature store, with its second attempt.";
        let options = HistogramOpts::new("evergreen_source_seconds", help).buckets(SECONDS.to_vec());
        let seconds = HistogramVec::new(options, &["source"])?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            fetches: counters(
                "evergreen_source_fetches_total",
                "Fetches from a feature store: ok, dropped, failed, timed_out, or open (not asked, for it failed too often).",
                &["source", "result"],
            )?,
            seconds,
            cache: counters(
                "evergreen_source_cache_total",
                "Look-ups in the cache of a feature store: hit, ageing (answered, and fetched anew) or miss.",
                &["source", "result"],
            )?,
            entries: gauges(
                "evergreen_source_cache_entries",
                "Entities in the cache of a feature store.",
            )?,
            bytes: gauges(
                "evergreen_source_cache_bytes",
                "Bytes in the cache of a feature store.",
            )?,
            status: counters(
                "evergreen_features_total",
                "Features of scored entities, by what became of them.",
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
            complained: Arc::default(),
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
    /// Counts a look-up in the cache.
    pub fn count(&self, found: &CacheLookup) {
        match found {
            CacheLookup::Fresh(_) => self.hit.inc(),
            CacheLookup::Ageing(_) => self.ageing.inc(),
            CacheLookup::Miss => self.miss.inc(),
        }
    }

    /// Counts a fetch; `error` is the label of what went wrong.
    pub fn fetched(&self, took: Duration, error: Option<&str>) {
        self.seconds.observe(took.as_secs_f64());
        match error {
            None => self.answered.inc(),
            Some(label) => self.fetches.with_label_values(&[&self.source, label]).inc(),
        }
    }

    /// Whether the log may be told of a failure: once in a second.
    pub fn may_complain(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        self.complained.swap(now, Ordering::Relaxed) != now
    }
}

impl FeatureCounters {
    /// Counts what became of the features of some entities.
    pub fn count<'a>(&self, entities: impl Iterator<Item = &'a FeatureIssues>) {
        let mut seen = 0;
        for notes in entities {
            seen += 1;
            let lists = notes.lists();
            for (status, list) in lists.iter().enumerate() {
                for &position in *list {
                    let feature = &self.features[position];
                    feature.others[status].inc();
                    // A feature may be in two lists: missing, and a default in its place.
                    let counted = lists[..status].iter().any(|list| list.contains(&position));
                    if !counted {
                        feature.otherwise.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        self.entities.fetch_add(seen, Ordering::Relaxed);
    }

    /// Brings the counters of what was present up to date.
    pub fn settle(&self) {
        let entities = self.entities.load(Ordering::Relaxed);
        for feature in &self.features {
            // A request under way may have counted its features, and not yet itself.
            let present = entities.saturating_sub(feature.otherwise.load(Ordering::Relaxed));
            let told = feature.told.fetch_max(present, Ordering::Relaxed);
            feature.present.inc_by(present.saturating_sub(told));
        }
    }
}

impl Drop for FeatureCounters {
    fn drop(&mut self) {
        self.settle();
    }
}
