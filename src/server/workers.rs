//! Whether the workers of a runtime make progress. The runtime counts for each worker how often it parks and wakes, and how
//! long it was busy, at each park and after every few dozen tasks: a worker that is awake and changes neither is in one task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

/// Interval of the task that shows that tasks run at all.
const TICK: Duration = Duration::from_millis(100);

/// The workers of a runtime.
#[derive(Debug)]
pub(super) struct Workers {
    runtime: RuntimeMetrics,
    workers: Vec<Progress<(u64, Duration)>>,
    ticks: Arc<AtomicU64>,
    tick: Progress<u64>,
}

/// A sign of progress, and how long it has not changed.
#[derive(Debug, Default)]
struct Progress<T> {
    last: T,
    unchanged: Duration,
}

impl<T: PartialEq> Progress<T> {
    /// Takes the present sign, `since` after the last one.
    fn look(&mut self, now: T, since: Duration) {
        self.unchanged = if self.last == now {
            self.unchanged + since
        } else {
            Duration::ZERO
        };
        self.last = now;
    }
}

impl Workers {
    /// Begins to watch a runtime, with a task on it.
    pub(super) fn watch(runtime: &Handle) -> Self {
        let ticks = Arc::new(AtomicU64::new(0));
        let counter = ticks.clone();
        runtime.spawn(async move {
            loop {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(TICK).await;
            }
        });
        let metrics = runtime.metrics();
        let workers = (0..metrics.num_workers()).map(|_| Progress::default());
        Self {
            workers: workers.collect(),
            runtime: metrics,
            ticks,
            tick: Progress::default(),
        }
    }

    /// Looks at all workers, `since` after the last look.
    pub(super) fn look(&mut self, since: Duration) {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let parks = self.runtime.worker_park_unpark_count(number);
            worker.look((parks, self.runtime.worker_total_busy_duration(number)), since);
            // Parked: it waits for work.
            if parks % 2 == 1 {
                worker.unchanged = Duration::ZERO;
            }
        }
        self.tick.look(self.ticks.load(Ordering::Relaxed), since);
    }

    /// By worker, how long it has been stuck.
    pub(super) fn stuck(&self) -> impl Iterator<Item = Duration> {
        self.workers.iter().map(|worker| worker.unchanged)
    }

    /// How long ago the task last ran.
    pub(super) fn tick_age(&self) -> Duration {
        self.tick.unchanged
    }

    /// What has been stuck for `limit`.
    pub(super) fn reasons(&self, limit: Duration) -> Vec<String> {
        let ages = self.stuck().enumerate().filter(|(_, age)| *age >= limit);
        let mut reasons: Vec<String> = ages
            .map(|(number, age)| format!("worker {number} has been in one task for {} s", age.as_secs()))
            .collect();
        if self.tick_age() >= limit {
            let seconds = self.tick_age().as_secs();
            reasons.push(format!("no task has run for {seconds} s"));
        }
        reasons
    }
}

/// Blocks workers for real, for tests of the watchdog with a server: `BLOCK_WORKERS` is `COUNT:SECONDS`. Release builds do
/// not have it.
#[cfg(debug_assertions)]
pub(super) fn block_for_tests() {
    let Ok(wish) = std::env::var("BLOCK_WORKERS") else {
        return;
    };
    let numbers = wish
        .split_once(':')
        .and_then(|(count, seconds)| Some((count.parse::<usize>().ok()?, seconds.parse().ok()?)));
    let (count, seconds) = numbers.unwrap_or_default();
    for _ in 0..count {
        tokio::spawn(async move { std::thread::sleep(Duration::from_secs(seconds)) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    /// Looks until `done`, and says whether it came to be.
    fn look_until(workers: &mut Workers, done: impl Fn(&Workers) -> bool) -> bool {
        let (step, end) = (
            Duration::from_millis(100),
            Instant::now() + Duration::from_secs(60),
        );
        while !done(workers) && Instant::now() < end {
            std::thread::sleep(step);
            workers.look(step);
        }
        done(workers)
    }

    #[test]
    fn a_blocked_worker_is_stuck_until_it_goes_on() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut workers = Workers::watch(runtime.handle());
        let most = Duration::from_secs(1);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(50));
            workers.look(Duration::from_millis(50));
        }
        assert!(workers.reasons(most).is_empty());
        let (go_on, wait) = channel::<()>();
        runtime.spawn(async move {
            // Blocks the worker for real.
            let _ = wait.recv();
        });
        assert!(look_until(&mut workers, |workers| workers
            .stuck()
            .any(|age| age >= most)));
        assert_eq!(workers.stuck().filter(|age| *age >= most).count(), 1);
        assert!(!workers.reasons(most).is_empty());
        drop(go_on);
        assert!(look_until(&mut workers, |workers| workers
            .reasons(most)
            .is_empty()));
    }
}
