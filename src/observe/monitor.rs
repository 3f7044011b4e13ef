//! Counts the entities that one version scores, by hour and by day.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::bins::ModelBins;
use super::distinct_window::DistinctWindow;
use super::report::{DriftReport, Thresholds, enough};
use super::window::{Observed, Window, WindowKind};
use crate::models::ModelVersion;
use crate::values::entity_id::IdRef;
use crate::values::id_hash::SecretHasher;
use crate::values::recent_set::RecentSet;

/// Inputs counted before other threads get their turn.
const INPUTS_PER_TURN: usize = 512;

/// Entities that are known without a lock. An entity may lose its place to another one; then the windows know it.
const RECENT: usize = 1 << 16;

/// Makes the same entity another one in the next hour.
const HOURS_APART: u64 = 0x9e37_79b9_7f4a_7c15;

/// The windows of one version.
///
/// It takes about 3 MB for the ids of the present hour and day, and four bytes per bin in each of up to 54 past windows.
#[derive(Debug)]
pub struct DriftMonitor {
    /// The bins of training.
    pub bins: ModelBins,
    /// Nobody can choose ids that count or do not count.
    hasher: SecretHasher,
    /// Entities that were counted lately, by hash and hour: most requests are about these, and need no lock.
    recent: RecentSet,
    series: Mutex<[Series; 2]>,
}

/// An entity to count.
#[derive(Clone, Copy, Debug)]
pub struct ObservedEntity<'a> {
    /// Its id.
    pub id: IdRef<'a>,
    /// What it adds.
    pub observed: Observed<'a>,
}

/// A window compared with training.
#[derive(Debug)]
pub struct WindowReport {
    /// The length.
    pub kind: WindowKind,
    /// The start in seconds since the Unix epoch.
    pub from: i64,
    /// Whether it has ended.
    pub ended: bool,
    /// What has moved.
    pub report: DriftReport,
}

impl WindowReport {
    /// The end in seconds since the Unix epoch.
    pub fn to(&self) -> i64 {
        self.from + self.kind.seconds()
    }
}

/// The present window of one length, and those before.
#[derive(Debug)]
struct Series {
    kind: WindowKind,
    present: DistinctWindow,
    /// Oldest first; only those with rows.
    past: VecDeque<Arc<Window>>,
}

/// The windows of a version, as they are saved.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedWindows {
    hasher: SecretHasher,
    series: [SavedSeries; 2],
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSeries {
    present: DistinctWindow,
    past: Vec<Window>,
}

impl SavedWindows {
    /// Whether a window of it would still be shown at `now`, in seconds since the Unix epoch.
    pub fn is_recent(&self, now: i64) -> bool {
        let [_, days] = &self.series;
        let kept = i64::try_from(WindowKind::Day.kept()).unwrap_or(i64::MAX);
        days.present.from >= WindowKind::Day.start(now) - kept * WindowKind::Day.seconds()
    }

    /// Whether they count in these bins and began by `now`, in seconds since the Unix epoch. After a clock that was ahead, a
    /// later window would count until its time comes.
    fn fits(&self, bins: &ModelBins, now: i64) -> bool {
        self.series.iter().zip(WindowKind::ALL).all(|(series, kind)| {
            let begins = |from: i64| (0..=now).contains(&from) && kind.start(from) == from;
            let mut past = series.past.iter();
            begins(series.present.from)
                && series.present.fits(bins)
                && past.all(|window| begins(window.from) && window.fits(bins))
        })
    }
}

impl DriftMonitor {
    /// Starts to count at a time in seconds since the Unix epoch, or goes on with what was saved of the same version; `None` if
    /// the model has no reference.
    pub fn new(model: &ModelVersion, now: f64, saved: Option<SavedWindows>) -> Option<Self> {
        let bins = ModelBins::of(model)?;
        let (hasher, series) = match saved.filter(|saved| saved.fits(&bins, whole(now))) {
            Some(SavedWindows {
                hasher,
                series: [hour, day],
            }) => (hasher, [hour.go_on(WindowKind::Hour), day.go_on(WindowKind::Day)]),
            None => (
                SecretHasher::default(),
                WindowKind::ALL.map(|kind| Series {
                    kind,
                    present: DistinctWindow::new(kind.start(whole(now))),
                    past: VecDeque::new(),
                }),
            ),
        };
        Some(Self {
            bins,
            hasher,
            recent: RecentSet::new(RECENT),
            series: Mutex::new(series),
        })
    }

    /// What is to be saved.
    pub fn saved(&self) -> SavedWindows {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        SavedWindows {
            hasher: self.hasher,
            series: series.each_ref().map(|series| SavedSeries {
                present: series.present.clone(),
                past: series.past.iter().map(|window| Window::clone(window)).collect(),
            }),
        }
    }

    /// Counts entities that were scored at `now`, each once in a window.
    pub fn record<'a>(&self, now: f64, entities: impl Iterator<Item = ObservedEntity<'a>>) {
        let now = whole(now);
        let turn = (INPUTS_PER_TURN / self.bins.inputs.len().max(1)).max(1);
        let hour = WindowKind::Hour
            .start(now)
            .unsigned_abs()
            .wrapping_mul(HOURS_APART);
        let mut entities = entities
            .map(|entity| (self.hasher.id(entity.id), entity.observed))
            .filter(|(hash, _)| self.recent.insert(hash ^ hour))
            .peekable();
        while entities.peek().is_some() {
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            for series in &mut *series {
                series.roll(now, &self.bins);
            }
            for (hash, observed) in entities.by_ref().take(turn) {
                for series in &mut *series {
                    series.present.add(hash, &self.bins, &observed);
                }
            }
        }
    }

    /// Compares the present window with training, or the one before it as long as the present one has too few rows. `model` is the version
    /// that it was made for.
    pub fn latest(
        &self,
        model: &ModelVersion,
        kind: WindowKind,
        thresholds: Thresholds,
        now: f64,
    ) -> WindowReport {
        let (present, past) = self.windows(kind, now);
        // An older one says nothing of what a version does now.
        let previous = present.from - kind.seconds();
        let last = past.last().filter(|last| last.from == previous);
        let last = last.filter(|last| !enough(&present) && enough(last));
        let shown = last.map_or(&present, |last| last);
        WindowReport {
            kind,
            from: shown.from,
            ended: last.is_some(),
            report: DriftReport::of(model, &self.bins, shown, thresholds),
        }
    }

    /// Compares the windows that have ended with training, oldest first. `model` is the version that it was made for.
    pub fn past(
        &self,
        model: &ModelVersion,
        kind: WindowKind,
        thresholds: Thresholds,
        now: f64,
    ) -> Vec<WindowReport> {
        let (_, past) = self.windows(kind, now);
        let reports = past.iter().map(|window| WindowReport {
            kind,
            from: window.from,
            ended: true,
            report: DriftReport::of(model, &self.bins, window, thresholds),
        });
        reports.collect()
    }

    /// The present window of a kind and those before, oldest first.
    pub fn windows(&self, kind: WindowKind, now: f64) -> (Window, Vec<Arc<Window>>) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match kind {
            WindowKind::Hour => &mut all[0],
            WindowKind::Day => &mut all[1],
        };
        series.roll(whole(now), &self.bins);
        let present = series.present.window(&self.bins);
        (present, series.past.iter().cloned().collect())
    }
}

impl SavedSeries {
    fn go_on(self, kind: WindowKind) -> Series {
        Series {
            kind,
            present: self.present,
            past: self.past.into_iter().map(Arc::new).collect(),
        }
    }
}

impl Series {
    /// Begins a new window if the present one has ended. A clock that goes back changes nothing.
    fn roll(&mut self, now: i64, bins: &ModelBins) {
        let from = self.kind.start(now);
        if from <= self.present.from {
            return;
        }
        let ended = std::mem::replace(&mut self.present, DistinctWindow::new(from)).window(bins);
        if ended.rows > 0 {
            self.past.push_back(Arc::new(ended));
        }
        let oldest = from - self.kind.seconds() * i64::try_from(self.kind.kept()).unwrap_or(i64::MAX);
        self.past.retain(|window| window.from >= oldest);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch")]
fn whole(now: f64) -> i64 {
    now as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;
    use crate::values::issues::FeatureIssues;

    /// Counts these customers of a row without values.
    fn count(monitor: &DriftMonitor, now: f64, ids: std::ops::Range<u32>) {
        let row = vec![f64::NAN; monitor.bins.inputs.len()];
        let issues = FeatureIssues::default();
        let entities = ids.map(|id| ObservedEntity {
            id: IdRef::Int(id.into()),
            observed: Observed {
                row: &row,
                value: Some(0.5),
                issues: &issues,
            },
        });
        monitor.record(now, entities);
    }

    #[test]
    fn a_customer_counts_once_in_an_hour_and_once_in_a_day() {
        let monitor = DriftMonitor::new(&sample::version(1), 0.0, None).unwrap();
        for second in 0..30 {
            count(&monitor, f64::from(second), 0..100);
        }
        count(&monitor, 3600.0, 50..150);
        let (hour, hours) = monitor.windows(WindowKind::Hour, 3600.0);
        let (day, days) = monitor.windows(WindowKind::Day, 3600.0);
        assert_eq!((hour.rows, hours[0].rows, day.rows), (100, 100, 150));
        assert!(days.is_empty());
    }

    #[test]
    fn past_windows_are_kept_for_a_day_and_a_month_and_a_clock_that_goes_back_loses_none() {
        let monitor = DriftMonitor::new(&sample::version(1), 0.0, None).unwrap();
        for hour in 0..50 {
            count(&monitor, f64::from(hour) * 3600.0, 0..2);
        }
        count(&monitor, 0.0, 2..4);
        let (present, past) = monitor.windows(WindowKind::Hour, 49.0 * 3600.0);
        assert_eq!((present.rows, past.len()), (4, 24));
        assert_eq!(past.first().map(|window| window.from), Some(25 * 3600));
        let (present, past) = monitor.windows(WindowKind::Hour, 1000.0 * 3600.0);
        assert_eq!((present.rows, past.len()), (0, 0));
        assert_eq!(
            monitor.windows(WindowKind::Day, 1000.0 * 3600.0).1.len(),
            0,
            "41 days later"
        );
    }
}
