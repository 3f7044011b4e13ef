//! The reader of saved windows, for the fuzz targets.

use serde_json::Value;

use super::monitor::{DriftMonitor, ObservedEntity, SavedWindows};
use super::report::Thresholds;
use super::saved::windows_of;
use super::window::{Observed, WindowKind};
use crate::config::DriftSection;
use crate::models::ModelVersion;
use crate::values::entity_id::IdRef;
use crate::values::issues::FeatureIssues;

/// Customers that come after the restart.
const CUSTOMERS: i64 = 3;

/// Seconds after which every window is another one.
const LATER: f64 = 1e6;

/// Goes on with the windows in a file as if `model` had counted them: compares them with training, and counts customers.
/// Returns whether the windows are the same after they were written and read again, and later ones count everybody.
///
/// # Errors
/// It is no file of windows, or has none.
pub fn windows_survive(text: &[u8], model: &ModelVersion, now: f64) -> Result<bool, String> {
    let saved = windows_of(text)?.pop().ok_or("no version")?;
    let monitor = monitor(model, now, saved)?;
    let written = serde_json::to_vec(&monitor.saved()).map_err(|error| error.to_string())?;
    let read = serde_json::from_slice(&written).map_err(|error| error.to_string())?;
    let again = self::monitor(model, now, read)?;
    let same = shown(&monitor, now)? == shown(&again, now)?;
    for now in [now, now + LATER] {
        count(&again, now);
        for kind in WindowKind::ALL {
            let thresholds = Thresholds::from(&DriftSection::default());
            again.latest(model, kind, thresholds, now);
            again.past(model, kind, thresholds, now);
        }
    }
    // The windows in the file may have seen these customers; later ones have not.
    let counts = |kind| again.windows(kind, now + LATER).0.rows == CUSTOMERS.unsigned_abs();
    Ok(same && WindowKind::ALL.into_iter().all(counts))
}

fn monitor(model: &ModelVersion, now: f64, saved: SavedWindows) -> Result<DriftMonitor, String> {
    DriftMonitor::new(model, now, Some(saved)).ok_or_else(|| "no reference".to_owned())
}

/// All windows as they are written: JSON has the bits of numbers that are NaN.
fn shown(monitor: &DriftMonitor, now: f64) -> Result<Vec<Value>, String> {
    let windows = WindowKind::ALL.into_iter().flat_map(|kind| {
        let (present, past) = monitor.windows(kind, now);
        let past = past.iter().map(|window| serde_json::to_value(&**window));
        std::iter::once(serde_json::to_value(&present))
            .chain(past)
            .collect::<Vec<_>>()
    });
    windows
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn count(monitor: &DriftMonitor, now: f64) {
    let row = vec![f64::NAN; monitor.bins.inputs.len()];
    let issues = FeatureIssues::default();
    let entities = (0..CUSTOMERS).map(|id| ObservedEntity {
        id: IdRef::Int(id),
        observed: Observed {
            row: &row,
            value: Some(0.5),
            issues: &issues,
        },
    });
    monitor.record(now, entities);
}
