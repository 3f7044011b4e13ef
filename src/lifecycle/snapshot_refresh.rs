//! Replaces the snapshot while the server runs: polls for a new one, reads it beside the present one, and swaps.

use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::snapshot_loader::SnapshotPoll;
use crate::lifecycle::validation::versions_of;
use crate::os;

impl Lifecycle {
    /// The interval between polls of the snapshot; `None` for no polls.
    pub(super) fn snapshot_interval(&self) -> Option<Duration> {
        let seconds = self.snapshot_seconds;
        (seconds > 0.0 && self.snapshot.location().is_some()).then(|| Duration::from_secs_f64(seconds))
    }

    /// Polls for a new snapshot, and takes it if it may replace the present one.
    pub(super) fn refresh_snapshot(&mut self) {
        let location = self.snapshot.location().map(|path| path.display().to_string());
        let path = location.unwrap_or_default();
        let entry = match self.snapshot.poll() {
            Ok(SnapshotPoll::Same) => return self.metrics.snapshot_waits(false),
            Ok(SnapshotPoll::Waiting(reason)) => {
                tracing::info!(path, reason, "waiting for a new snapshot");
                if self.snapshot.snapshot().is_none() {
                    // Readiness names the cause.
                    self.activate();
                }
                return self.metrics.snapshot_waits(true);
            }
            Ok(SnapshotPoll::New(entry)) => entry,
            Err(reason) => {
                tracing::warn!(path, reason, "snapshot poll failed, keeping the present snapshot");
                return;
            }
        };
        self.metrics.snapshot_waits(false);
        let loaded = self.loaded();
        match self.snapshot.read(entry, &versions_of(&loaded), &mut |_, _| {}) {
            Ok(()) => {
                self.replan();
                self.metrics.snapshot_read(None);
                self.measure_snapshot();
                let customers = self.snapshot.snapshot().map_or(0, |snapshot| snapshot.len());
                tracing::info!(path, customers, "new snapshot live");
                drop(loaded);
                self.activate();
            }
            Err(refusal) => {
                tracing::error!(
                    path,
                    kind = refusal.kind,
                    reason = refusal.reason,
                    "snapshot rejected, keeping the previous one"
                );
                self.metrics.snapshot_read(Some(refusal.kind));
            }
        }
        os::release_memory();
    }

    /// Sets the metrics of the snapshot in memory.
    pub fn measure_snapshot(&self) {
        if let Some(snapshot) = self.snapshot.snapshot() {
            self.metrics.snapshot_size(snapshot);
        }
    }
}
