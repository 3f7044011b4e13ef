//! Runs what reads files of others on a thread of its own, with a limit of time. A thread that a file system holds cannot be
//! ended, but it can be left behind: the lifecycle goes on without it, with all its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::os;

/// Why work has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// It took too long, and its thread was left behind.
    Late(Duration),
    /// It panicked; the log has the place.
    Panicked,
    /// There is no thread for it.
    NotStarted,
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "not finished after {} s", limit.as_secs()),
            Self::Panicked => f.write_str("internal error; the log has the place"),
            Self::NotStarted => f.write_str("the system gives no thread"),
        }
    }
}

/// A message of a worker.
enum Message<T> {
    Progress(u64, u64),
    Done(T),
}

/// Reports bytes done and in total, on the thread that waits.
pub(super) type Report<'a> = dyn FnMut(u64, u64) + 'a;

/// Runs work on threads that can be left behind, and counts those that are.
#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    left_behind: Arc<AtomicUsize>,
}

/// How a piece of work is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// `None` for no limit.
    pub(super) limit: Option<Duration>,
    /// Whether requests are served meanwhile, and go first.
    pub(super) behind_requests: bool,
}

impl Workers {
    /// The threads that were left behind and still hang.
    pub(super) fn left_behind(&self) -> usize {
        self.left_behind.load(Ordering::Relaxed)
    }

    /// Runs `work`, which reports its progress through the function it gets.
    ///
    /// # Errors
    /// The work panicked or took too long.
    pub(super) fn run<T: Send + 'static>(
        &self,
        terms: Terms,
        report: &mut Report<'_>,
        work: impl FnOnce(&mut Report<'_>) -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let (messages, received) = channel();
        let runtime = Handle::try_current().ok();
        let ending = Ending(self.left_behind.clone(), Arc::default());
        let over = ending.1.clone();
        let run = move || {
            let _ending = ending;
            // Stores may start tasks.
            let _context = runtime.as_ref().map(Handle::enter);
            if terms.behind_requests {
                os::lower_priority();
            }
            // Nobody may wait any more.
            let result = work(&mut |done, total| drop(messages.send(Message::Progress(done, total))));
            let _ = messages.send(Message::Done(result));
        };
        let start = Instant::now();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(run);
        thread.map_err(|_| Unfinished::NotStarted)?;
        loop {
            let left = terms.limit.map(|limit| limit.saturating_sub(start.elapsed()));
            match received.recv_timeout(left.unwrap_or(Duration::MAX)) {
                Ok(Message::Progress(done, total)) => report(done, total),
                Ok(Message::Done(result)) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(Unfinished::Panicked),
                Err(RecvTimeoutError::Timeout) => {
                    if !over.swap(true, Ordering::Relaxed) {
                        self.left_behind.fetch_add(1, Ordering::Relaxed);
                    }
                    return Err(Unfinished::Late(terms.limit.unwrap_or_default()));
                }
            }
        }
    }
}

/// Ends a thread's work, also by a panic: one that was left behind no longer counts.
struct Ending(Arc<AtomicUsize>, Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        if self.1.swap(true, Ordering::Relaxed) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(limit: u64, pause: u64) -> (Result<i32, Unfinished>, Vec<(u64, u64)>, Workers) {
        let workers = Workers::default();
        let terms = Terms {
            limit: Some(Duration::from_millis(limit)),
            behind_requests: false,
        };
        let mut reported = Vec::new();
        let work = move |report: &mut Report<'_>| {
            report(1, 2);
            std::thread::sleep(Duration::from_millis(pause));
            7
        };
        let result = workers.run(terms, &mut |done, total| reported.push((done, total)), work);
        (result, reported, workers)
    }

    #[test]
    fn work_ends_with_its_result_or_is_left_behind() {
        let (result, reported, workers) = run(60_000, 0);
        assert_eq!(
            (result, reported, workers.left_behind()),
            (Ok(7), vec![(1, 2)], 0)
        );
        let (result, _, workers) = run(50, 1_000);
        let late = Unfinished::Late(Duration::from_millis(50));
        assert_eq!((result, workers.left_behind()), (Err(late), 1));
        let end = Instant::now() + Duration::from_secs(60);
        while workers.left_behind() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(workers.left_behind(), 0, "it has ended at last");
    }

    #[test]
    fn a_panic_is_an_error() {
        let terms = Terms {
            limit: None,
            behind_requests: true,
        };
        let result: Result<(), _> = Workers::default().run(terms, &mut |_, _| {}, |_| panic!("a test"));
        assert_eq!(result, Err(Unfinished::Panicked));
    }
}
