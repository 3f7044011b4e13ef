//! Counts the rows of a prediction log by day.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use super::{DayOrRows, values};
use crate::cli::replay::mapping::InputMapping;
use crate::cli::{YELLOW, print_error, progress_bar};
use crate::config::StorageSection;
use crate::config::location::is_remote;
use crate::features::table::{Table, TableBatch};
use crate::models::ModelVersion;
use crate::observe::bins::ModelBins;
use crate::observe::distinct_window::DistinctWindow;
use crate::observe::window::{Observed, Window, WindowKind};
use crate::record::prediction_log::meta::{FileMeta, output};
use crate::record::prediction_log::read::{LogFiles, file_meta};
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use crate::values::issues::{FeatureIssues, STATUSES};
use crate::words::thousands;
use evergreen_forest::Scratch;

/// Columns that are read before the inputs.
const ENTITY: usize = 0;
const AT: usize = 1;
const OVERRIDDEN: usize = 2;
const ORIGIN: usize = 3;
const ISSUES: usize = 4;
const FIXED: [&str; 5] = ["entity", "at", "overridden", "origin", "issues"];

/// Folders of a log below that of a model: version and day, with the files in it.
const DEPTH: usize = 3;

/// The name of unknown categories among the issues of the log.
const UNKNOWN_CATEGORY: &str = "unknown_category";

/// Whether a path is that of a prediction log, not of a table of features, which may be partitioned as well.
pub(super) fn is_log(path: &Path) -> bool {
    is_remote(path) || file_meta(path).is_ok() || has_log_files(path, DEPTH)
}

/// Whether a folder has parts for models, or files of a log in at most this many folders inside each other.
fn has_log_files(folder: &Path, depth: usize) -> bool {
    let entries = folder.read_dir().into_iter().flatten();
    let mut entries = entries.filter_map(Result::ok);
    entries.any(|entry| {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_file = name.ends_with(".parquet") && file_meta(&path).is_ok();
        is_file
            || name.starts_with("model=")
            || (depth > 1 && path.is_dir() && has_log_files(&path, depth - 1))
    })
}

/// Counts by day.
struct DayCounts<'a> {
    model: &'a ModelVersion,
    bins: &'a ModelBins,
    hasher: RandomState,
    days: BTreeMap<i64, DistinctWindow>,
    left_out: LeftOut,
    scratch: Scratch,
}

/// Rows that do not count.
#[derive(Default)]
struct LeftOut {
    /// They have no id.
    without_id: u64,
    /// The request replaced features of a source.
    what_if: u64,
    /// They lack what the version needs, or a time.
    refused: u64,
}

impl LeftOut {
    fn rows(&self) -> u64 {
        self.without_id + self.what_if + self.refused
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons = [
            (
                self.without_id,
                "without an id, by which each customer counts once",
            ),
            (self.what_if, "what-if"),
            (self.refused, "without what this version needs"),
        ];
        let found = reasons.iter().filter(|(rows, _)| *rows > 0);
        let texts: Vec<String> = found
            .map(|(rows, reason)| format!("{} {reason}", thousands(rows)))
            .collect();
        f.write_str(&texts.join(", "))
    }
}

/// Counts the log of a model: each entity once in a day, whichever version scored it. Scores are computed by `model`.
///
/// # Errors
/// It cannot be read, lacks an input of the model, or has no rows of it.
pub(super) fn count(
    path: &Path,
    storage: &StorageSection,
    model: &ModelVersion,
    bins: &ModelBins,
) -> Result<Vec<(DayOrRows, Window)>, String> {
    let files = LogFiles::find(path, storage)?;
    let mut counts = DayCounts {
        model,
        bins,
        hasher: RandomState::new(),
        days: BTreeMap::new(),
        left_out: LeftOut::default(),
        scratch: Scratch::default(),
    };
    let bar = progress_bar(files.bytes(), "counting");
    for position in 0..files.len() {
        if files.model(position)? == model.name {
            let copy = files.fetch(position)?;
            counts
                .add_file(copy.path())
                .map_err(|error| format!("{}: {error}", copy.path().display()))?;
        }
        bar.inc(files.file_bytes(position));
    }
    bar.finish_and_clear();
    let left_out = &counts.left_out;
    if counts.days.is_empty() {
        let (path, name) = (path.display(), &model.name);
        return Err(match left_out.rows() {
            0 => format!("{path}: expected rows of model `{name}`, found none"),
            rows => format!(
                "{path}: none of the {} rows of model `{name}` counts: {left_out}",
                thousands(rows)
            ),
        });
    }
    if left_out.rows() > 0 {
        let count = thousands(left_out.rows());
        print_error!("{YELLOW}{count} rows do not count{YELLOW:#}: {left_out}");
    }
    let days = counts.days.values();
    Ok(days
        .map(|day| (DayOrRows::Day(day.from), day.window(bins)))
        .collect())
}

impl DayCounts<'_> {
    fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let meta = file_meta(path)?;
        let same = meta.sha256 == self.model.sha256 && meta.output == output(self.model);
        let mapping = InputMapping::new(&meta, self.model, same)?;
        let table = Table::open(path).map_err(|error| error.to_string())?;
        let fixed = FIXED.iter().map(|&name| name.to_owned());
        let columns: Vec<String> = fixed.chain(mapping.columns()).collect();
        let mut batches = table.batches(&columns).map_err(|error| error.to_string())?;
        while let Some(batch) = batches.next_batch().map_err(|error| error.to_string())? {
            self.add_batch(&batch, &meta, &mapping)?;
        }
        Ok(())
    }

    fn add_batch(
        &mut self,
        batch: &TableBatch,
        meta: &FileMeta,
        mapping: &InputMapping<'_>,
    ) -> Result<(), String> {
        let mut rows = Vec::with_capacity(batch.rows * self.bins.inputs.len());
        let mut refused = Vec::with_capacity(batch.rows);
        for row in 0..batch.rows {
            let inputs = batch.columns.iter().skip(FIXED.len());
            let logged: Vec<f64> = inputs
                .map(|column| match column.cell(row) {
                    Cell::Float(number) => number,
                    _ => f64::NAN,
                })
                .collect();
            refused.push(mapping.add_row(&logged, &mut rows).is_err());
        }
        let scored = values(self.model, &rows, batch.rows, &mut self.scratch)?;
        let width = self.bins.inputs.len();
        for (row, refused) in refused.into_iter().enumerate() {
            let Some((hash, day)) = self.counted(batch, row, refused) else {
                continue;
            };
            let bins = self.bins;
            let observed = Observed {
                row: &rows[row * width..(row + 1) * width],
                value: scored.get(row).copied(),
                issues: &issues(self.model, meta, cell(batch, ISSUES, row)),
            };
            let window = self.days.entry(day);
            let window = window.or_insert_with(|| DistinctWindow::new(day));
            window.add(hash, bins, &observed);
        }
        Ok(())
    }

    /// The hash of a row's entity and its day; `None` if the row does not count.
    fn counted(&mut self, batch: &TableBatch, row: usize, refused: bool) -> Option<(u64, i64)> {
        let (Cell::Text(entity) | Cell::Untyped(entity)) = cell(batch, ENTITY, row) else {
            self.left_out.without_id += 1;
            return None;
        };
        let overridden = cell(batch, OVERRIDDEN, row) != Cell::Null;
        let own = matches!(
            cell(batch, ORIGIN, row),
            Cell::Text("request") | Cell::Untyped("request")
        );
        if overridden && !own {
            self.left_out.what_if += 1;
            return None;
        }
        let at = cell(batch, AT, row).number(FeatureType::Timestamp);
        let Some(at) = at.ok().flatten().filter(|_| !refused) else {
            self.left_out.refused += 1;
            return None;
        };
        #[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch")]
        let day = WindowKind::Day.start(at as i64);
        Some((self.hasher.hash_one(entity), day))
    }
}

fn cell(batch: &TableBatch, column: usize, row: usize) -> Cell<'_> {
    let column = batch.columns.get(column);
    column.map_or(Cell::Null, |column| column.cell(row))
}

/// The issues that the log has of a row, by the model's inputs.
fn issues(model: &ModelVersion, meta: &FileMeta, logged: Cell<'_>) -> FeatureIssues {
    let (Cell::Text(text) | Cell::Untyped(text)) = logged else {
        return FeatureIssues::default();
    };
    let found: BTreeMap<String, Vec<String>> = serde_json::from_str(text).unwrap_or_default();
    let positions = |key: &str| {
        let names = found.get(key).into_iter().flatten();
        let known = names.filter(|name| meta.input(name).is_some());
        known.filter_map(|name| model.input(name)).collect::<Vec<_>>()
    };
    let [missing, null, stale, out_of_range, defaulted] = STATUSES.map(positions);
    FeatureIssues {
        missing,
        null,
        stale,
        out_of_range: [out_of_range, positions(UNKNOWN_CATEGORY)].concat(),
        defaulted,
    }
}
