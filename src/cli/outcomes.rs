//! `evergreen outcomes`: records what became of customers, and shows what scores turned out to be worth.

mod evaluate;
mod print;
mod rows;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::operations::{RestClient, escaped};
use super::{CommandError, print_error, print_line};
use crate::record::performance::report::PerformanceReport;
use evaluate::EvaluateCommand;
use rows::OutcomeRows;

const EXAMPLES: &str = "\
Examples:
  evergreen outcomes add calls.csv                      columns customer, time, action, result; others are optional
  evergreen outcomes add left.parquet --model churn
  evergreen outcomes report churn                       what the scores turned out to be worth
  evergreen outcomes report churn --json | jq .versions[0].observed.auc
  evergreen outcomes evaluate --bundle models/churn/3 --scores scores.parquet --outcomes left.csv   without a server";

const ADD_EXAMPLES: &str = "\
Examples:
  evergreen outcomes add calls.csv
  evergreen outcomes add left.parquet --model churn --server 10.1.2.3:8080

Columns: `customer` and `time`; `action` (call, offer, none), `result` (stayed, left) or both; optional `id`, `model` and \
`detail`. A file can be sent again: what is recorded already counts once.";

const REPORT_EXAMPLES: &str = "\
Examples:
  evergreen outcomes report                       the only model
  evergreen outcomes report churn --json | jq .text";

/// Rows of one request.
const BATCH: usize = 1000;

/// Record what became of customers, and show what scores turned out to be worth
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct OutcomesCommand {
    #[command(subcommand)]
    action: OutcomesAction,
}

#[derive(Debug, Subcommand)]
enum OutcomesAction {
    Add(AddCommand),
    Report(ReportCommand),
    Evaluate(EvaluateCommand),
}

/// Record the outcomes of a file (CSV, JSON lines or Parquet) on a running server
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct AddCommand {
    /// File or folder with one outcome per row
    file: PathBuf,
    /// Model of rows without a column `model`. Default: the only one
    #[arg(long)]
    model: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: RestClient,
}

/// Show the performance of a model on a running server
#[derive(Debug, Args)]
#[command(after_help = REPORT_EXAMPLES)]
struct ReportCommand {
    /// Model. Default: the only one
    model: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: RestClient,
}

impl OutcomesCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self.action {
            OutcomesAction::Add(command) => command.run(),
            OutcomesAction::Report(command) => command.run(),
            OutcomesAction::Evaluate(command) => command.run(),
        }
    }
}

impl AddCommand {
    fn run(self) -> Result<(), CommandError> {
        let mut rows = OutcomeRows::open(&self.file, None)?;
        let (mut recorded, mut replaced, mut duplicates) = (0, 0, 0);
        let mut first = 1;
        loop {
            let batch = rows.take(BATCH)?;
            if batch.is_empty() {
                break;
            }
            let last = first + batch.len() - 1;
            let outcomes: Vec<Value> = batch.iter().map(|row| row.body(self.model.as_deref())).collect();
            let answer = self.server.post("/v1/outcomes", &json!({ "outcomes": outcomes }));
            let answer = answer.map_err(|error| {
                if first > 1 {
                    print_error!("rows 1 to {} are recorded; the file can be sent again", first - 1);
                }
                format!("{}, rows {first} to {last}: {error}", self.file.display())
            })?;
            let count = |key: &str| answer[key].as_u64().unwrap_or_default();
            recorded += count("recorded");
            replaced += count("replaced");
            duplicates += count("duplicates");
            first = last + 1;
        }
        if self.json {
            let counts = json!({"recorded": recorded, "replaced": replaced, "duplicates": duplicates});
            print_line!("{counts:#}");
        } else {
            print_line!("{recorded} outcomes recorded, {replaced} replaced, {duplicates} known already.");
        }
        Ok(())
    }
}

impl ReportCommand {
    fn run(self) -> Result<(), CommandError> {
        let model = match &self.model {
            Some(model) => model.clone(),
            None => self.only_model()?,
        };
        let path = format!("/v1/models/{}/performance", escaped(&model));
        let answer = self.server.get(&path)?;
        if self.json {
            print_line!("{answer:#}");
            return Ok(());
        }
        let report: PerformanceReport = serde_json::from_value(answer).map_err(|error| {
            format!("unexpected answer of the server, which may be of another release: {error}")
        })?;
        print::report(&report);
        Ok(())
    }

    fn only_model(&self) -> Result<String, String> {
        let answer = self.server.get("/v1/models")?;
        let models = answer["models"].as_array().map_or(&[][..], Vec::as_slice);
        match models {
            [only] => only["name"]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| "a model has no name".to_owned()),
            _ => {
                let names: Vec<&str> = models.iter().filter_map(|model| model["name"].as_str()).collect();
                Err(format!("name the model, one of: {}", names.join(", ")))
            }
        }
    }
}
