//! Metrics of models on their way to answering. Set when something changes, never by a request.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::models::gate::GateReport;
use crate::models::status::{VersionState, VersionStatus};
use crate::scoring::rollout::comparison::{EDGES, TrialCounters, TrialKind};

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
    snapshots: IntCounterVec,
    snapshot_refused: IntGaugeVec,
    snapshot_waiting: IntGauge,
    compared: IntCounterVec,
    differences: HistogramVec,
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
        let options = HistogramOpts::new(
            "evergreen_trial_score_difference",
            "The candidate's score less that of the version that answers.",
        );
        let labels = ["model", "kind", "base", "candidate"];
        let differences = HistogramVec::new(options.buckets(EDGES.to_vec()), &labels)?;
        registry.register(Box::new(differences.clone()))?;
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
            snapshots: counters(
                "evergreen_snapshot_reads_total",
                "Snapshots read while serving: taken, or why refused: unreadable, rows, nulls, ranges.",
                &["result"],
            )?,
            snapshot_refused: whole(
                "evergreen_snapshot_refused",
                "1 while a snapshot is there that was refused, by the reason; the one before serves on.",
                &["reason"],
            )?,
            snapshot_waiting: whole(
                "evergreen_snapshot_waiting",
                "1 while a new snapshot is being written.",
                &[],
            )?
            .with_label_values(&none),
            compared: counters(
                "evergreen_trial_entities_total",
                "Entities scored by two versions, by what came of it: same_band, up, down, failed or dropped.",
                &["model", "kind", "base", "candidate", "result"],
            )?,
            differences,
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

    /// The handles of a comparison.
    pub fn comparison(&self, model: &str, kind: TrialKind, base: u64, candidate: u64) -> TrialCounters {
        let (base, candidate) = (base.to_string(), candidate.to_string());
        let labels = [model, kind.label(), &base, &candidate];
        let count = |result| {
            let [model, kind, base, candidate] = labels;
            self.compared
                .with_label_values(&[model, kind, base, candidate, result])
        };
        TrialCounters {
            same_band: count("same_band"),
            up: count("up"),
            down: count("down"),
            failed: count("failed"),
            dropped: count("dropped"),
            difference: self.differences.with_label_values(&labels),
        }
    }

    /// Says whether a snapshot is being written.
    pub fn snapshot_waits(&self, waits: bool) {
        self.snapshot_waiting.set(waits.into());
    }

    /// Counts a snapshot that was taken, or refused for a reason.
    pub fn snapshot_taken(&self, refused: Option<&str>) {
        self.snapshot_refused.reset();
        if let Some(reason) = refused {
            self.snapshot_refused.with_label_values(&[reason]).set(1);
        }
        self.snapshots
            .with_label_values(&[refused.unwrap_or("taken")])
            .inc();
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
    pub fn judged(&self, model: &str, report: &GateReport) {
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
