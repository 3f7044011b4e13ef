//! The windows of all versions in a file, so that a restart goes on with the present hour and day.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::monitor::{DriftMonitor, SavedWindows};
use crate::files;
use crate::models::ModelVersion;
use crate::values::entity_id::IdRef;
use crate::values::id_hash::IdHasher;
use crate::values::time;

/// The form of the file. One of another form is ignored.
const FORM: u32 = 2;

/// Most versions that are not loaded and whose windows are kept.
const MOST_OTHERS: usize = 16;

/// What the name of an incomplete file ends with.
const PARTIAL: &str = "partial";

/// Windows that were saved.
#[derive(Debug, Default)]
pub struct SavedDrift {
    path: PathBuf,
    /// Those that no version has taken yet.
    versions: Vec<SavedVersion>,
    /// The versions that have asked for theirs.
    asked: BTreeSet<(String, u64)>,
}

/// The content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DriftFile {
    form: u32,
    versions: Vec<SavedVersion>,
}

/// The windows of one version.
#[derive(Debug, Serialize, Deserialize)]
struct SavedVersion {
    model: String,
    version: u64,
    /// What it was compared with.
    identity: String,
    windows: SavedWindows,
}

impl SavedDrift {
    /// Reads the file. Without one, or if it is of no use, which is logged, all windows begin anew.
    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            versions: versions(path),
            asked: BTreeSet::new(),
        }
    }

    /// Takes the windows of a version; `None` if there are none, or if they were counted for another model or reference.
    ///
    /// A version that asks again was not prepared at its last attempt, or is loaded again. Its windows are in the file still,
    /// which is read once more.
    pub fn take(&mut self, model: &ModelVersion) -> Option<SavedWindows> {
        let is_new = self.asked.insert((model.name.clone(), model.version));
        match is_new {
            true => take(&mut self.versions, model),
            false => take(&mut versions(&self.path), model),
        }
    }
}

fn take(versions: &mut Vec<SavedVersion>, model: &ModelVersion) -> Option<SavedWindows> {
    let of_version = |saved: &SavedVersion| saved.model == model.name && saved.version == model.version;
    let found = versions.swap_remove(versions.iter().position(of_version)?);
    (found.identity == identity(model)).then_some(found.windows)
}

/// The windows in the file; none if it is of no use, which is logged.
fn versions(path: &Path) -> Vec<SavedVersion> {
    if path.as_os_str().is_empty() {
        return Vec::new();
    }
    match read(path) {
        Ok(found) => found.unwrap_or_default().versions,
        Err(reason) => {
            let path = path.display();
            tracing::warn!(%path, reason, "saved windows of drift ignored");
            Vec::new()
        }
    }
}

fn read(path: &Path) -> Result<Option<DriftFile>, String> {
    let text = match files::read(path, files::LISTS) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    parse(&text).map(Some)
}

fn parse(text: &[u8]) -> Result<DriftFile, String> {
    let found: DriftFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match found.form {
        FORM => Ok(found),
        form => Err(format!("expected form {FORM}, found {form}")),
    }
}

/// The windows of each version in the text of a file, whatever they were compared with.
///
/// # Errors
/// It is no such file.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn windows_of(text: &[u8]) -> Result<Vec<SavedWindows>, String> {
    Ok(parse(text)?
        .versions
        .into_iter()
        .map(|saved| saved.windows)
        .collect())
}

/// Whether two loads of a version count the same: their windows go on, also if files were only written again.
pub fn counts_alike(one: &ModelVersion, other: &ModelVersion) -> bool {
    identity(one) == identity(other)
}

/// What a version is compared with: its model and the distributions at training.
fn identity(model: &ModelVersion) -> String {
    let reference = format!("{:?}", model.reference);
    let hash = IdHasher::new("drift").hash(IdRef::Text(&reference));
    format!("{}-{hash:016x}", model.sha256)
}

/// Replaces the file. A reader finds the old content or the new one, also after a crash. What it has of versions that are
/// not among `versions` stays: they may be loaded again, such as when a repository that was away is back.
///
/// # Errors
/// The file cannot be written.
pub fn save<'a>(
    path: &Path,
    versions: impl Iterator<Item = (&'a ModelVersion, &'a DriftMonitor)>,
) -> Result<(), String> {
    let versions = versions.map(|(model, monitor)| SavedVersion {
        model: model.name.clone(),
        version: model.version,
        identity: identity(model),
        windows: monitor.saved(),
    });
    let mut versions: Vec<SavedVersion> = versions.collect();
    let before = read(path).ok().flatten().unwrap_or_default().versions;
    versions.extend(others(before, &versions));
    let saved = DriftFile { form: FORM, versions };
    let text = serde_json::to_vec(&saved).map_err(|error| error.to_string())?;
    let beside = path.with_extension(PARTIAL);
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        // Whoever reads the hashes can tell whether an id was scored.
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| error.to_string())
}

/// Those of earlier versions that are not among the `present` ones, and not too old; the newest ones.
fn others(before: Vec<SavedVersion>, present: &[SavedVersion]) -> Vec<SavedVersion> {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch")]
    let now = time::now() as i64;
    let is_present = |old: &SavedVersion| {
        present
            .iter()
            .any(|new| (&new.model, new.version) == (&old.model, old.version))
    };
    let mut others: Vec<SavedVersion> = before
        .into_iter()
        .filter(|old| !is_present(old) && old.windows.is_recent(now))
        .collect();
    others.sort_by_key(|old| std::cmp::Reverse(old.version));
    others.truncate(MOST_OTHERS);
    others
}

#[cfg(test)]
mod tests {
    use super::super::window::WindowKind;
    use super::*;
    use crate::models::sample;
    use crate::observe::monitor::ObservedEntity;
    use crate::observe::window::Observed;
    use crate::values::issues::FeatureIssues;

    fn count(monitor: &DriftMonitor, now: f64, ids: std::ops::Range<i64>) {
        let issues = FeatureIssues {
            stale: vec![1],
            ..FeatureIssues::default()
        };
        let row: Vec<f64> = (0..monitor.bins.inputs.len())
            .map(|input| if input == 0 { f64::NAN } else { 0.1 * input as f64 })
            .collect();
        let entities = ids.map(|id| ObservedEntity {
            id: IdRef::Int(id),
            observed: Observed {
                row: &row,
                value: Some(0.5),
                issues: &issues,
            },
        });
        monitor.record(now, entities);
    }

    fn restored(path: &Path, model: &ModelVersion, now: f64) -> DriftMonitor {
        let saved = SavedDrift::open(path).take(model);
        DriftMonitor::new(model, now, saved).unwrap()
    }

    fn windows(monitor: &DriftMonitor, now: f64) -> impl PartialEq + std::fmt::Debug {
        WindowKind::ALL.map(|kind| monitor.windows(kind, now))
    }

    #[test]
    fn windows_go_on_where_they_were_and_customers_count_once_over_a_restart() {
        let (folder, model) = (tempfile::tempdir().unwrap(), sample::version(1));
        let path = folder.path().join("drift.json");
        let monitor = DriftMonitor::new(&model, 0.0, None).unwrap();
        count(&monitor, 10.0, 0..300);
        count(&monitor, 3610.0, 200..500);
        save(&path, [(&model, &monitor)].into_iter()).unwrap();
        let again = restored(&path, &model, 3620.0);
        assert_eq!(windows(&again, 3620.0), windows(&monitor, 3620.0));
        count(&again, 3630.0, 0..600);
        let (hour, hours) = again.windows(WindowKind::Hour, 3630.0);
        let (day, _) = again.windows(WindowKind::Day, 3630.0);
        assert_eq!((hour.rows, hours[0].rows, day.rows), (600, 300, 600));
        // The present windows have ended before the restart.
        let later = restored(&path, &model, 86_400.0 + 10.0);
        let (day, days) = later.windows(WindowKind::Day, 86_410.0);
        assert_eq!((day.rows, days[0].rows, days.len()), (0, 500, 1));
        assert!(!path.with_extension(PARTIAL).exists());
    }

    #[test]
    fn what_is_torn_or_of_something_else_is_ignored() {
        let (folder, model) = (tempfile::tempdir().unwrap(), sample::version(1));
        let path = folder.path().join("drift.json");
        let rows = |model: &ModelVersion| restored(&path, model, 20.0).windows(WindowKind::Day, 20.0).0.rows;
        assert_eq!(rows(&model), 0, "no file");
        let monitor = DriftMonitor::new(&model, 0.0, None).unwrap();
        count(&monitor, 10.0, 0..300);
        save(&path, [(&model, &monitor)].into_iter()).unwrap();
        assert_eq!(rows(&model), 300);
        assert_eq!(rows(&sample::version(2)), 0, "another version");
        let mut other = sample::version(1);
        other.sha256 = "0".repeat(64);
        assert_eq!(rows(&other), 0, "another model under the same number");
        let mut other = sample::version(1);
        other.reference.as_mut().unwrap().rows += 1;
        assert_eq!(rows(&other), 0, "another reference");
        let text = std::fs::read_to_string(&path).unwrap();
        let bins = text.find("\"bins\":[").unwrap() + "\"bins\":[".len();
        let wrong = [
            text[..text.len() / 2].to_owned(),
            String::new(),
            text.replacen("\"form\":2", "\"form\":1", 1),
            format!("{}7,{}", &text[..bins], &text[bins..]),
            text.replacen("\"rows\":", "\"rows\":70000", 1),
            text.replacen("\"from\":0", "\"from\":3600", 1),
            text.replacen("\"from\":0", "\"from\":7", 1),
        ];
        for wrong in wrong {
            assert_ne!(wrong, text);
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(rows(&model), 0);
        }
    }

    /// Else the target would only see files that are refused. `EVERGREEN_BLESS=1` writes it for new bins.
    #[test]
    fn the_seed_of_the_fuzz_target_has_windows_of_the_sample() {
        let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/state/drift.json");
        let model = sample::version(1);
        if std::env::var_os("EVERGREEN_BLESS").is_some() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("drift.json");
            let monitor = DriftMonitor::new(&model, 0.0, None).unwrap();
            count(&monitor, 10.0, 0..2);
            count(&monitor, 3610.0, 1..3);
            save(&path, [(&model, &monitor)].into_iter()).unwrap();
            // The target takes the first byte for a choice.
            std::fs::write(&seed, [&[2], std::fs::read(path).unwrap().as_slice()].concat()).unwrap();
        }
        let text = std::fs::read(seed).unwrap();
        let saved = windows_of(&text[1..]).unwrap().pop();
        let monitor = DriftMonitor::new(&model, 3620.0, saved).unwrap();
        let (hour, hours) = monitor.windows(WindowKind::Hour, 3620.0);
        let (day, _) = monitor.windows(WindowKind::Day, 3620.0);
        assert_eq!((hour.rows, hours[0].rows, day.rows), (2, 2, 3));
        // As long as an input may be.
        assert!(text.len() <= 16_384, "{}", text.len());
    }

    #[test]
    fn a_version_that_is_prepared_again_has_the_windows_that_were_saved_last() {
        let (folder, model) = (tempfile::tempdir().unwrap(), sample::version(1));
        let path = folder.path().join("drift.json");
        let now = time::now();
        let monitor = DriftMonitor::new(&model, now, None).unwrap();
        count(&monitor, now, 0..250);
        save(&path, [(&model, &monitor)].into_iter()).unwrap();
        let mut saved = SavedDrift::open(&path);
        let mut rows = || {
            let monitor = DriftMonitor::new(&model, now, saved.take(&model)).unwrap();
            monitor.windows(WindowKind::Day, now).0.rows
        };
        // Its features could not be had: nothing keeps what it took.
        assert_eq!(rows(), 250);
        save(&path, std::iter::empty()).unwrap();
        assert_eq!(rows(), 250);
        // It has counted, and is loaded again.
        count(&monitor, now, 200..300);
        save(&path, [(&model, &monitor)].into_iter()).unwrap();
        assert_eq!(rows(), 300);
    }

    #[test]
    fn windows_of_a_version_that_is_not_loaded_stay() {
        let (folder, model) = (tempfile::tempdir().unwrap(), sample::version(1));
        let path = folder.path().join("drift.json");
        let now = time::now();
        let monitor = DriftMonitor::new(&model, now, None).unwrap();
        count(&monitor, now, 0..250);
        save(&path, [(&model, &monitor)].into_iter()).unwrap();
        save(&path, std::iter::empty()).unwrap();
        let other = sample::version(2);
        let of_other = DriftMonitor::new(&other, now, None).unwrap();
        save(&path, [(&other, &of_other)].into_iter()).unwrap();
        let rows = restored(&path, &model, now).windows(WindowKind::Day, now).0.rows;
        assert_eq!(rows, 250);
        // Too old to be shown.
        let old = DriftMonitor::new(&model, 0.0, None).unwrap();
        count(&old, 0.0, 0..250);
        save(&path, [(&model, &old)].into_iter()).unwrap();
        save(&path, std::iter::empty()).unwrap();
        assert!(SavedDrift::open(&path).take(&model).is_none());
    }

    #[test]
    fn a_damaged_file_is_ignored_or_counts_on_and_never_panics() {
        let (folder, model) = (tempfile::tempdir().unwrap(), sample::version(1));
        let path = folder.path().join("drift.json");
        let monitor = DriftMonitor::new(&model, 0.0, None).unwrap();
        count(&monitor, 10.0, 0..5);
        count(&monitor, 3610.0, 3..8);
        save(&path, [(&model, &monitor)].into_iter()).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut taken = 0;
        for _ in 0..500 {
            let mut text = good.clone();
            for _ in 0..random.usize(1..4) {
                let place = random.usize(..text.len());
                text[place] = random.u8(b'0'..=b'9');
            }
            std::fs::write(&path, text).unwrap();
            let again = restored(&path, &model, 3620.0);
            taken += usize::from(again.windows(WindowKind::Day, 3620.0).0.rows > 0);
            count(&again, 3630.0, 0..10);
            count(&again, 200_000.0, 0..10);
            assert_eq!(again.windows(WindowKind::Hour, 200_000.0).0.rows, 10);
        }
        assert!(taken > 0 && taken < 500, "{taken}");
    }
}
