//! `evergreen drift`: compares a table of features or a prediction log with training, offline.

mod log;
mod page;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::offline::OfflineModel;
use super::score::check_complete;
use super::table::TextTable;
use super::{CommandError, YELLOW, load_config, print_error, print_line, print_table, progress_bar};
use crate::api::http::ReportBody;
use crate::features::table::{Table, TableBatch};
use crate::models::ModelVersion;
use crate::observe::bins::ModelBins;
use crate::observe::report::{DriftReport, Thresholds};
use crate::observe::window::{Observed, Window};
use crate::storage::temporary_name;
use crate::values::issues::FeatureIssues;
use crate::values::time::instant;
use crate::words::{counted, thousands};
use evergreen_forest::{OutputKind, Scratch};

const EXAMPLES: &str = "\
Examples:
  evergreen drift customers.parquet --model churn
  evergreen drift exports/ --model models/churn/1 --html drift.html
  evergreen drift exports/ --model churn --window-rows 5000         judge every 5,000 rows on their own
  evergreen drift customers.parquet --model churn --json | jq '.windows[0].features[] | select(.drifted) | .text'
  evergreen drift customers.parquet --model churn --check || echo 'features have moved'
  evergreen drift predictions --model churn                         a prediction log, day by day
  evergreen drift s3://bucket/predictions --model churn --html drift.html

Columns of a table are matched to features by name, as by evergreen score, and every row counts. In a prediction log each \
entity counts once a day, and what-if requests do not count.";

/// Compare a table of features or a prediction log with training
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DriftCommand {
    /// Table: file or folder of files, Parquet, CSV or JSON lines. Or prediction log: folder, file or URL
    input: PathBuf,
    /// Bundle folder, or name of a model in --models
    #[arg(long, value_name = "PATH|NAME")]
    model: String,
    /// Repository folder in which to look up a model NAME
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Rows of a window of a table. Default: all rows are one window
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    window_rows: Option<u64>,
    /// Settings file (TOML) with the sections [drift] and [storage]
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with code 1 if anything has moved
    #[arg(long)]
    check: bool,
}

impl DriftCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let config = load_config(self.config.as_deref())?;
        let model = OfflineModel::load(&self.model, &self.models)?;
        let bins = ModelBins::of(&model.version).ok_or_else(|| {
            format!(
                "{}: expected a bundle with reference.json, the distributions at training; save_bundle writes it",
                self.model
            )
        })?;
        let windows = match log::is_log(&self.input) {
            true => log::count(&self.input, &config.storage, &model.version, &bins)?,
            false => {
                check_complete(&self.input)?;
                let table = Table::open(&self.input).map_err(|error| error.to_string())?;
                self.count(&model, &bins, &table)?
            }
        };
        let thresholds = Thresholds::from(&config.drift);
        let report = |(name, window): (DayOrRows, Window)| {
            (name, DriftReport::of(&model.version, &bins, &window, thresholds))
        };
        let reports: Vec<(DayOrRows, DriftReport)> = windows.into_iter().map(report).collect();
        let moved = reports.iter().any(|(_, report)| report.anything_moved());
        if let Some(path) = &self.html {
            write(path, &page::page(&model.version, &reports))?;
            print_error!("page written to {}", path.display());
        }
        if self.json {
            print_line!("{}", json_reports(&model.version, reports));
        } else {
            print_reports(&model.version, &reports);
        }
        if self.check && moved {
            return Err(CommandError::CheckFailed);
        }
        Ok(())
    }

    /// Counts the rows of a table by window.
    fn count(
        &self,
        model: &OfflineModel,
        bins: &ModelBins,
        table: &Table,
    ) -> Result<Vec<(DayOrRows, Window)>, String> {
        let selection = model.select(table, None);
        let mut batches = table
            .batches(&selection.columns)
            .map_err(|error| error.to_string())?;
        let bar = progress_bar(table.bytes(), "counting");
        let (mut windows, mut skipped) = (vec![Window::new(0, bins)], Skipped::default());
        let mut scratch = Scratch::default();
        while let Some(batch) = batches.next_batch().map_err(|error| error.to_string())? {
            let mut issues: Vec<Option<FeatureIssues>> = vec![None; batch.rows];
            let rows = model
                .rows(
                    &batch,
                    &selection,
                    true,
                    &mut |row, reasons| {
                        let first = reasons.first().map_or("", |first| first.reason.as_str());
                        skipped.add(&batch, row, first);
                    },
                    &mut |row, found| issues[row] = Some(found),
                )
                .map_err(|error| error.to_string())?;
            let values = values(&model.version, &rows, batch.rows, &mut scratch)?;
            let width = bins.inputs.len();
            for (row, issues) in issues.iter().enumerate() {
                let Some(issues) = issues else { continue };
                let full = |window: &Window| self.window_rows.is_some_and(|most| window.rows >= most);
                if windows.last().is_none_or(full) {
                    windows.push(Window::new(0, bins));
                }
                if let Some(window) = windows.last_mut() {
                    let value = values.get(row).copied();
                    let row = &rows[row * width..(row + 1) * width];
                    window.add(bins, &Observed { row, value, issues });
                }
            }
            bar.set_position(batches.position(&batch));
        }
        bar.finish_and_clear();
        skipped.print();
        let mut first = 1;
        let named = windows.into_iter().map(|window| {
            let rows = DayOrRows::Rows(first, first + window.rows.saturating_sub(1));
            first += window.rows;
            (rows, window)
        });
        Ok(named.collect())
    }
}

/// What a window holds.
enum DayOrRows {
    /// A day of a log, by its start in seconds since the Unix epoch.
    Day(i64),
    /// The first and the last row of a table that count.
    Rows(u64, u64),
}

impl std::fmt::Display for DayOrRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch")]
            Self::Day(start) => match instant(*start as f64) {
                Some(time) => write!(f, "{}", time.strftime("%Y-%m-%d")),
                None => write!(f, "{start}"),
            },
            Self::Rows(first, last) => write!(f, "rows {} to {}", thousands(first), thousands(last)),
        }
    }
}

/// Rows that the contract rejects.
#[derive(Default)]
struct Skipped {
    count: u64,
    first: String,
}

impl Skipped {
    fn add(&mut self, batch: &TableBatch, row: usize, reason: &str) {
        if self.count == 0 {
            let (path, row) = (batch.path.display(), batch.first_row + row as u64);
            self.first = format!("{path}, row {row}: {reason}");
        }
        self.count += 1;
    }

    fn print(&self) {
        if self.count > 0 {
            let count = thousands(self.count);
            print_error!(
                "{YELLOW}{count} rows do not count{YELLOW:#}: they get no score; first: {}",
                self.first
            );
        }
    }
}

/// The model's value for each row, before calibration; none if that is not one number.
fn values(
    model: &ModelVersion,
    rows: &[f64],
    count: usize,
    scratch: &mut Scratch,
) -> Result<Vec<f64>, String> {
    let kind = match model.score_output() {
        kind if model.forest.width(kind).is_ok_and(|width| width == 1) => kind,
        OutputKind::Class => OutputKind::Class,
        _ => return Ok(Vec::new()),
    };
    let mut out = vec![0.0; count];
    model
        .forest
        .predict(kind, rows, &mut out, scratch)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

fn json_reports(model: &ModelVersion, reports: Vec<(DayOrRows, DriftReport)>) -> serde_json::Value {
    let (name, version) = (&model.name, model.version);
    let windows = reports.into_iter().map(|(window, report)| {
        let mut body = json!(ReportBody::of(model, report));
        body["window"] = window.to_string().into();
        body
    });
    json!({
        "model": {"name": name, "version": version, "sha256": model.sha256},
        "windows": windows.collect::<Vec<_>>(),
    })
}

fn print_reports(model: &ModelVersion, reports: &[(DayOrRows, DriftReport)]) {
    let [(window, report)] = reports else {
        for (window, report) in reports {
            print_line!("{window}: {}", report.text);
            for feature in report.drifted() {
                print_line!("  {}", feature.text);
            }
        }
        let moved = reports
            .iter()
            .filter(|(_, report)| report.anything_moved())
            .count();
        print_line!("{moved} of {} moved", counted(reports.len(), "window"));
        return;
    };
    if let DayOrRows::Day(_) = window {
        print_line!("{window}");
    }
    print_line!("{}", report.text);
    let mut features: Vec<_> = report.features.iter().collect();
    features.sort_by(|a, b| {
        (b.drifted(), b.weight)
            .partial_cmp(&(a.drifted(), a.weight))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut table = TextTable::with_header(["feature", "PSI", "chance", "weight", ""], &[1, 2, 3]);
    for feature in features {
        let Some(input) = model.inputs.get(feature.input) else {
            continue;
        };
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        let distance = feature.values.distance.filter(|_| feature.values.judged);
        let text = match feature.drifted() {
            true => format!("{YELLOW}{}{YELLOW:#}", feature.text),
            false if feature.values.judged => "has not moved".to_owned(),
            false => "not judged".to_owned(),
        };
        table.add_row([
            input.contract.name.clone(),
            number(distance.map(|distance| distance.psi)),
            number(distance.map(|distance| distance.chance)),
            format!("{:.1}%", 100.0 * feature.weight),
            text,
        ]);
    }
    print_table(&table, "  ");
}

/// Writes a file under its name only when it is complete.
fn write(path: &std::path::Path, text: &str) -> Result<(), String> {
    let temporary = path.with_file_name(temporary_name(".drift"));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        format!("{}: {error}", path.display())
    })
}
