//! `evergreen models`

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;

use super::operations::{OperationsClient, escaped};
use super::{BOLD, CommandError, GREEN, RED, YELLOW, say};

const EXAMPLES: &str = "\
Examples:
  evergreen models                                   every model of the server on this machine
  evergreen models churn                             one model: its versions, why one was refused, what happened
  evergreen models --json churn | jq .versions
  evergreen models --server evergreen-0.evergreen:8082";

/// List the models of a running server, and where each version stands
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Models {
    /// A model; without it, all
    model: Option<String>,
    /// For machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operations: OperationsClient,
}

impl Models {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Some(name) = &self.model else {
            let answer = self.operations.get("/v1/models")?;
            if self.json {
                say!("{answer:#}");
            } else {
                list(&answer);
            }
            return Ok(());
        };
        let answer = self.operations.get(&format!("/v1/models/{}", escaped(name)))?;
        if self.json {
            say!("{answer:#}");
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

fn coloured(state: &str) -> String {
    let style = match state {
        "live" | "loaded" => GREEN,
        "refused" | "rolled_back" => RED,
        _ => YELLOW,
    };
    format!("{style}{state}{style:#}")
}

fn list(answer: &Value) {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for model in items(&answer["models"]) {
        let state = coloured(&text(&model["state"]));
        let version = match &model["version"] {
            Value::Null => String::new(),
            version => format!("version {version}"),
        };
        table.add_row([text(&model["name"]), state, version]);
    }
    say!("{table}");
}

fn describe(answer: &Value) {
    say!("{BOLD}{}{BOLD:#}", text(&answer["name"]));
    let labels = answer["labels"].as_object();
    let mut table = Table::new();
    table.load_style(NOTHING);
    for version in items(&answer["versions"]) {
        let own = labels
            .into_iter()
            .flatten()
            .filter(|(_, number)| **number == version["version"]);
        let own: Vec<&str> = own.map(|(label, _)| label.as_str()).collect();
        let state = coloured(&text(&version["state"]));
        let (number, since) = (text(&version["version"]), text(&version["since"]));
        table.add_row([number, state, own.join(", "), since, text(&version["reason"])]);
    }
    say!("{table}");
    for said in items(&answer["trials"]).filter_map(|trial| trial["summary"].as_str()) {
        say!("{said}");
    }
    for event in items(&answer["events"]) {
        say!("  {}  {}", text(&event["at"]), text(&event["what"]));
    }
}
