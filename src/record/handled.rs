//! The customers who were contacted lately or have left, kept for a few seconds: lists leave them out, and are read often.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::outcomes::recorder::now;
use super::outcomes::{DAY, SECOND};
use crate::error::Error;
use crate::scoring::ranking::Exclusion;

/// How old the contacts of other servers may be, in microseconds.
const AGE: i64 = 10 * SECOND;

/// Shortest time between two readings for the same lists: while outcomes arrive all the time, each would be out of date at once,
/// and with it every selection of customers that was made by it.
const PAUSE: Duration = Duration::from_millis(250);

/// Sets that are kept, the least recently used of which goes first: one for each model and number of days.
const MOST_KEPT: usize = 8;

/// The customers of some models and days.
#[derive(Debug, Default)]
pub(super) struct HandledCache(Mutex<Vec<(String, u32, Slot)>>);

/// Who reads the store holds the lock, so that others take the result.
type Slot = Arc<tokio::sync::Mutex<Option<Reading>>>;

#[derive(Debug)]
struct Reading {
    exclusion: Exclusion,
    tick: i64,
    recorded: u64,
    at: Instant,
}

impl HandledCache {
    /// The customers of a model who were contacted in the last `days` or have left. `recorded` counts what this server has
    /// recorded: what was recorded before the call is in the answer. `read` gets the time since when contacts count.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) async fn get<F, R>(
        &self,
        model: &str,
        days: u32,
        recorded: &AtomicU64,
        read: F,
    ) -> Result<Exclusion, Error>
    where
        F: Fn(i64) -> R,
        R: Future<Output = Result<HashSet<u64>, Error>>,
    {
        let wanted = recorded.load(Ordering::Relaxed);
        let slot = self.slot(model, days);
        let mut slot = slot.lock().await;
        if let Some(reading) = &*slot {
            if reading.tick == now().div_euclid(AGE) && reading.recorded >= wanted {
                return Ok(reading.exclusion.clone());
            }
            tokio::time::sleep(PAUSE.saturating_sub(reading.at.elapsed())).await;
        }
        let (tick, recorded) = (now().div_euclid(AGE), recorded.load(Ordering::Relaxed));
        let at = Instant::now();
        let exclusion = Exclusion {
            key: [u64::from(days), recorded, tick.unsigned_abs()],
            customers: Arc::new(read(tick * AGE - i64::from(days) * DAY).await?),
        };
        *slot = Some(Reading {
            exclusion: exclusion.clone(),
            tick,
            recorded,
            at,
        });
        Ok(exclusion)
    }

    fn slot(&self, model: &str, days: u32) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots
            .iter()
            .position(|(name, of, _)| name == model && *of == days);
        let used = match known {
            Some(at) => slots.remove(at),
            None => (model.to_owned(), days, Slot::default()),
        };
        let slot = used.2.clone();
        if slots.len() >= MOST_KEPT {
            slots.remove(0);
        }
        slots.push(used);
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_reading_serves_until_something_is_recorded_and_then_at_most_four_a_second_are_made() {
        let (cache, recorded, readings) = (HandledCache::default(), AtomicU64::new(0), Cell::new(0));
        let read = |_| {
            readings.set(readings.get() + 1);
            let customers = HashSet::from([recorded.load(Ordering::Relaxed)]);
            async move { Ok(customers) }
        };
        let start = Instant::now();
        for _ in 0..5 {
            let first = cache.get("churn", 14, &recorded, read).await.unwrap();
            assert!(first.customers.contains(&0));
        }
        // A tick of the clock may have passed.
        assert!(readings.get() <= 2);
        for count in 1..4 {
            recorded.fetch_add(1, Ordering::Relaxed);
            let next = cache.get("churn", 14, &recorded, read).await.unwrap();
            assert!(next.customers.contains(&count));
        }
        assert!(start.elapsed() >= 3 * PAUSE);
        // Other days and models do not wait for it.
        let begun = readings.get();
        for days in 0..20 {
            cache.get("churn", days, &recorded, read).await.unwrap();
        }
        assert!(readings.get() >= begun + 19);
        assert!(cache.0.lock().unwrap().len() <= MOST_KEPT);
    }
}
