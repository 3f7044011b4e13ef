//! What the background threads of a server are doing, for its watchdog: each says which stage of its work it is in and how
//! long that may take. A thread that panics leaves that behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The background threads of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats {
    threads: Arc<Mutex<Vec<Arc<Watched>>>>,
    /// The workers of the runtime that are stuck, as sentences.
    stuck: Arc<Mutex<Vec<String>>>,
}

/// The heartbeat of one thread or task, which owns it. Dropping it means that the thread has ended.
#[derive(Debug)]
pub struct Heartbeat {
    watched: Arc<Watched>,
    heartbeats: Heartbeats,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    stage: Option<Stage>,
    /// Something that makes the server unready although the thread works.
    trouble: Option<String>,
    /// Why the server must end.
    fatal: Option<String>,
}

#[derive(Clone, Debug)]
struct Stage {
    what: String,
    start: Instant,
    limit: Option<Duration>,
}

/// Ends a stage when it is dropped; the stage around it goes on, and its clock has stood still meanwhile.
#[derive(Debug)]
#[must_use]
pub struct Busy {
    watched: Arc<Watched>,
    around: Option<Stage>,
}

/// A thread at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// The name of the thread.
    pub name: &'static str,
    /// How long it has been in its stage; zero if it waits for work.
    pub busy: Duration,
    /// Why the server is not ready, if it is because of this thread.
    pub trouble: Option<String>,
    /// Why the server must end, if it must because of this thread.
    pub fatal: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heartbeats {
    /// Begins to watch a thread.
    pub fn watch(&self, name: &'static str) -> Heartbeat {
        let watched = Arc::new(Watched {
            name,
            state: Mutex::default(),
        });
        lock(&self.threads).push(watched.clone());
        Heartbeat {
            watched,
            heartbeats: self.clone(),
        }
    }

    /// All threads at this moment.
    pub fn beats(&self) -> Vec<Beat> {
        lock(&self.threads).iter().map(|watched| watched.beat()).collect()
    }

    /// Sets which workers of the runtime are stuck, as sentences.
    pub fn set_stuck(&self, workers: Vec<String>) {
        *lock(&self.stuck) = workers;
    }

    /// Why the server is not live: the workers of the runtime that are stuck.
    pub fn stuck(&self) -> Vec<String> {
        lock(&self.stuck).clone()
    }

    /// Why the server is not ready: the threads that are late, dead or in trouble.
    pub fn troubles(&self) -> Vec<String> {
        let beats = self.beats().into_iter();
        beats.filter_map(|beat| beat.fatal.or(beat.trouble)).collect()
    }
}

impl Watched {
    fn beat(&self) -> Beat {
        let state = lock(&self.state).clone();
        let busy = state.stage.as_ref().map(|stage| stage.start.elapsed());
        let late = state.stage.as_ref().and_then(|stage| stage.late(self.name));
        Beat {
            name: self.name,
            busy: busy.unwrap_or_default(),
            trouble: late.or(state.trouble),
            fatal: state.fatal,
        }
    }
}

impl Stage {
    fn late(&self, name: &str) -> Option<String> {
        let limit = self.limit.filter(|limit| self.start.elapsed() > *limit)?;
        Some(format!(
            "the thread `{name}` has not finished after {} s: {}",
            limit.as_secs(),
            self.what
        ))
    }
}

impl Heartbeat {
    /// Begins a stage, such as `loading churn 3`, that should take no longer than `limit`.
    pub fn begin(&self, what: impl Into<String>, limit: Option<Duration>) -> Busy {
        let stage = Stage {
            what: what.into(),
            start: Instant::now(),
            limit,
        };
        Busy {
            around: lock(&self.watched.state).stage.replace(stage),
            watched: self.watched.clone(),
        }
    }

    /// Sets why the server is not ready because of this thread; `None` if nothing is wrong.
    pub fn set_trouble(&self, trouble: Option<String>) {
        lock(&self.watched.state).trouble = trouble;
    }

    /// Says that the server must end, and why.
    pub fn set_fatal(&self, reason: String) {
        lock(&self.watched.state).fatal.get_or_insert(reason);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // What a panicking thread was doing is worth knowing.
        if std::thread::panicking() {
            return;
        }
        let mut state = lock(&self.watched.state);
        let inner = state.stage.take().map(|stage| stage.start.elapsed());
        state.stage = self.around.take().map(|around| Stage {
            start: around.start + inner.unwrap_or_default(),
            ..around
        });
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stage = lock(&self.watched.state).stage.take();
            let stage = stage.map_or_else(|| "waiting for work".to_owned(), |stage| stage.what);
            let name = self.watched.name;
            self.set_fatal(format!(
                "the thread `{name}` has panicked: {stage}; the log has the place"
            ));
        }
        if lock(&self.watched.state).fatal.is_none() {
            lock(&self.heartbeats.threads).retain(|watched| !Arc::ptr_eq(watched, &self.watched));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_thread_is_in_trouble_until_it_has_finished() {
        let heartbeats = Heartbeats::default();
        let heartbeat = heartbeats.watch("loader");
        let busy = heartbeat.begin("polling", None);
        assert!(heartbeats.troubles().is_empty());
        {
            let _inner = heartbeat.begin("loading churn 3", Some(Duration::ZERO));
            std::thread::sleep(Duration::from_millis(2));
            let troubles = heartbeats.troubles();
            assert_eq!(
                troubles,
                ["the thread `loader` has not finished after 0 s: loading churn 3"]
            );
        }
        assert!(heartbeats.troubles().is_empty() && heartbeats.beats()[0].busy > Duration::ZERO);
        drop(busy);
        assert_eq!(heartbeats.beats()[0].busy, Duration::ZERO);
        drop(heartbeat);
        assert!(heartbeats.beats().is_empty());
    }

    #[test]
    fn a_thread_that_panics_is_fatal_and_names_its_stage() {
        let heartbeats = Heartbeats::default();
        let heartbeat = heartbeats.watch("loader");
        let thread = std::thread::spawn(move || {
            let _busy = heartbeat.begin("loading churn 3", None);
            panic!("a test");
        });
        assert!(thread.join().is_err());
        let fatal = heartbeats.beats()[0].fatal.clone().unwrap();
        assert!(fatal.contains("panicked: loading churn 3"), "{fatal}");
        assert_eq!(heartbeats.troubles(), [fatal]);
    }
}
