//! What the lifecycle lets workers do: validate versions, read the snapshot, and read and write the repository. Each has a
//! limit of time, and the watchdog sees it.

use std::sync::Arc;
use std::time::Duration;

use super::Lifecycle;
use super::snapshot_loader::SnapshotLoader;
use super::time_limit::{Report, Terms, Unfinished};
use crate::models::repository::Repository;

/// Limit for listing the repository, for reading or writing a small file in it, and for what else the lifecycle thread does
/// between loads.
pub(super) const SHORT_LIMIT: Duration = Duration::from_secs(60);

/// So many loads that hang at once end the server: each may hold the memory of a model.
const MOST_HANGING: usize = 3;

impl Lifecycle {
    /// The limit of a load, `models.load_seconds`; `None` for none.
    pub(super) fn load_limit(&self) -> Option<Duration> {
        let seconds = self.settings.load_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// Loads something of about this many bytes, which requests have to do without meanwhile: `work` may take
    /// `models.load_seconds`.
    ///
    /// # Errors
    /// It took longer or panicked; the message says so.
    pub(super) fn limited<T: Send + 'static>(
        &self,
        what: &str,
        bytes: u64,
        report: &mut Report<'_>,
        work: impl FnOnce(&mut Report<'_>) -> T + Send + 'static,
    ) -> Result<T, String> {
        let held = self
            .memory
            .reserve_anyway(usize::try_from(bytes).unwrap_or(usize::MAX / 2));
        let work = move |report: &mut Report<'_>| {
            let result = work(report);
            drop(held);
            result
        };
        let limit = self.load_limit();
        let _busy = self.heartbeat.begin(what, limit);
        let terms = Terms {
            limit,
            behind_requests: self.activator.is_attached(),
        };
        let result = self.workers.run(terms, report, work);
        if let Err(Unfinished::Late(limit)) = result {
            let (hanging, seconds) = (self.workers.left_behind(), limit.as_secs());
            tracing::error!(what, seconds, hanging, "load given up, its thread is left behind");
            self.metrics.loads_given_up();
            if hanging >= MOST_HANGING {
                self.heartbeat.set_fatal(format!(
                    "{hanging} loads hang (models.load_seconds); the last is {what}"
                ));
            }
        }
        result.map_err(|error| match error {
            Unfinished::Late(_) => format!("{error} (models.load_seconds)"),
            _ => error.to_string(),
        })
    }

    /// Lets the snapshot loader work on a copy of itself, which then takes its place.
    ///
    /// # Errors
    /// As [`Self::limited`]; the loader stays as it was.
    pub(super) fn load_with_snapshot<T: Send + 'static>(
        &mut self,
        what: &str,
        report: &mut Report<'_>,
        work: impl FnOnce(&mut SnapshotLoader, &mut Report<'_>) -> T + Send + 'static,
    ) -> Result<T, String> {
        let mut loader = self.snapshot.clone();
        let work = move |report: &mut Report<'_>| {
            let result = work(&mut loader, report);
            (loader, result)
        };
        let bytes = self.snapshot.bytes();
        let (loader, result) = self.limited(what, bytes, report, work)?;
        self.snapshot = loader;
        Ok(result)
    }

    /// Works with the repository, in a short time. While one call hangs, others fail at once: a file system that is away
    /// shall cost one thread, and no server.
    ///
    /// # Errors
    /// The error of `work`, or it took too long.
    pub(super) fn with_repository<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Repository) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if self.repository_workers.left_behind() > 0 {
            return Err("an earlier call has not returned; is its file system away?".to_owned());
        }
        let repository = Arc::clone(&self.repository);
        let _busy = self.heartbeat.begin(what, None);
        let terms = Terms {
            limit: Some(SHORT_LIMIT),
            behind_requests: self.activator.is_attached(),
        };
        let done = self
            .repository_workers
            .run(terms, &mut |_, _| {}, move |_| work(&repository));
        done.unwrap_or_else(|error| Err(error.to_string()))
    }
}
