//! Metrics of the prediction log.

use crate::metrics::{Gauge, IntCounter, IntCounterVec, Registry, Result};

/// Why rows are not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The queue was full.
    Queue,
    /// `limits.memory` was in use.
    Memory,
    /// The disk or folder could not be written for too long.
    Write,
    /// `spool_bytes` of files wait for their upload.
    Spool,
    /// An earlier process was killed.
    Killed,
}

impl Loss {
    const ALL: [Self; 5] = [Self::Queue, Self::Memory, Self::Write, Self::Spool, Self::Killed];

    /// The name in metrics and in the log.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Memory => "memory",
            Self::Write => "write",
            Self::Spool => "spool",
            Self::Killed => "killed",
        }
    }
}

/// Handles of the prediction log's metrics.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    rows: IntCounter,
    lost: IntCounterVec,
    failures: IntCounterVec,
    share: Gauge,
}

impl LogMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub fn new(registry: &Registry) -> Result<Self> {
        let rows = registry.counter(
            "evergreen_prediction_log_rows_total",
            "Rows of the prediction log in complete files.",
        )?;
        let help = "Rows missing in the prediction log, by reason (queue: the queue was full; memory: limits.memory was in \
                    use; write: files could not be written; spool: spool_bytes wait for their upload; killed: about this \
                    many were lost when an earlier process was killed).";
        let lost = registry.counters("evergreen_prediction_log_lost_rows_total", help, &["reason"])?;
        let help = "Failed attempts of the prediction log, by stage (write, upload); each is tried again.";
        let failures = registry.counters("evergreen_prediction_log_failures_total", help, &["stage"])?;
        // Series exist from the start, so that an alert sees the first rise.
        for loss in Loss::ALL {
            lost.with_label_values(&[loss.label()]);
        }
        for stage in ["write", "upload"] {
            failures.with_label_values(&[stage]);
        }
        let share = registry
            .float_gauges(
                "evergreen_prediction_log_share",
                "Share of the entities that is logged now: prediction_log.sample, or less while more than \
                 prediction_log.most_rows_per_second would come.",
                &[],
            )?
            .with_label_values::<&str>(&[]);
        Ok(Self {
            rows,
            lost,
            failures,
            share,
        })
    }

    /// Sets the share that is logged.
    pub(super) fn set_share(&self, share: f64) {
        self.share.set(share);
    }

    /// Counts rows in a complete file.
    pub(super) fn written(&self, rows: u64) {
        self.rows.inc_by(rows);
    }

    /// Counts rows that will not be in the log.
    pub(super) fn lost(&self, loss: Loss, rows: u64) {
        self.lost.with_label_values(&[loss.label()]).inc_by(rows);
    }

    /// The rows of this process that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        let here = Loss::ALL.iter().filter(|loss| **loss != Loss::Killed);
        here.map(|loss| self.lost.with_label_values(&[loss.label()]).get())
            .sum()
    }

    /// The rows of this process in complete files.
    pub(super) fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// Counts a failed attempt.
    pub(super) fn failed(&self, stage: &str) {
        self.failures.with_label_values(&[stage]).inc();
    }
}
