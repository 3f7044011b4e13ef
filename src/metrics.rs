//! The registry of metrics. Each subsystem declares its metrics on it once and keeps the handles, so that a request
//! never looks a metric up by name.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, HistogramOpts, Opts, TextEncoder};
pub use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Result,
    TEXT_FORMAT,
};

/// A declared metric, for reference pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDescription {
    /// The name, `evergreen_…`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of the labels.
    pub labels: Vec<String>,
    /// The help text.
    pub help: String,
}

/// Declares metrics and renders them for Prometheus. Cloning is cheap; clones share the metrics.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    registry: prometheus::Registry,
    declared: Arc<Mutex<Vec<MetricDescription>>>,
}

impl Registry {
    /// Creates a registry with the metrics of the process itself (memory, processor time, open files).
    ///
    /// # Errors
    /// The process metrics cannot be registered.
    pub fn with_process_metrics() -> Result<Self> {
        let registry = Self::default();
        registry
            .registry
            .register(Box::new(ProcessCollector::for_self()))?;
        Ok(registry)
    }

    /// Declares counters with these labels.
    ///
    /// # Errors
    /// The name or a label is not valid, or the name is declared already.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.declare("counter", name, help, labels, metric)
    }

    /// Declares one counter, without labels.
    ///
    /// # Errors
    /// The name is not valid or declared already.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        let metric = IntCounter::new(name, help)?;
        self.declare("counter", name, help, &[], metric)
    }

    /// Declares gauges of whole numbers with these labels.
    ///
    /// # Errors
    /// The name or a label is not valid, or the name is declared already.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.declare("gauge", name, help, labels, metric)
    }

    /// Declares one gauge of a whole number, without labels.
    ///
    /// # Errors
    /// The name is not valid or declared already.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        let metric = IntGauge::new(name, help)?;
        self.declare("gauge", name, help, &[], metric)
    }

    /// Declares gauges of floating-point numbers with these labels.
    ///
    /// # Errors
    /// The name or a label is not valid, or the name is declared already.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        let metric = GaugeVec::new(Opts::new(name, help), labels)?;
        self.declare("gauge", name, help, labels, metric)
    }

    /// Declares histograms with these labels and upper bounds of the buckets.
    ///
    /// # Errors
    /// The name, a label or the bounds are not valid, or the name is declared already.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let metric = HistogramVec::new(options, labels)?;
        self.declare("histogram", name, help, labels, metric)
    }

    /// Every metric declared so far, sorted by name; without those of the process itself.
    pub fn declared(&self) -> Vec<MetricDescription> {
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut declared = declared.clone();
        declared.sort_by(|a, b| a.name.cmp(&b.name));
        declared
    }

    /// Renders all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// A collector failed.
    pub fn render(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn declare<M: Collector + Clone + 'static>(
        &self,
        kind: &'static str,
        name: &str,
        help: &str,
        labels: &[&str],
        metric: M,
    ) -> Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        let description = MetricDescription {
            name: name.to_owned(),
            kind,
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            help: help.to_owned(),
        };
        self.declared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(description);
        Ok(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_metrics_are_rendered_and_listed() {
        let registry = Registry::default();
        let counters = registry
            .counters("b_total", "Things counted.", &["kind"])
            .unwrap();
        registry.gauge("a", "A level.").unwrap().set(3);
        counters.with_label_values(&["x"]).inc();
        let text = String::from_utf8(registry.render().unwrap()).unwrap();
        assert!(
            text.contains("b_total{kind=\"x\"} 1") && text.contains("a 3"),
            "{text}"
        );
        let names: Vec<String> = registry
            .declared()
            .into_iter()
            .map(|metric| metric.name)
            .collect();
        assert_eq!(names, ["a", "b_total"]);
        assert!(registry.gauge("a", "Again.").is_err());
    }
}
