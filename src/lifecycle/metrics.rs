//! Metrics of models and snapshots on their way to serving. They change with the repository, never with a request.

use crate::features::snapshot::Snapshot;
use crate::metrics::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};
use crate::models::report::GateReport;
use crate::models::status::{VersionState, VersionStatus};
use crate::values::time;

/// Handles of the lifecycle's metrics.
#[derive(Debug)]
pub(super) struct LifecycleMetrics {
    versions: VersionMetrics,
    gate: GateMetrics,
    repository: RepositoryMetrics,
    snapshot: SnapshotMetrics,
}

/// The versions of each model.
#[derive(Debug)]
struct VersionMetrics {
    live: GaugeVec,
    refused: GaugeVec,
    states: IntGaugeVec,
    default: IntGaugeVec,
    rollbacks: IntCounterVec,
}

/// What the gate found.
#[derive(Debug)]
struct GateMetrics {
    steps: IntCounterVec,
    seconds: GaugeVec,
    given_up: IntCounter,
}

/// Polls of the repository.
#[derive(Debug)]
struct RepositoryMetrics {
    reachable: IntGauge,
    ok: IntCounter,
    failed: IntCounter,
}

/// The snapshot in memory and those that may replace it.
#[derive(Debug)]
struct SnapshotMetrics {
    rows: Gauge,
    bytes: Gauge,
    /// Of the newest row.
    as_of: Gauge,
    loaded: Gauge,
    reads: IntCounterVec,
    refused: IntGaugeVec,
    waiting: IntGauge,
}

impl VersionMetrics {
    fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            live: registry.float_gauges(
                "evergreen_model_live",
                "1 for each version that can answer.",
                &["model", "version"],
            )?,
            refused: registry.float_gauges(
                "evergreen_model_refused_versions",
                "Versions of a model that the gate refused.",
                &["model"],
            )?,
            states: registry.gauges(
                "evergreen_model_versions",
                "Versions of a model, by lifecycle state.",
                &["model", "state"],
            )?,
            default: registry.gauges(
                "evergreen_model_default_version",
                "The version that answers requests without a version or label.",
                &["model"],
            )?,
            rollbacks: registry.counters(
                "evergreen_model_rollbacks_total",
                "Versions rolled back, by cause (operator, watch).",
                &["model", "by"],
            )?,
        })
    }
}

impl GateMetrics {
    fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            steps: registry.counters(
                "evergreen_gate_steps_total",
                "Steps of the gate, by outcome (passed, skipped, failed).",
                &["model", "step", "outcome"],
            )?,
            seconds: registry.float_gauges(
                "evergreen_gate_step_seconds",
                "Duration of the last run of each gate step, in seconds.",
                &["model", "step"],
            )?,
            given_up: registry.counter(
                "evergreen_loads_given_up_total",
                "Loads of a version or a snapshot that took longer than models.load_seconds.",
            )?,
        })
    }
}

impl RepositoryMetrics {
    fn new(registry: &Registry) -> Result<Self> {
        let polls = registry.counters(
            "evergreen_repository_looks_total",
            "Repository polls, by result (ok, failed).",
            &["result"],
        )?;
        Ok(Self {
            reachable: registry.gauge(
                "evergreen_repository_reachable",
                "1 if the last poll could list the repository.",
            )?,
            ok: polls.with_label_values(&["ok"]),
            failed: polls.with_label_values(&["failed"]),
        })
    }
}

impl SnapshotMetrics {
    fn new(registry: &Registry) -> Result<Self> {
        let none: [&str; 0] = [];
        let gauge = |name, help| {
            let gauges = registry.float_gauges(name, help, &none)?;
            Ok::<_, prometheus::Error>(gauges.with_label_values(&none))
        };
        Ok(Self {
            rows: gauge("evergreen_snapshot_rows", "Rows of the snapshot.")?,
            bytes: gauge("evergreen_snapshot_bytes", "Bytes of the snapshot in memory.")?,
            as_of: gauge(
                "evergreen_snapshot_as_of_timestamp_seconds",
                "The latest as_of time of the snapshot's rows, in seconds since 1970; 0 without one.",
            )?,
            loaded: gauge(
                "evergreen_snapshot_loaded_timestamp_seconds",
                "When the snapshot was taken into use, in seconds since 1970; 0 without a snapshot.",
            )?,
            reads: registry.counters(
                "evergreen_snapshot_reads_total",
                "Snapshots read while serving, by result (taken, or refused: unreadable, rows, nulls, ranges).",
                &["result"],
            )?,
            refused: registry.gauges(
                "evergreen_snapshot_refused",
                "1 while the newest snapshot is refused and the previous one stays in use, by reason (unreadable, rows, nulls, ranges).",
                &["reason"],
            )?,
            waiting: registry.gauge(
                "evergreen_snapshot_waiting",
                "1 while a new snapshot is being written.",
            )?,
        })
    }
}

impl LifecycleMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            versions: VersionMetrics::new(registry)?,
            gate: GateMetrics::new(registry)?,
            repository: RepositoryMetrics::new(registry)?,
            snapshot: SnapshotMetrics::new(registry)?,
        })
    }

    /// Sets whether a snapshot is being written.
    pub(super) fn snapshot_waits(&self, waits: bool) {
        self.snapshot.waiting.set(waits.into());
    }

    /// Counts a snapshot that was read: taken, or refused for a reason.
    pub(super) fn snapshot_read(&self, refused: Option<&str>) {
        self.snapshot.refused.reset();
        if let Some(reason) = refused {
            self.snapshot.refused.with_label_values(&[reason]).set(1);
        }
        let result = refused.unwrap_or("taken");
        self.snapshot.reads.with_label_values(&[result]).inc();
    }

    /// Sets the size of the snapshot in memory.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(super) fn snapshot_size(&self, snapshot: &Snapshot) {
        let (rows, ids) = snapshot.size_bytes();
        self.snapshot.rows.set(snapshot.len() as f64);
        self.snapshot.bytes.set((rows + ids) as f64);
        let times = (0..snapshot.len()).filter_map(|row| snapshot.as_of(row));
        self.snapshot.as_of.set(times.fold(0.0, f64::max));
        self.snapshot.loaded.set(time::now());
    }

    /// Counts a load that took too long.
    pub(super) fn loads_given_up(&self) {
        self.gate.given_up.inc();
    }

    /// Counts a poll of the repository.
    pub(super) fn polled(&self, ok: bool) {
        self.repository.reachable.set(ok.into());
        if ok {
            self.repository.ok.inc();
        } else {
            self.repository.failed.inc();
        }
    }

    /// Counts the steps of the gate that a version went through.
    pub(super) fn validated(&self, model: &str, report: &GateReport) {
        for step in &report.steps {
            let (label, outcome) = (step.step.label(), step.outcome.label());
            self.gate.steps.with_label_values(&[model, label, outcome]).inc();
            self.gate
                .seconds
                .with_label_values(&[model, label])
                .set(step.milliseconds / 1e3);
        }
    }

    /// Counts a rollback, by `operator` or `watch`.
    pub(super) fn rolled_back(&self, model: &str, by: &str) {
        self.versions.rollbacks.with_label_values(&[model, by]).inc();
    }

    /// Removes the series of a version that is gone.
    pub(super) fn gone(&self, model: &str, version: u64) {
        // A version that never was live has no series.
        let _ = self
            .versions
            .live
            .remove_label_values(&[model, &version.to_string()]);
    }

    /// Sets the states of a model's versions.
    pub(super) fn states(&self, model: &str, live: Option<u64>, versions: &[VersionStatus]) {
        for status in versions {
            let number = status.version.to_string();
            if matches!(status.state, VersionState::Live | VersionState::Loaded) {
                self.versions.live.with_label_values(&[model, &number]).set(1.0);
            } else {
                self.gone(model, status.version);
            }
        }
        for state in VersionState::ALL {
            let count = versions.iter().filter(|status| status.state == state).count();
            let gauge = self.versions.states.with_label_values(&[model, state.label()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            if state == VersionState::Refused {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                self.versions
                    .refused
                    .with_label_values(&[model])
                    .set(count as f64);
            }
        }
        match live.and_then(|live| i64::try_from(live).ok()) {
            Some(live) => self.versions.default.with_label_values(&[model]).set(live),
            None => {
                // A model without a live version may never have had one.
                let _ = self.versions.default.remove_label_values(&[model]);
            }
        }
    }
}
