//! The share of the entities that is logged: that of the settings, or less while there are more rows than are wanted. A busy
//! server scores so many entities that a fixed share of them would take a processor.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::PredictionLogSection;

/// A burst is a second with this many times the rows that are wanted; each such number of rows divides the share by
/// [`BURST_DIVISOR`].
const BURST: f64 = 2.0;

/// By this much a burst divides the share: from a tenth to a thousandth in two steps.
const BURST_DIVISOR: f64 = 8.0;

/// The share in use.
#[derive(Debug)]
pub(super) struct AdaptiveShare {
    wanted: f64,
    /// Most rows in a second; `None` for no limit.
    most: Option<f64>,
    /// The bits of the present share.
    share: AtomicU64,
    /// The second of the Unix epoch that `rows` were counted in.
    second: AtomicU64,
    rows: AtomicU64,
}

impl AdaptiveShare {
    /// The share of the settings, from the second `now` of the Unix epoch on.
    pub(super) fn new(settings: &PredictionLogSection, now: u64) -> Self {
        // Who wants everything gets everything.
        let is_part = settings.sample < 1.0 && settings.most_rows_per_second > 0;
        Self {
            wanted: settings.sample,
            most: is_part.then(|| f64::from(settings.most_rows_per_second)),
            share: AtomicU64::new(settings.sample.to_bits()),
            second: AtomicU64::new(now),
            rows: AtomicU64::new(0),
        }
    }

    /// The share in the second `now` of the Unix epoch, and whether this call has set it anew. A smaller one has some of the entities of a larger one, and
    /// no others.
    pub(super) fn get(&self, now: u64) -> (f64, bool) {
        let is_new = self.most.is_some() && self.adjust(now);
        (f64::from_bits(self.share.load(Ordering::Relaxed)), is_new)
    }

    /// Counts rows of this second. A burst of many more than are wanted lowers the share before the second is over.
    pub(super) fn count(&self, rows: u64) {
        let Some(most) = self.most else { return };
        let before = self.rows.fetch_add(rows, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "rows")]
        let steps = [before, before + rows].map(|rows| (rows as f64 / (BURST * most)).floor());
        if steps[1] > steps[0] {
            let lower = |share| Some((f64::from_bits(share) / BURST_DIVISOR).to_bits());
            // The closure always gives a share.
            let _ = self
                .share
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
        }
    }

    /// Sets the share by the rows of the last second, once in each. Returns whether this call did.
    fn adjust(&self, now: u64) -> bool {
        let last = self.second.load(Ordering::Relaxed);
        // The clock of the system may be set back.
        let (true, Some(most)) = (now != last, self.most) else {
            return false;
        };
        let taken = self
            .second
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "rows and seconds")]
        let rate = self.rows.swap(0, Ordering::Relaxed) as f64 / now.saturating_sub(last).max(1) as f64;
        let share = f64::from_bits(self.share.load(Ordering::Relaxed));
        // Rows come in proportion to the share. At most twice as many at once: the next second may be a busy one.
        let next = match rate {
            0.0 => 2.0 * share,
            rate => (share * most / rate).min(2.0 * share),
        };
        self.share
            .store(next.min(self.wanted).to_bits(), Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(sample: f64, most_rows_per_second: u32) -> AdaptiveShare {
        let settings = PredictionLogSection {
            sample,
            most_rows_per_second,
            ..PredictionLogSection::default()
        };
        AdaptiveShare::new(&settings, 1)
    }

    fn present(share: &AdaptiveShare) -> f64 {
        f64::from_bits(share.share.load(Ordering::Relaxed))
    }

    #[test]
    fn a_burst_lowers_the_share_and_its_end_raises_it_again() {
        let log = share(0.1, 5000);
        log.count(500);
        log.adjust(2);
        assert_eq!(present(&log), 0.1, "few rows: the share of the settings");
        log.count(9999);
        log.adjust(3);
        assert!((present(&log) - 0.05).abs() < 1e-4, "{}", present(&log));
        let log = share(0.01, 1000);
        log.adjust(3);
        assert!((present(&log) - 0.01).abs() < 1e-12, "{}", present(&log));
        log.count(1000);
        log.adjust(4);
        assert!((present(&log) - 0.01).abs() < 1e-12, "as many as wanted");
        for second in 5..9 {
            log.adjust(second);
        }
        assert_eq!(present(&log), 0.01, "no more than the settings");
        log.count(1900);
        log.count(99);
        assert_eq!(present(&log), 0.01, "not yet a burst");
        log.count(1);
        assert_eq!(
            present(&log),
            0.01 / 8.0,
            "twice the rows before the second is over"
        );
        log.count(2500);
        assert_eq!(present(&log), 0.01 / 64.0, "four times the rows");
        log.adjust(9);
        assert!((present(&log) - 0.01 / 64.0 / 4.5).abs() < 1e-12);
        for second in 10..19 {
            log.adjust(second);
        }
        assert_eq!(present(&log), 0.01, "doubled each second without rows");
        log.count(2000);
        assert_eq!(
            log.get(3),
            (0.01 / 8.0 / 2.0, true),
            "after the clock was set back"
        );
    }

    #[test]
    fn without_a_limit_or_with_everything_the_share_stays() {
        for log in [share(0.1, 0), share(1.0, 1000)] {
            let before = present(&log);
            log.count(1_000_000);
            log.adjust(2);
            assert_eq!(present(&log), before);
        }
    }
}
