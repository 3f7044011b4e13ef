//! Limits how often an event is logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds between two lines of one kind.
const SECONDS: u64 = 10;

/// The pace of one kind of event that others can cause at will: one line per ten seconds, with the number of events since
/// the last one. Make it a `static` beside the event.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Seconds since 1970 of the last line; 0 before the first.
    last: AtomicU64,
    events: AtomicU64,
}

impl Pace {
    /// A kind of which nothing was logged yet.
    pub(crate) const fn new() -> Self {
        Self {
            last: AtomicU64::new(0),
            events: AtomicU64::new(0),
        }
    }

    /// Counts an event. Returns the number of events to log now, this one included; `None` if it is too early for a line.
    pub(crate) fn count(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.count_at(now.map_or(0, |since| since.as_secs()))
    }

    fn count_at(&self, now: u64) -> Option<u64> {
        self.events.fetch_add(1, Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        // A clock that was set back must not silence the kind.
        let due = last == 0 || now >= last + SECONDS || now < last;
        let mine = due
            && self
                .last
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        mine.then(|| self.events.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stands_for_the_events_of_ten_seconds() {
        let pace = Pace::new();
        let logged: Vec<Option<u64>> = [100, 100, 105, 109, 110, 111, 50]
            .into_iter()
            .map(|now| pace.count_at(now))
            .collect();
        assert_eq!(logged, [Some(1), None, None, None, Some(4), None, Some(2)]);
    }
}
