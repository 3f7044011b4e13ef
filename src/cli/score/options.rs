//! The command line of `evergreen score`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::compute::Scoring;
use super::details::DetailColumn;
use super::input::STANDARD;
use super::kind::OutputChoice;
use super::output::is_folder;
use super::pipeline::default_threads;
use super::store::{StoreOptions, address};
use super::{check_different, check_output_path};
use crate::cli::sink::OutputFormat;
use crate::features::table::FileKind;

const HELP: &str = "\
Examples:
  evergreen score --model models/churn/1 --input customers.parquet --output scores.parquet
  evergreen score --model churn --input exports/ --output scores.csv --kind contributions
  evergreen score --model model.json --input rows.jsonl --output leaves.jsonl --kind leaf
  evergreen score --model churn --input raw.csv --output scores.csv --on-error skip --rejects rejects.csv
  evergreen score --model churn --input s3://lake/customers/ --output s3://lake/scores/day=2026-11-29/
  evergreen score --model churn --input customers/ --output scores/ --explain 3
  zcat rows.csv.gz | evergreen score --model churn --input - --input-format csv --output - > scores.csv
  evergreen score --model churn --input customers/ --write redis://cache:6379/0 --expire 2d --checkpoint job.json

Columns are matched to features by name; others are ignored. The output has the id (the contract's entity, or a column \
named like id, customer_id or customerID), a column with the kind's name, or several, numbered from 0, and the --columns. \
Rows keep the input's order.

An input is Parquet, or CSV, TSV or JSON lines, plain or compressed (.gz, .zst); a folder may have partitions such as \
day=2026-11-29/, whose names are columns. Object storage needs a build with --features object-store.

An output that ends with / is a folder of part files. A job that was killed continues after the last complete part, if it is \
started again with the same command; a changed input or model is refused. The file _SUCCESS says that the folder is complete.

Exit codes: 0 every row has a score; 1 the output, a store, the checkpoint or object storage could not be reached or \
written, and the same command may be tried again; 2 the command line, the model or the input is not valid; 3 complete, but more rows have no score than --allow-rejects allows.";

/// Score a table offline: Parquet, CSV or JSON lines in and out
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct ScoreCommand {
    /// Bundle folder, model file, or name of a model in --models
    #[arg(long, value_name = "PATH|NAME")]
    pub(super) model: String,
    /// Input file, folder of files, URL in object storage, or - for standard input
    #[arg(long, value_name = "PATH|URL|-")]
    pub(super) input: PathBuf,
    /// Format of standard input
    #[arg(long, value_enum)]
    input_format: Option<TextFormat>,
    /// Output file, whose ending sets the format (.parquet, .csv, .tsv or .jsonl, text also .gz or .zst); folder for part
    /// files (scores/); or - for standard output
    #[arg(long, value_name = "PATH|URL|-", required_unless_present = "write")]
    pub(super) output: Option<PathBuf>,
    /// Format of standard output (default: csv) or of part files (default: parquet)
    #[arg(long, value_enum)]
    output_format: Option<TextFormat>,
    /// Id column. Default: the contract's entity, or a column named like an id
    #[arg(long, value_name = "COLUMN")]
    pub(super) id: Option<String>,
    /// Kind of prediction. Default: the contract's output, or else the library's plain prediction
    #[arg(long, value_enum)]
    pub(super) kind: Option<OutputChoice>,
    /// Columns beside the prediction, with commas between them, or `none`. Default: all but `scored_at`; with --kind none
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', value_parser = detail_column)]
    columns: Option<Vec<Option<DetailColumn>>>,
    /// Number of reasons per row: the feature, its value, what it adds to the margin, and a sentence
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(super) explain: usize,
    /// What to do with a row that has a bad cell
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    on_error: OnError,
    /// CSV file for the rows without a score: file, row, id, column, value and reason
    #[arg(long, value_name = "PATH|URL")]
    pub(super) rejects: Option<PathBuf>,
    /// Largest share of rows without a score with which the exit code is 0 all the same, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(super) allow_rejects: f64,
    /// Read a folder of part files without _SUCCESS, as servers do with features.watch.success_file = false
    #[arg(long)]
    pub(super) no_success_file: bool,
    /// Rows of a part file, about
    #[arg(long, value_name = "ROWS", default_value = "1000000")]
    pub(super) part_rows: NonZeroU64,
    /// Start over, whatever an earlier run has written
    #[arg(long)]
    pub(super) restart: bool,
    /// Store to write scores to: redis://host:6379/0, postgres://user@host/database, or a source in the settings
    #[arg(long, value_name = "URL|SOURCE")]
    pub(super) write: Option<String>,
    /// How long stored scores may be read, such as 2d or 36h. Default: for ever
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "write")]
    expire: Option<Duration>,
    /// Key of a score in Redis
    #[arg(
        long,
        value_name = "KEY",
        default_value = "score:{model}:{id}",
        requires = "write"
    )]
    key: String,
    /// Table for scores in PostgreSQL, made if it does not exist
    #[arg(
        long,
        value_name = "TABLE",
        default_value = "precomputed_scores",
        requires = "write"
    )]
    table: String,
    /// File that notes how far the writing of scores has come, to continue after a failure; removed when all are written
    #[arg(long, value_name = "PATH|URL", requires = "write")]
    pub(super) checkpoint: Option<PathBuf>,
    /// Threads that score. Default: one per processor
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Repository folder or URL in which to look up a model NAME
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub(super) models: PathBuf,
    /// Settings file (TOML) with the section [storage] and the sources for --write
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

/// What happens at a row with a cell that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// Stop at the first one. One output file is not written; parts, standard output and stores keep what came before
    Stop,
    /// Write the row without a score, and go on
    Skip,
}

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TextFormat {
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// A JSON object per line
    Jsonl,
    /// Apache Parquet
    Parquet,
}

impl TextFormat {
    fn kind(self) -> FileKind {
        match self {
            Self::Csv => FileKind::Csv,
            Self::Tsv => FileKind::Tsv,
            Self::Jsonl => FileKind::JsonLines,
            Self::Parquet => FileKind::Parquet,
        }
    }
}

/// Parses a column beside the prediction, for clap; `none` is `None`.
fn detail_column(text: &str) -> Result<Option<DetailColumn>, String> {
    if text == "none" {
        return Ok(None);
    }
    DetailColumn::from_str(text, false).map(Some).map_err(|_| {
        let columns = DetailColumn::value_variants().iter();
        let names: Vec<String> = columns.map(|column| column.header().0).collect();
        format!("expected none, or some of {}", names.join(", "))
    })
}

/// Parses a share, for clap.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1, such as 0.01".to_owned())
}

/// Parses a duration, for clap.
fn duration(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let span = match days {
        Some(days) => days.checked_mul(86_400).map(Duration::from_secs),
        None => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok()),
    };
    // PostgreSQL and Redis take longer ones, but nobody means them. Of a shorter one Redis gets no whole millisecond, and keeps
    // the score for ever, or nobody can read it in time.
    let span = span.filter(|span| (1..=100 * 366 * 86_400).contains(&span.as_secs()));
    span.ok_or_else(|| "expected a duration such as 2d, 36h or 30m, at least 1s".to_owned())
}

impl ScoreCommand {
    /// Checks that the options go together, and that nothing overwrites anything else.
    ///
    /// # Errors
    /// They do not.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_standard = |path: &Path| path.as_os_str() == STANDARD;
        if self.input_format.is_some() && !is_standard(&self.input) {
            return Err(
                "--input-format: for standard input only; the ending of a file sets its format".to_owned(),
            );
        }
        if let Some(output) = self.output.as_deref() {
            check_output_path(&self.input, output, "--output")?;
            let free = is_standard(output) || is_folder(output);
            if self.output_format.is_some() && !free {
                return Err(
                    "--output-format: for standard output or a folder; the ending of a file sets its format"
                        .to_owned(),
                );
            }
            if self.checkpoint.is_some() {
                return Err(
                    "--checkpoint: for --write without --output; a folder of part files has its own"
                        .to_owned(),
                );
            }
        }
        if let Some(rejects) = &self.rejects {
            check_output_path(&self.input, rejects, "--rejects")?;
            if let Some(output) = &self.output {
                check_output_path(output, rejects, "--rejects")?;
                check_different(("--output", output), ("--rejects", rejects))?;
            }
        }
        if let Some(checkpoint) = &self.checkpoint {
            // At the end the job removes its checkpoint.
            check_output_path(&self.input, checkpoint, "--checkpoint")?;
            if let Some(rejects) = &self.rejects {
                check_different(("--rejects", rejects), ("--checkpoint", checkpoint))?;
            }
        }
        if self.restart && self.checkpoint.is_none() && !self.output.as_deref().is_some_and(is_folder) {
            return Err(
                "--restart: for a folder of part files or --checkpoint; others always start over".to_owned(),
            );
        }
        let columns = self.detail_columns();
        if let Some(twice) = (1..columns.len()).find(|&at| columns[..at].contains(&columns[at])) {
            let (name, _) = columns[twice].header();
            return Err(format!("--columns: {name} stands there twice"));
        }
        if self.write.is_some() && self.kind.is_some() {
            return Err("--write: stores the scores that a server gives; expected no --kind".to_owned());
        }
        Ok(())
    }

    pub(super) fn input_format(&self) -> Option<FileKind> {
        self.input_format.map(TextFormat::kind)
    }

    pub(super) fn output_format(&self) -> Option<FileKind> {
        self.output_format.map(TextFormat::kind)
    }

    pub(super) fn skips(&self) -> bool {
        self.on_error == OnError::Skip
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.map_or_else(default_threads, usize::from)
    }

    /// The columns beside the prediction.
    pub(super) fn detail_columns(&self) -> Vec<DetailColumn> {
        match (&self.columns, self.kind) {
            (Some(columns), _) => columns.iter().copied().flatten().collect(),
            (None, Some(_)) => Vec::new(),
            (None, None) => DetailColumn::DEFAULT.to_vec(),
        }
    }

    /// Where to write scores, if they are to be stored.
    pub(super) fn store_options(&self) -> Option<StoreOptions> {
        self.write.as_ref().map(|to| StoreOptions {
            to: to.clone(),
            expire: self.expire,
            key: self.key.clone(),
            table: self.table.clone(),
        })
    }

    /// The output in words.
    pub(super) fn shown_output(&self) -> String {
        match self.output.as_deref() {
            Some(path) if path.as_os_str() == STANDARD => "standard output".to_owned(),
            Some(path) => path.display().to_string(),
            None => "the store".to_owned(),
        }
    }

    /// The options that change what is written.
    pub(super) fn identity(
        &self,
        scoring: &Scoring,
        format: Option<OutputFormat>,
    ) -> BTreeMap<String, String> {
        let header = scoring.header();
        let names: Vec<&str> = header.columns.iter().map(|(name, _)| name.as_str()).collect();
        let stored = |value: &str| self.write.as_ref().map(|_| value.to_owned());
        let options = [
            ("--id", scoring.selection.id.clone()),
            ("--kind", Some(scoring.prediction.kind.name().to_owned())),
            ("--columns", Some(names.join(","))),
            (
                "--on-error",
                Some(if self.skips() { "skip" } else { "stop" }.to_owned()),
            ),
            ("--rejects", self.rejects.as_ref().map(|_| "a file".to_owned())),
            ("--part-rows", Some(self.part_rows.to_string())),
            ("--output-format", format.map(OutputFormat::ending)),
            ("--write", self.write.as_deref().map(address)),
            ("--key", stored(&self.key)),
            ("--table", stored(&self.table)),
            (
                "--expire",
                self.expire.map(|expire| format!("{} s", expire.as_secs_f64())),
            ),
        ];
        options
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let seconds = |text| duration(text).map(|span| span.as_secs()).ok();
        assert_eq!(seconds("2d"), Some(172_800));
        assert_eq!(seconds("36h"), Some(129_600));
        assert_eq!(seconds("90s"), Some(90));
        for wrong in [
            "",
            "2",
            "d",
            "-1h",
            "0s",
            "500us",
            "999ms",
            "2 weeks",
            "999999999999999999d",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn threads_have_a_bound() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            score: ScoreCommand,
        }
        let threads = |count: &str| {
            let line = "score --model m --input x.csv --output y.csv --threads";
            let words = line.split(' ').chain([count]);
            let parsed = <Line as clap::Parser>::try_parse_from(words);
            parsed.map(|line| line.score.threads()).ok()
        };
        assert_eq!((threads("1"), threads("1024")), (Some(1), Some(1024)));
        assert_eq!(
            (threads("0"), threads("1025"), threads("100000000000000")),
            (None, None, None)
        );
    }
}
