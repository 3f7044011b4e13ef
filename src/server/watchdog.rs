//! The watchdog: a plain thread that looks at the background threads and at the workers of the runtime four times a second.
//! It needs no worker itself, so it notices when all of them are stuck.
//!
//! A late thread makes the server unready until it has finished. A thread that panicked ends the server: its state is lost,
//! and a server that no longer loads or rolls back must not stay. It drains first, since the live models still answer.
//! A stuck worker fails `/livez`; if all are stuck, nothing can drain, and the process ends at once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::workers::Workers;
use crate::heartbeat::{Beat, Heartbeats};
use crate::log;
use crate::metrics::{Gauge, GaugeVec, Registry, Result as MetricsResult};
use crate::os;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// The most that one look counts for: the machine may have stopped this process in between.
const LONGEST_INTERVAL: Duration = Duration::from_millis(500);

/// Ages at which a stuck worker is logged, fails `/livez`, and, if all are stuck, ends the process.
const LOGGED: Duration = Duration::from_secs(1);
const NOT_LIVE: Duration = Duration::from_secs(5);
const HOPELESS: Duration = Duration::from_secs(20);

/// Exit code of a server that ended itself.
pub const FAILED_CODE: u8 = 4;

/// The metrics of threads and workers.
#[derive(Clone, Debug)]
pub(super) struct WatchdogMetrics {
    threads: GaugeVec,
    workers: GaugeVec,
    tick: Gauge,
}

impl WatchdogMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// The metrics are already declared.
    pub(super) fn new(registry: &Registry) -> MetricsResult<Self> {
        Ok(Self {
            threads: registry.float_gauges(
                "evergreen_thread_busy_seconds",
                "How long a background thread has been in its present stage of work; 0 while it waits for work.",
                &["thread"],
            )?,
            workers: registry.float_gauges(
                "evergreen_worker_stuck_seconds",
                "How long a worker of the runtime has made no progress on one task; 0 if it works or waits.",
                &["worker"],
            )?,
            tick: registry
                .float_gauges(
                    "evergreen_runtime_tick_age_seconds",
                    "Age of the last run of a task that is due ten times a second.",
                    &[],
                )?
                .with_label_values::<&str>(&[]),
        })
    }
}

/// Says when the server must end itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure {
    reason: Arc<OnceLock<String>>,
    token: CancellationToken,
}

impl Failure {
    /// Waits until the server must end itself, and returns why.
    pub(super) async fn occurred(&self) -> String {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }

    /// Whether somebody else holds it.
    fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.reason) > 1
    }

    fn set(&self, reason: String) {
        // The first reason counts.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }
}

/// Starts the watchdog of a server. Called on the runtime to watch. It watches until the failure is dropped.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn start(heartbeats: Heartbeats, metrics: WatchdogMetrics) -> std::io::Result<Failure> {
    let failure = Failure::default();
    let mut watchdog = Watchdog {
        heartbeats,
        metrics,
        workers: Workers::watch(&Handle::current()),
        failure: failure.clone(),
        reported: Vec::new(),
        stuck: false,
    };
    let run = move || {
        let mut last = Instant::now();
        // Without a server that waits for it there is nothing to watch.
        while watchdog.failure.is_awaited() {
            std::thread::sleep(INTERVAL);
            let since = last.elapsed().min(LONGEST_INTERVAL);
            last = Instant::now();
            watchdog.look_at_threads();
            watchdog.look_at_workers(since);
        }
    };
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(run)?;
    Ok(failure)
}

#[derive(Debug)]
struct Watchdog {
    heartbeats: Heartbeats,
    metrics: WatchdogMetrics,
    workers: Workers,
    failure: Failure,
    /// The troubles that are logged and not over.
    reported: Vec<(&'static str, String)>,
    /// Whether a stuck worker is logged and not over.
    stuck: bool,
}

impl Watchdog {
    fn look_at_threads(&mut self) {
        let beats = self.heartbeats.beats();
        for beat in &beats {
            let seconds = self.metrics.threads.with_label_values(&[beat.name]);
            seconds.set(beat.busy.as_secs_f64());
            if let Some(reason) = &beat.fatal {
                self.failure.set(reason.clone());
            }
        }
        self.report(&beats);
    }

    /// Logs each trouble once, and its end.
    fn report(&mut self, beats: &[Beat]) {
        let troubles = beats
            .iter()
            .filter_map(|beat| Some((beat.name, beat.fatal.clone().or_else(|| beat.trouble.clone())?)));
        let troubles: Vec<(&'static str, String)> = troubles.collect();
        for (thread, reason) in &troubles {
            if !self.reported.iter().any(|(known, _)| known == thread) {
                tracing::error!(thread, reason, "background thread in trouble");
            }
        }
        for (thread, _) in &self.reported {
            if !troubles.iter().any(|(known, _)| known == thread) {
                tracing::info!(thread, "background thread works again");
            }
        }
        self.reported = troubles;
    }

    fn look_at_workers(&mut self, since: Duration) {
        self.workers.look(since);
        for (number, age) in self.workers.stuck().enumerate() {
            let seconds = self.metrics.workers.with_label_values(&[number.to_string()]);
            seconds.set(age.as_secs_f64());
        }
        self.metrics.tick.set(self.workers.tick_age().as_secs_f64());
        let stuck = self.workers.reasons(LOGGED);
        if self.stuck == stuck.is_empty() {
            self.stuck = !self.stuck;
            if self.stuck {
                tracing::error!(workers = stuck.join("; "), "worker threads are stuck");
            } else {
                tracing::info!("worker threads work again");
            }
        }
        self.heartbeats.set_stuck(self.workers.reasons(NOT_LIVE));
        if self.workers.stuck().all(|age| age >= HOPELESS) {
            let seconds = HOPELESS.as_secs();
            tracing::error!(seconds, "all worker threads are stuck, ending the process");
            log::flush();
            os::exit_now(FAILED_CODE.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicked_thread_is_the_failure_and_a_late_one_is_trouble() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _context = runtime.enter();
        let (registry, heartbeats) = (Registry::default(), Heartbeats::default());
        let metrics = WatchdogMetrics::new(&registry).unwrap();
        let failure = start(heartbeats.clone(), metrics).unwrap();
        let loader = heartbeats.watch("lifecycle");
        let busy = loader.begin("loading churn 3", Some(Duration::ZERO));
        assert_eq!(heartbeats.troubles().len(), 1);
        drop(busy);
        let thread = std::thread::spawn(move || {
            let _busy = loader.begin("loading churn 4", None);
            panic!("a test");
        });
        assert!(thread.join().is_err());
        let reason = runtime.block_on(failure.occurred());
        assert!(reason.contains("loading churn 4"), "{reason}");
    }
}
