//! A limit of a client's rate: the generic cell rate algorithm (ITU-T I.371), which needs one number per client. The
//! number is the time at which the client has paid for everything so far; it may lie ahead of now by the burst.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where the times of all meters start.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const NANOS_PER_SECOND: f64 = 1e9;

/// Longest wait that a client is told. A rate of next to nothing would otherwise give years.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Most that a client may owe beyond its burst. A client that shares its address or key with others must not lock them out for
/// long, and a stream that waits must not run into its time limit.
const MOST_DEBT: Duration = Duration::from_secs(10);

/// How much a client may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Nanoseconds that one unit of cost takes.
    interval: f64,
    /// Nanoseconds that the burst takes.
    burst: f64,
}

impl RateLimit {
    /// A limit of `per_second`, with `burst` at once after a pause, or as many as one second gives if that is 0. `None`
    /// without a rate.
    pub fn new(per_second: f64, burst: u64) -> Option<Self> {
        if per_second <= 0.0 {
            return None;
        }
        let interval = NANOS_PER_SECOND / per_second;
        #[expect(clippy::cast_precision_loss, reason = "a burst needs no 53 bits")]
        let burst = if burst == 0 {
            per_second.max(1.0)
        } else {
            burst as f64
        };
        Some(Self {
            interval,
            burst: burst * interval,
        })
    }

    pub(super) fn per_second(&self) -> f64 {
        NANOS_PER_SECOND / self.interval
    }

    /// A limit of so many times the units in the same time.
    pub(super) fn times(self, units: f64) -> Self {
        Self {
            interval: self.interval / units,
            ..self
        }
    }

    /// Nanoseconds that work of this cost takes.
    fn price(&self, cost: usize) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "costs are far below 2^53")]
        nanos(cost as f64 * self.interval)
    }
}

/// Nanoseconds since the meters started.
fn now() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What a client has used.
#[derive(Debug, Default)]
pub(super) struct RateMeter(AtomicU64);

impl RateMeter {
    /// Charges for work of this cost.
    ///
    /// # Errors
    /// The client is above its limit; the time after which the same work would be admitted.
    pub(super) fn charge(&self, limit: RateLimit, cost: usize) -> Result<(), Duration> {
        self.charge_at(now(), limit, cost)
    }

    /// Charges for work that is done already, also above the limit.
    pub(super) fn charge_anyway(&self, limit: RateLimit, cost: usize) {
        self.charge_anyway_at(now(), limit, cost);
    }

    /// How long it takes until the client no longer owes more than its burst; `None` if it does not.
    pub(super) fn debt(&self, limit: RateLimit) -> Option<Duration> {
        self.debt_at(now(), limit)
    }

    fn charge_anyway_at(&self, now: u64, limit: RateLimit, cost: usize) {
        let most = now
            .saturating_add(nanos(limit.burst))
            .saturating_add(u64::try_from(MOST_DEBT.as_nanos()).unwrap_or(u64::MAX));
        let add = |paid: u64| {
            Some(
                paid.max(now)
                    .saturating_add(limit.price(cost))
                    .min(most.max(paid)),
            )
        };
        // The closure always gives a time.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn debt_at(&self, now: u64, limit: RateLimit) -> Option<Duration> {
        let free = now.saturating_add(nanos(limit.burst));
        let debt = self.0.load(Ordering::Relaxed).saturating_sub(free);
        (debt > 0).then(|| Duration::from_nanos(debt))
    }

    fn charge_at(&self, now: u64, limit: RateLimit, cost: usize) -> Result<(), Duration> {
        let price = limit.price(cost);
        let burst = nanos(limit.burst);
        let charged = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let after = paid.max(now).saturating_add(price);
            // Work above the whole burst is admitted after a full pause, or it never would be.
            (after - now <= burst || paid <= now).then_some(after)
        });
        charged.map(drop).map_err(|paid| {
            let after = paid.max(now).saturating_add(price);
            let fits = (after - now).saturating_sub(burst).min(paid.saturating_sub(now));
            Duration::from_nanos(fits).min(LONGEST_WAIT)
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates"
)]
fn nanos(value: f64) -> u64 {
    // A century is enough, and leaves room for sums.
    value.min(3.2e18) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_client_gets_its_burst_and_then_its_rate() {
        let (meter, limit) = (RateMeter::default(), RateLimit::new(10.0, 20).unwrap());
        assert!(meter.charge_at(SECOND, limit, 20).is_ok());
        assert_eq!(meter.charge_at(SECOND, limit, 1), Err(Duration::from_millis(100)));
        assert_eq!(meter.charge_at(SECOND, limit, 5), Err(Duration::from_millis(500)));
        // Refused work costs nothing.
        let mut admitted = 0;
        for step in 0..100 {
            admitted += u64::from(meter.charge_at(SECOND + step * SECOND / 10, limit, 1).is_ok());
        }
        assert_eq!(admitted, 99);
        // After a pause the burst is whole again, and not more.
        assert!(meter.charge_at(100 * SECOND, limit, 20).is_ok());
        assert!(meter.charge_at(100 * SECOND, limit, 1).is_err());
    }

    #[test]
    fn work_above_the_burst_waits_for_a_full_pause_and_is_paid_for() {
        let (meter, limit) = (RateMeter::default(), RateLimit::new(10.0, 20).unwrap());
        assert!(meter.charge_at(SECOND, limit, 1).is_ok());
        assert_eq!(
            meter.charge_at(SECOND, limit, 100),
            Err(Duration::from_millis(100))
        );
        assert!(meter.charge_at(2 * SECOND, limit, 100).is_ok());
        assert_eq!(
            meter.charge_at(2 * SECOND, limit, 1),
            Err(Duration::from_millis(8100))
        );
        assert!(meter.charge_at(11 * SECOND, limit, 1).is_ok());
    }

    #[test]
    fn work_that_is_done_is_owed_and_a_debt_has_an_end() {
        let (meter, limit) = (
            RateMeter::default(),
            RateLimit::new(10.0, 20).unwrap().times(100.0),
        );
        meter.charge_anyway_at(SECOND, limit, 2000);
        assert_eq!(meter.debt_at(SECOND, limit), None);
        meter.charge_anyway_at(SECOND, limit, 500);
        assert_eq!(meter.debt_at(SECOND, limit), Some(Duration::from_millis(500)));
        assert_eq!(meter.debt_at(3 * SECOND / 2, limit), None);
        meter.charge_anyway_at(SECOND, limit, usize::MAX);
        assert_eq!(meter.debt_at(SECOND, limit), Some(MOST_DEBT));
        // It does not grow with the time of another clock either.
        meter.charge_anyway_at(0, limit, 1);
        assert_eq!(meter.debt_at(SECOND, limit), Some(MOST_DEBT));
    }

    #[test]
    fn extreme_limits_neither_overflow_nor_wait_for_ever() {
        let meter = RateMeter::default();
        let slow = RateLimit::new(0.001, 0).unwrap();
        assert!(meter.charge_at(u64::MAX / 4, slow, usize::MAX).is_ok());
        assert_eq!(meter.charge_at(u64::MAX / 4, slow, usize::MAX), Err(LONGEST_WAIT));
        assert!(RateLimit::new(0.0, 5).is_none());
        let fast = RateLimit::new(1e9, u64::MAX).unwrap();
        assert!(RateMeter::default().charge_at(0, fast, usize::MAX).is_ok());
    }
}
