//! Replaces the snapshot while the server runs: polls for a new one, reads it beside the present one, and swaps.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::snapshot_loader::SnapshotPoll;
use crate::lifecycle::snapshot_profile::SnapshotRejection;
use crate::lifecycle::validation::{borrowed, versions_of};
use crate::models::ModelVersion;
use crate::os;
use crate::storage::Listing;

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
        let polled =
            self.load_with_snapshot("listing the snapshot", &mut |_, _| {}, |loader, _| loader.poll());
        let entry = match polled.flatten() {
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
        if self.snapshot.forget_previous() {
            // Otherwise three of them would be in memory.
            self.replan();
            self.activate();
        }
        let loaded = self.loaded();
        match self.read_snapshot(entry, versions_of(&loaded)) {
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

    fn read_snapshot(
        &mut self,
        entry: Listing,
        models: Vec<Arc<ModelVersion>>,
    ) -> Result<(), SnapshotRejection> {
        let again = entry.clone();
        let read = self.load_with_snapshot("reading the snapshot", &mut |_, _| {}, move |loader, report| {
            loader.read(entry, &borrowed(&models), report)
        });
        read.unwrap_or_else(|reason| {
            self.snapshot.give_up(again);
            Err(SnapshotRejection::new("unreadable", reason))
        })
    }

    /// Sets the metrics of the snapshot in memory.
    pub fn measure_snapshot(&self) {
        if let Some(snapshot) = self.snapshot.snapshot() {
            self.metrics.snapshot_size(snapshot);
        }
    }
}
