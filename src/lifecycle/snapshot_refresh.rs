//! New customers while the server serves: looked for, read beside the old ones, and swapped whole if they pass.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::snapshot_loader::SnapshotPoll;
use crate::models::ModelVersion;
use crate::os;
use crate::scoring::Servable;

impl Lifecycle {
    /// The pace of looking for new customers; `None` for not at all.
    pub(super) fn customers_pace(&self) -> Option<Duration> {
        let seconds = self.customers_seconds;
        (seconds > 0.0 && self.feeder.location().is_some()).then(|| Duration::from_secs_f64(seconds))
    }

    /// Looks for new customers, and swaps them in if they may follow the old ones.
    pub(super) fn look_for_customers(&mut self) {
        let location = self.feeder.location().map(|path| path.display().to_string());
        let path = location.unwrap_or_default();
        let entry = match self.feeder.look() {
            Ok(SnapshotPoll::Same) => return self.metrics.models.snapshot_waits(false),
            Ok(SnapshotPoll::Waiting(reason)) => {
                tracing::info!(path, reason, "new customers are waited for");
                return self.metrics.models.snapshot_waits(true);
            }
            Ok(SnapshotPoll::New(entry)) => entry,
            Err(reason) => {
                tracing::warn!(
                    path,
                    reason,
                    "customers cannot be looked for; those in memory serve on"
                );
                return;
            }
        };
        self.metrics.models.snapshot_waits(false);
        let loaded: Vec<Arc<Servable>> = self.loaded().cloned().collect();
        let models: Vec<&ModelVersion> = loaded.iter().map(|served| &*served.model).collect();
        match self.feeder.read(entry, &models, &mut |_, _| {}) {
            Ok(()) => {
                self.plan_again();
                self.metrics.models.snapshot_taken(None);
                self.count_customers();
                let customers = self.feeder.snapshot().map_or(0, |snapshot| snapshot.len());
                tracing::info!(path, customers, "new customers");
                drop(loaded);
                self.publish();
            }
            Err(refusal) => {
                self.metrics.models.snapshot_taken(Some(refusal.kind));
                tracing::error!(
                    path,
                    kind = refusal.kind,
                    reason = refusal.reason,
                    "new customers refused; the old ones serve on"
                );
            }
        }
        os::release_memory();
    }

    /// Sets the metrics of the snapshot in memory.
    pub fn count_customers(&self) {
        if let Some(snapshot) = self.feeder.snapshot() {
            let (rows, ids) = snapshot.size_bytes();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            {
                self.metrics.snapshot_rows.set(snapshot.len() as f64);
                self.metrics.snapshot_bytes.set((rows + ids) as f64);
            }
        }
    }
}
