//! The queue between those who log and standard error, and the thread that writes. A line that does not fit is dropped
//! and counted. The thread ignores errors: a closed pipe or a full disk costs lines, nothing else.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::metrics::IntCounter;

/// The most bytes that wait; twice as many while as many are being written.
const MOST_BYTES: usize = 512 * 1024;

/// Pauses after failed writes: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The queue of this process: a process has one standard error.
static QUEUE: Queue = Queue::new();

/// Starts the thread that writes, once.
pub(super) fn start() -> std::io::Result<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.set(()).is_err() {
        return Ok(());
    }
    // A descriptor of its own: the lock of the standard library's is not involved.
    let target = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let work = move || QUEUE.write_all(target);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(work)
        .map(drop)
}

/// Adds a line, which ends with a newline. Never waits for the writing.
pub(super) fn push(line: &[u8]) {
    QUEUE.push(line);
}

/// Waits until everything so far is written or lost, at most `limit`.
pub(super) fn flush(limit: Duration) {
    QUEUE.flush(limit);
}

/// Counts dropped lines in `counter` from now on, and those so far.
pub(super) fn count_dropped(counter: IntCounter) {
    let mut state = QUEUE.lock();
    counter.inc_by(state.dropped_in_all);
    state.counter = Some(counter);
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// Whether the thread is writing what it took.
    writing: bool,
    /// Whether the last write failed.
    failing: bool,
    /// Lines dropped since this was last logged.
    dropped: u64,
    dropped_in_all: u64,
    counter: Option<IntCounter>,
}

impl State {
    fn count(&mut self, lines: u64) {
        self.dropped += lines;
        self.dropped_in_all += lines;
        if let Some(counter) = &self.counter {
            counter.inc_by(lines);
        }
    }
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Vec::new(),
                writing: false,
                failing: false,
                dropped: 0,
                dropped_in_all: 0,
                counter: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > MOST_BYTES {
            return state.count(1);
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Waits until everything is written. Does not wait for a log that takes nothing.
    fn flush(&self, limit: Duration) {
        let unwritten = |state: &mut State| !state.failing && (state.writing || !state.waiting.is_empty());
        let waited = self.changed.wait_timeout_while(self.lock(), limit, unwritten);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for lines and takes them all, in exchange for an empty buffer.
    fn take(&self, empty: Vec<u8>) -> Vec<u8> {
        let nothing = |state: &mut State| state.waiting.is_empty();
        let waited = self.changed.wait_while(self.lock(), nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        std::mem::replace(&mut state.waiting, empty)
    }

    /// Records that a buffer was written but for `lost` lines. Returns the number of lines dropped since the last success,
    /// if this was one.
    fn done(&self, lost: u64) -> u64 {
        let mut state = self.lock();
        state.count(lost);
        (state.writing, state.failing) = (false, lost > 0);
        self.changed.notify_all();
        if lost > 0 {
            0
        } else {
            std::mem::take(&mut state.dropped)
        }
    }

    /// Writes lines for ever.
    fn write_all(&self, mut target: impl Write) {
        let mut lines = Vec::new();
        let mut pause = FIRST_PAUSE;
        // Whether the last write ended inside a line.
        let mut torn = false;
        loop {
            lines = self.take(lines);
            if torn {
                torn = write(&mut target, b"\n") == 0;
            }
            let written = if torn { 0 } else { write(&mut target, &lines) };
            if written > 0 {
                torn = lines[written - 1] != b'\n';
            }
            let lost = lines[written..].iter().filter(|byte| **byte == b'\n').count();
            let dropped = self.done(lost as u64);
            if dropped > 0 {
                // Goes through this queue, in which there is room now.
                tracing::warn!(lines = dropped, "log lines dropped");
            }
            if lost > 0 {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = FIRST_PAUSE;
            }
            lines.clear();
        }
    }
}

/// Writes `bytes` and returns how many were written until the first error. Waits for a reader that is slow, also on a pipe
/// that does not block.
fn write(target: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match target.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FIRST_PAUSE),
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the first `room` bytes, then nothing.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::new();
        let line = [b'x'; 1024];
        for _ in 0..600 {
            queue.push(&line);
        }
        let state = queue.lock();
        assert_eq!((state.waiting.len(), state.dropped), (MOST_BYTES, 88));
    }

    #[test]
    fn the_notice_of_dropped_lines_follows_the_first_success() {
        let queue = Queue::new();
        queue.push(b"a\n");
        let lines = queue.take(Vec::new());
        assert_eq!(lines, b"a\n");
        assert_eq!(queue.done(1), 0, "the log takes nothing");
        queue.flush(Duration::from_secs(60));
        queue.push(b"b\n");
        queue.take(Vec::new());
        assert_eq!(queue.done(0), 1);
    }

    #[test]
    fn a_write_says_how_far_it_came() {
        let mut target = Narrow {
            room: 3,
            ..Narrow::default()
        };
        assert_eq!(write(&mut target, b"a\nbc\n"), 3);
        assert_eq!(target.taken, b"a\nb");
    }
}
