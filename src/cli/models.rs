//! `evergreen models`: lists the models and versions of a running server.

use clap::Args;
use serde_json::Value;

use super::operations::{OperationsClient, escaped};
use super::table::TextTable;
use super::{BOLD, CommandError, GREEN, RED, YELLOW, print_line, print_table};

const EXAMPLES: &str = "\
Examples:
  evergreen models                                   list the models of the local server
  evergreen models churn                             show a model's versions, reasons and events
  evergreen models --json churn | jq .versions
  evergreen models --server 10.1.2.3:8082            another server

In Kubernetes, forward the operations port of a pod first: kubectl port-forward POD 8082";

/// List the models of a running server and the state of each version
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ModelsCommand {
    /// Model to show in detail. Default: list all models
    model: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operations: OperationsClient,
}

impl ModelsCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Some(name) = &self.model else {
            let answer = self.operations.get("/v1/models")?;
            if self.json {
                print_line!("{answer:#}");
            } else {
                list(&answer);
            }
            return Ok(());
        };
        let answer = self.operations.get(&format!("/v1/models/{}", escaped(name)))?;
        if self.json {
            print_line!("{answer:#}");
        } else {
            describe(&answer);
        }
        Ok(())
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn styled_state(state: &str) -> String {
    let style = match state {
        "live" | "loaded" => GREEN,
        "refused" | "rolled_back" => RED,
        _ => YELLOW,
    };
    format!("{style}{state}{style:#}")
}

fn list(answer: &Value) {
    let mut table = TextTable::with_header(["model", "state", "version"], &[2]);
    for model in items(&answer["models"]) {
        let state = styled_state(&text(&model["state"]));
        table.add_row([text(&model["name"]), state, text(&model["version"])]);
    }
    print_table(&table, "");
}

fn describe(answer: &Value) {
    print_line!("{BOLD}{}{BOLD:#}", text(&answer["name"]));
    let labels = answer["labels"].as_object();
    let mut table = TextTable::with_header(["version", "state", "labels", "since", "reason"], &[0]);
    for version in items(&answer["versions"]) {
        let own_labels = labels
            .into_iter()
            .flatten()
            .filter(|(_, number)| **number == version["version"]);
        let own_labels: Vec<&str> = own_labels.map(|(label, _)| label.as_str()).collect();
        let state = styled_state(&text(&version["state"]));
        let (number, since) = (text(&version["version"]), text(&version["since"]));
        table.add_row([
            number,
            state,
            own_labels.join(", "),
            since,
            text(&version["reason"]),
        ]);
    }
    print_table(&table, "");
    for summary in items(&answer["trials"]).filter_map(|trial| trial["summary"].as_str()) {
        print_line!("{summary}");
    }
    for event in items(&answer["events"]) {
        print_line!("  {}  {}", text(&event["at"]), text(&event["what"]));
    }
}
