//! Metrics of models on their way to answering. Set when something changes, never by a request.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::models::gate::Report;
use crate::models::status::{VersionState, VersionStatus};

/// The handles.
#[derive(Debug)]
pub struct ModelMetrics {
    live: GaugeVec,
    refused: GaugeVec,
    states: IntGaugeVec,
    default: IntGaugeVec,
    steps: IntCounterVec,
    step_seconds: GaugeVec,
    /// Versions taken back, by model and by whom: `operator` or `watch`.
    pub rollbacks: IntCounterVec,
    reachable: IntGauge,
    looks: IntCounter,
    failed_looks: IntCounter,
}

impl ModelMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name or label is not valid, or stands twice.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let whole = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let looks = counters(
            "evergreen_repository_looks_total",
            "Looks at the repository, by result: ok or failed.",
            &["result"],
        )?;
        let none: [&str; 0] = [];
        Ok(Self {
            live: gauges(
                "evergreen_model_live",
                "1 for each version that can answer.",
                &["model", "version"],
            )?,
            refused: gauges(
                "evergreen_model_refused_versions",
                "Versions of a model that the gate refused.",
                &["model"],
            )?,
            states: whole(
                "evergreen_model_versions",
                "Versions of a model by where they stand.",
                &["model", "state"],
            )?,
            default: whole(
                "evergreen_model_default_version",
                "The version that answers requests which name none.",
                &["model"],
            )?,
            steps: counters(
                "evergreen_gate_steps_total",
                "Steps of the gate taken, by outcome: passed, skipped or failed.",
                &["model", "step", "outcome"],
            )?,
            step_seconds: gauges(
                "evergreen_gate_step_seconds",
                "Seconds that a step of the gate took when it was last taken.",
                &["model", "step"],
            )?,
            rollbacks: counters(
                "evergreen_model_rollbacks_total",
                "Versions taken back, by whom: operator or watch.",
                &["model", "by"],
            )?,
            reachable: whole(
                "evergreen_repository_reachable",
                "1 when the repository could be listed at the last look.",
                &[],
            )?
            .with_label_values(&none),
            looks: looks.with_label_values(&["ok"]),
            failed_looks: looks.with_label_values(&["failed"]),
        })
    }

    /// Counts a look at the repository.
    pub fn looked(&self, ok: bool) {
        self.reachable.set(ok.into());
        if ok {
            self.looks.inc()
        } else {
            self.failed_looks.inc()
        }
    }

    /// Counts a version's way through the gate.
    pub fn judged(&self, model: &str, report: &Report) {
        for step in &report.steps {
            let label = step.step.label();
            self.steps
                .with_label_values(&[model, label, step.outcome.label()])
                .inc();
            self.step_seconds
                .with_label_values(&[model, label])
                .set(step.milliseconds / 1e3);
        }
    }

    /// Forgets a version that is not there any more.
    pub fn gone(&self, model: &str, version: u64) {
        // A series that was never there needs no removing.
        let _ = self.live.remove_label_values(&[model, &version.to_string()]);
    }

    /// Sets where a model's versions stand.
    pub fn states(&self, model: &str, live: Option<u64>, versions: &[VersionStatus]) {
        for status in versions {
            let number = status.version.to_string();
            if matches!(status.state, VersionState::Live | VersionState::Loaded) {
                self.live.with_label_values(&[model, &number]).set(1.0);
            } else {
                self.gone(model, status.version);
            }
        }
        for state in VersionState::ALL {
            let count = versions.iter().filter(|status| status.state == state).count();
            let gauge = self.states.with_label_values(&[model, state.label()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            if state == VersionState::Refused {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                self.refused.with_label_values(&[model]).set(count as f64);
            }
        }
        match live.and_then(|live| i64::try_from(live).ok()) {
            Some(live) => self.default.with_label_values(&[model]).set(live),
            None => {
                let _ = self.default.remove_label_values(&[model]);
            }
        }
    }
}
