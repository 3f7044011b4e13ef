//! `evergreen check`: validates a bundle or a model file before it is published.

use std::path::{Path, PathBuf};

use clap::Args;

use super::table::TextTable;
use super::{BOLD, CommandError, GREEN, RED, YELLOW, load_config, print_line, print_table};
use crate::models::bundle::identity;
use crate::models::gate::{self, GateContext};
use crate::models::report::{GateReport, StepOutcome};
use crate::models::signature::TrustedKeys;
use evergreen_forest::KernelName;

const EXAMPLES: &str = "\
Examples:
  evergreen check models/churn/1                      check a bundle
  evergreen check model.json                          check a model file without a contract
  evergreen check --config e.toml models/churn/1      check its signature, too (models.trusted_keys)
  evergreen check --json models/churn/1 | jq .may_go_live";

/// Check whether a model may go live, with the same gate as the server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckCommand {
    /// Bundle folder or model file
    path: PathBuf,
    /// Force a kernel: scalar, direct, binned or bit-sliced. Default: the fastest for the model
    #[arg(long, value_name = "NAME")]
    kernel: Option<KernelName>,
    /// Settings file (TOML) with models.trusted_keys, to check the signature
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CheckCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let (name, version) = identity(&self.path);
        let config = load_config(self.config.as_deref())?;
        let trusted = TrustedKeys::read(&config.models.trusted_keys)?;
        let mut context = GateContext {
            trusted: Some(&trusted),
            kernel: self.kernel,
            ..GateContext::default()
        };
        let (report, live) = match gate::validate_with(&self.path, &name, version, &mut context) {
            Ok(model) => (model.report, true),
            Err(report) => (report, false),
        };
        if self.json {
            let answer = serde_json::json!({"path": self.path, "may_go_live": live, "steps": report.steps});
            print_line!("{answer:#}");
        } else {
            print(&self.path, &report, live);
        }
        if live {
            Ok(())
        } else {
            Err(CommandError::CheckFailed)
        }
    }
}

pub(super) fn print(path: &Path, report: &GateReport, live: bool) {
    print_line!("{BOLD}{}{BOLD:#}", path.display());
    let mut table = TextTable::default();
    for step in &report.steps {
        let (style, mark) = match step.outcome {
            StepOutcome::Passed => (GREEN, "passed"),
            StepOutcome::Skipped => (YELLOW, "skipped"),
            StepOutcome::Failed => (RED, "failed"),
        };
        let name = step.step.label().replace('_', " ");
        let time = format!("{:.1} ms", step.milliseconds);
        table.add_row([name, format!("{style}{mark}{style:#}"), time, step.detail.clone()]);
    }
    print_table(&table, " ");
    match live {
        true => print_line!("{GREEN}may go live{GREEN:#}"),
        false => print_line!("{RED}may not go live{RED:#}"),
    }
}
