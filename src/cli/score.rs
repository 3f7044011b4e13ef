//! `evergreen score`: scores a table offline, with the same engine and contract as the server.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::offline::{OfflineModel, RowRejection};
use super::rejects::Rejects;
use super::sink::{self, Numbers, OutputHeader};
use super::{CommandError, YELLOW, print_error, progress_bar, thousands};
use crate::features::table::{Table, TableBatch, unfinished};
use crate::models::contract::ScoreKind;
use crate::scoring::calibration::calibrate;
use evergreen_forest::{OutputKind, Precision, Scratch};

const EXAMPLES: &str = "\
Examples:
  evergreen score --model models/churn/1 --input customers.parquet --output scores.parquet
  evergreen score --model churn --input exports/ --output scores.csv --kind contributions
  evergreen score --model model.json --input rows.jsonl --output leaves.jsonl --kind leaf
  evergreen score --model churn --input raw.csv --output scores.csv --on-error skip --rejects rejects.csv

Columns are matched to features by name; others are ignored. The output has the id (the contract's entity, or a column \
named like id, customer_id or customerID) and a column with the kind's name, or several, numbered from 0. Rows keep the \
input's order.";

/// Score a table offline: Parquet, CSV or JSON lines in and out
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ScoreCommand {
    /// Bundle folder, model file, or name of a model in --models
    #[arg(long, value_name = "PATH|NAME")]
    model: String,
    /// Input file, or folder of files: Parquet, CSV or JSON lines
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Output file; its ending sets the format: .parquet, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Id column. Default: the contract's entity, or a column named like an id
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Kind of prediction. Default: the contract's output, or else the library's plain prediction
    #[arg(long, value_enum)]
    kind: Option<OutputChoice>,
    /// What to do with a row that has a bad cell
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    on_error: OnError,
    /// CSV file for the rows without a score: file, row, column and reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Repository folder in which to look up a model NAME
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
}

/// What happens at a row with a cell that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// Stop, and write no output
    Stop,
    /// Write the row without a score, and go on
    Skip,
}

/// The kind of prediction to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputChoice {
    /// Probabilities, calibrated if the contract says so
    Probability,
    /// The library's plain prediction
    Value,
    /// The raw sum of the leaves
    Margin,
    /// The predicted class
    Class,
    /// The leaf reached in each tree, numbered as by the library; for CatBoost's Depthwise and Lossguide trees, as by the
    /// library after it has loaded the file
    Leaf,
    /// What each feature adds to the margin
    Contributions,
}

impl OutputChoice {
    fn output(self) -> OutputKind {
        match self {
            Self::Probability | Self::Value => OutputKind::Value,
            Self::Margin => OutputKind::Margin,
            Self::Class => OutputKind::Class,
            Self::Leaf => OutputKind::Leaf,
            Self::Contributions => OutputKind::Contributions,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Value => "value",
            Self::Margin => "margin",
            Self::Class => "class",
            Self::Leaf => "leaf",
            Self::Contributions => "contributions",
        }
    }
}

impl ScoreCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        check_output_path(&self.input, &self.output)?;
        if let Some(rejects) = &self.rejects {
            check_output_path(&self.input, rejects)?;
            check_output_path(&self.output, rejects)?;
            if *rejects == self.output {
                return Err(format!(
                    "{}: expected different files for --output and --rejects",
                    rejects.display()
                )
                .into());
            }
        }
        let model = OfflineModel::load(&self.model, &self.models)?;
        let kind = kind(&model, self.kind)?;
        check_complete(&self.input)?;
        let table = Table::open(&self.input).map_err(|error| error.to_string())?;
        let mut rejects = self.rejects.as_deref().map(Rejects::create).transpose()?;
        let summary = score(&self, &model, kind, &table, &mut rejects)?;
        if let Some(rejects) = rejects {
            rejects.finish()?;
        }
        let (rows, output) = (thousands(summary.rows), self.output.display());
        print_error!("{rows} rows scored to {output}");
        if let Some((count, first)) = summary.rejected {
            let count = thousands(count);
            let listed = self
                .rejects
                .as_ref()
                .map(|path| format!("; all in {}", path.display()));
            let listed = listed.unwrap_or_default();
            print_error!("{YELLOW}{count} rows have no score{YELLOW:#}; first: {first}{listed}");
        }
        Ok(())
    }
}

/// Checks that the job which writes an input folder is done, by the rule of serving.
fn check_complete(input: &Path) -> Result<(), String> {
    let Ok(entries) = input.read_dir() else {
        return Ok(());
    };
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    match unfinished(names.iter().map(String::as_str)) {
        Some(reason) => Err(format!(
            "{}: {reason}; put an empty file _SUCCESS into it if it is complete",
            input.display()
        )),
        None => Ok(()),
    }
}

/// Checks that the output neither replaces the input nor is in its folder, where the next run would read it.
fn check_output_path(input: &Path, output: &Path) -> Result<(), String> {
    let Ok(input) = input.canonicalize() else {
        return Ok(());
    };
    let folder = output.parent().map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    let folder = folder.and_then(|folder| folder.canonicalize().ok());
    let output = output
        .canonicalize()
        .ok()
        .or_else(|| Some(folder?.join(output.file_name()?)));
    match output {
        Some(output) if output.starts_with(&input) => Err(format!(
            "{}: the output would overwrite the input or become part of it; choose another --output",
            output.display()
        )),
        _ => Ok(()),
    }
}

/// Returns the requested kind, or the model's default.
///
/// # Errors
/// The model has no probabilities.
fn kind(model: &OfflineModel, requested: Option<OutputChoice>) -> Result<OutputChoice, String> {
    let has_probabilities = model.version.forest.gives_probabilities();
    let contract = model
        .version
        .contract
        .as_ref()
        .map(|contract| contract.output.kind);
    let kind = requested.unwrap_or(match contract {
        Some(ScoreKind::Probability) => OutputChoice::Probability,
        Some(ScoreKind::Margin) => OutputChoice::Margin,
        Some(ScoreKind::Class) => OutputChoice::Class,
        None if has_probabilities => OutputChoice::Probability,
        Some(ScoreKind::Value) | None => OutputChoice::Value,
    });
    if kind == OutputChoice::Probability && !has_probabilities {
        let objective = &model.version.forest.summary().objective;
        return Err(format!(
            "--kind probability: {objective} has no probability; use --kind value, margin or class"
        ));
    }
    Ok(kind)
}

/// The result of a run.
struct ScoreSummary {
    rows: usize,
    /// Number of rows without a score, and the reason of the first.
    rejected: Option<(usize, String)>,
}

fn score(
    command: &ScoreCommand,
    model: &OfflineModel,
    kind: OutputChoice,
    table: &Table,
    rejects: &mut Option<Rejects>,
) -> Result<ScoreSummary, String> {
    let selection = model.select(table, command.id.as_deref());
    let mut batches = table
        .batches(&selection.columns)
        .map_err(|error| error.to_string())?;
    let width = model
        .version
        .forest
        .width(kind.output())
        .map_err(|error| error.to_string())?;
    let header = OutputHeader {
        id: selection.id.clone(),
        columns: column_names(model, kind, width),
        numbers: number_type(model, kind),
    };
    let mut sink = sink::create(&command.output, header)?;
    let bar = progress_bar(table.bytes(), "scoring");
    let mut scratch = Scratch::default();
    let mut summary = ScoreSummary {
        rows: 0,
        rejected: None,
    };
    let mut out = Vec::new();
    while let Some(batch) = batches.next_batch().map_err(|error| error.to_string())? {
        let mut skip = vec![false; batch.rows];
        let mut failed = None;
        let mut reject = |row: usize, rejection: RowRejection| {
            skip[row] = true;
            let number = batch.first_row + row as u64;
            if let Some(rejects) = rejects {
                failed = failed.take().or(rejects.add(&batch, number, &rejection).err());
            }
            let first = || (0, rejection.at(number));
            summary.rejected.get_or_insert_with(first).0 += 1;
        };
        let rows = model
            .rows(&batch, &selection, command.on_error == OnError::Skip, &mut reject)
            .map_err(|error| match command.on_error {
                OnError::Stop => format!("{error}; --on-error skip writes such rows without a score"),
                OnError::Skip => error.to_string(),
            })?;
        if let Some(error) = failed {
            return Err(error);
        }
        predict(model, kind, &rows, &batch, width, &mut out, &mut scratch)?;
        sink.write(
            batch.columns.first().filter(|_| selection.id.is_some()),
            &out,
            &skip,
        )?;
        summary.rows += batch.rows;
        bar.set_position(batches.position(&batch));
    }
    bar.finish_and_clear();
    sink.finish()?;
    Ok(summary)
}

fn predict(
    model: &OfflineModel,
    kind: OutputChoice,
    rows: &[f64],
    batch: &TableBatch,
    width: usize,
    out: &mut Vec<f64>,
    scratch: &mut Scratch,
) -> Result<(), String> {
    out.clear();
    out.resize(batch.rows * width, 0.0);
    model
        .version
        .forest
        .predict(kind.output(), rows, out, scratch)
        .map_err(|error| error.to_string())?;
    let calibrated = model
        .version
        .contract
        .as_ref()
        .filter(|contract| contract.output.calibration.is_some());
    if let (OutputChoice::Probability, Some(contract)) = (kind, calibrated) {
        let mut margins = vec![0.0; batch.rows];
        model
            .version
            .forest
            .predict(OutputKind::Margin, rows, &mut margins, scratch)
            .map_err(|error| error.to_string())?;
        for (value, margin) in out.iter_mut().zip(margins) {
            *value = calibrate(&contract.output, Some(margin), *value);
        }
    }
    Ok(())
}

fn column_names(model: &OfflineModel, kind: OutputChoice, width: usize) -> Vec<String> {
    let groups = model.version.forest.summary().groups;
    if kind == OutputChoice::Contributions {
        let features = model
            .version
            .forest
            .features()
            .iter()
            .map(|feature| feature.name.clone());
        let names: Vec<String> = features.chain(["bias".to_owned()]).collect();
        if groups == 1 {
            return names;
        }
        return (0..groups)
            .flat_map(|group| names.iter().map(move |name| format!("{name}_{group}")))
            .collect();
    }
    match width {
        1 => vec![kind.name().to_owned()],
        _ => (0..width)
            .map(|number| format!("{}_{number}", kind.name()))
            .collect(),
    }
}

fn number_type(model: &OfflineModel, kind: OutputChoice) -> Numbers {
    let calibrated = model
        .version
        .contract
        .as_ref()
        .is_some_and(|contract| contract.output.calibration.is_some());
    match (kind, model.version.forest.precision()) {
        (OutputChoice::Leaf | OutputChoice::Class, _) => Numbers::Whole,
        (OutputChoice::Probability, _) if calibrated => Numbers::Double,
        (_, Precision::F32) => Numbers::Single,
        (_, Precision::F64) => Numbers::Double,
    }
}
