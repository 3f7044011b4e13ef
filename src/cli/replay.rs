//! `evergreen replay`: scores a prediction log again. The version that wrote it must give every bit again; another version is
//! compared with what was answered.

mod comparison;
mod contributions;
pub(super) mod mapping;
mod report;

use std::path::{Path, PathBuf};

use clap::Args;

use super::offline::OfflineModel;
use super::{CommandError, load_config, print_line, progress_bar};
use crate::features::table::{Table, TableBatch};
use crate::models::ModelVersion;
use crate::record::prediction_log::meta::{FileMeta, output};
use crate::record::prediction_log::read::{LogFiles, file_meta};
use crate::scoring::replay::{margins, scores};
use crate::values::cell::Cell;
use comparison::{LoggedScore, VersionComparison};
use contributions::BaseModels;
use mapping::InputMapping;

const EXAMPLES: &str = "\
Examples:
  evergreen replay predictions --model models/churn/1         the version that wrote the log: every bit is the same
  evergreen replay predictions --model models/churn/2         what another version would have answered
  evergreen replay s3://bucket/predictions --model out/churn --log-model churn
  evergreen replay predictions/model=churn/version=1/date=2026-11-29 --model models/churn/2 --top 20
  evergreen replay --json predictions --model models/churn/2 | jq '.versions[0].bands'

The version that wrote rows is recognised by the SHA-256 of its model file and by its calibration. One bit that differs \
from the log is exit code 1. Another version gets the logged values under its own contract: the values after the rules of \
the version that wrote them, categories by name. Bands are those of its contract. Contributions of the version that wrote \
the log need its bundle: in --models, or named by --base.";

/// Columns that are read before the inputs.
const ENTITY: usize = 0;
const WRITER: usize = 1;
const SEQUENCE: usize = 2;
const SCORE: usize = 3;
const VALUE: usize = 4;
const BAND: usize = 5;
const FIXED: [&str; 6] = ["entity", "writer", "sequence", "score", "value", "band"];

/// The column after the inputs. Older logs do not have it.
const MARGIN: &str = "margin";

/// Score a prediction log again, and compare
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayCommand {
    /// The log: a folder, a file, or a URL such as s3://bucket/prefix
    log: PathBuf,
    /// Bundle folder, or name of a model in --models
    #[arg(long, value_name = "PATH|NAME")]
    model: String,
    /// Name of the model in the log. Default: the only one, or else the name of --model
    #[arg(long, value_name = "NAME")]
    log_model: Option<String>,
    /// Bundle folder of the version that wrote the log. Default: that version in --models
    #[arg(long, value_name = "PATH")]
    base: Option<String>,
    /// Repository folder in which to look up models
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Number of the entities to list whose scores change most
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = top)]
    top: usize,
    /// Settings file (TOML) with the section [storage]
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses the number of entities to list: they are kept in memory.
fn top(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= 10_000);
    number.ok_or_else(|| "expected a whole number from 0 to 10000, such as 10".to_owned())
}

impl ReplayCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let config = load_config(self.config.as_deref())?;
        let model = OfflineModel::load(&self.model, &self.models)?.version;
        if model.contract.is_none() {
            return Err(format!(
                "{}: expected a bundle with a contract (bundle.toml), found a model file; only bundles have scores",
                self.model
            )
            .into());
        }
        let bases = BaseModels::new(self.base.as_deref(), &self.models)?;
        let files = LogFiles::find(&self.log, &config.storage)?;
        let comparisons = self.replay(&model, &files)?;
        let failed = comparisons
            .iter()
            .any(|comparison| comparison.differing_bits() > 0);
        let reports = comparisons
            .into_iter()
            .map(|comparison| report::VersionReport::new(comparison, &model, &bases));
        let reports = reports.collect::<Result<Vec<_>, String>>()?;
        if self.json {
            print_line!("{:#}", report::json(&model, &reports));
        } else {
            report::print(&model, &reports);
        }
        match failed {
            true => Err(CommandError::CheckFailed),
            false => Ok(()),
        }
    }

    /// Scores all rows of the model, by the version that wrote them.
    fn replay(&self, model: &ModelVersion, files: &LogFiles) -> Result<Vec<VersionComparison>, String> {
        let wanted = self.log_model(model, files)?;
        let mut comparisons: Vec<VersionComparison> = Vec::new();
        let bar = progress_bar(files.bytes(), "replaying");
        for position in 0..files.len() {
            if files.model(position)? == wanted {
                let copy = files.fetch(position)?;
                let meta = file_meta(copy.path())?;
                let same = |known: &&mut VersionComparison| known.is_of(&meta);
                let at = match comparisons.iter_mut().position(|known| same(&known)) {
                    Some(at) => at,
                    None => {
                        let is_same = meta.sha256 == model.sha256 && meta.output == output(model);
                        comparisons.push(VersionComparison::new(&meta, is_same, self.top));
                        comparisons.len() - 1
                    }
                };
                if let Some(comparison) = comparisons.get_mut(at) {
                    replay_file(copy.path(), &meta, model, comparison)?;
                }
            }
            bar.inc(files.file_bytes(position));
        }
        bar.finish_and_clear();
        comparisons.sort_by_key(VersionComparison::version);
        match comparisons.iter().any(|comparison| comparison.rows() > 0) {
            true => Ok(comparisons),
            false => Err(format!("{}: no rows of model `{wanted}`", self.log.display())),
        }
    }

    /// The name of the model whose rows are replayed.
    fn log_model(&self, model: &ModelVersion, files: &LogFiles) -> Result<String, String> {
        let mut names: Vec<String> = Vec::new();
        for position in 0..files.len() {
            let name = files.model(position)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort();
        let log = self.log.display();
        let known = names.join(", ");
        if let Some(wanted) = &self.log_model {
            return match names.contains(wanted) {
                true => Ok(wanted.clone()),
                false => Err(format!(
                    "{log}: no rows of model `{wanted}`; the log has: {known}"
                )),
            };
        }
        match names.as_slice() {
            [only] => Ok(only.clone()),
            _ if names.contains(&model.name) => Ok(model.name.clone()),
            _ => Err(format!(
                "{log}: has rows of several models: {known}; choose one with --log-model"
            )),
        }
    }
}

/// Scores the rows of a file.
fn replay_file(
    path: &Path,
    meta: &FileMeta,
    model: &ModelVersion,
    comparison: &mut VersionComparison,
) -> Result<(), String> {
    let fail = |error: String| format!("{}: {error}", path.display());
    let mapping = InputMapping::new(meta, model, comparison.is_same()).map_err(fail)?;
    let table = Table::open(path).map_err(|error| error.to_string())?;
    let fixed = FIXED.iter().map(|&name| name.to_owned());
    let mut columns: Vec<String> = fixed.chain(mapping.columns()).collect();
    if comparison.is_same() && table.columns().iter().any(|name| name == MARGIN) {
        columns.push(MARGIN.to_owned());
    }
    let mut batches = table.batches(&columns).map_err(|error| error.to_string())?;
    while let Some(batch) = batches.next_batch().map_err(|error| error.to_string())? {
        replay_batch(&batch, &mapping, model, comparison).map_err(fail)?;
    }
    Ok(())
}

fn replay_batch(
    batch: &TableBatch,
    mapping: &InputMapping<'_>,
    model: &ModelVersion,
    comparison: &mut VersionComparison,
) -> Result<(), String> {
    let mut rows = Vec::with_capacity(batch.rows * model.inputs.len());
    let mut refused = Vec::with_capacity(batch.rows);
    let mut logged = Vec::with_capacity(batch.rows);
    let width = mapping.columns().count();
    let logged_margins = batch.columns.get(FIXED.len() + width);
    for row in 0..batch.rows {
        let inputs = batch.columns.iter().skip(FIXED.len()).take(width);
        let values: Vec<f64> = inputs.map(|column| number(column.cell(row))).collect();
        refused.push(mapping.add_row(&values, &mut rows).err());
        logged.push(values);
    }
    let replayed = scores(model, &rows).map_err(|error| error.to_string())?;
    let margins = match logged_margins {
        Some(_) => margins(model, &rows).map_err(|error| error.to_string())?,
        None => None,
    };
    let rows = rows.chunks_exact(model.inputs.len().max(1));
    for (row, (((values, refused), replayed), inputs)) in logged
        .into_iter()
        .zip(refused)
        .zip(replayed)
        .zip(rows)
        .enumerate()
    {
        let cell = |column: usize| {
            batch
                .columns
                .get(column)
                .map_or(Cell::Null, |column| column.cell(row))
        };
        let logged = LoggedScore {
            entity: text(cell(ENTITY)),
            writer: text(cell(WRITER)).unwrap_or_default(),
            sequence: match cell(SEQUENCE) {
                Cell::Int(sequence) => sequence,
                _ => -1,
            },
            score: number(cell(SCORE)),
            value: number(cell(VALUE)),
            margin: logged_margins.and_then(|column| float(column.cell(row))),
            band: text(cell(BAND)),
            values,
        };
        match refused {
            Some(reason) => comparison.refuse(reason),
            None => {
                let margin = margins.as_ref().and_then(|margins| margins.get(row).copied());
                comparison.add(logged, replayed, margin, inputs, model);
            }
        }
    }
    Ok(())
}

/// A number of the log; NaN for missing.
fn number(cell: Cell<'_>) -> f64 {
    float(cell).unwrap_or(f64::NAN)
}

fn float(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Float(number) => Some(number),
        _ => None,
    }
}

fn text(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Text(text) | Cell::Untyped(text) => Some(text.to_owned()),
        _ => None,
    }
}
