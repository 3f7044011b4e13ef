//! `evergreen doctor`: checks the machine, the files and the stores that a server with these settings would use.

mod files;
mod host;
mod models;
mod outcomes;
mod stores;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::table::TextTable;
use super::{CommandError, GREEN, RED, YELLOW, load_config, print_line, print_table};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  evergreen doctor --config evergreen.toml            before a server starts, on its machine and as its user
  evergreen doctor --config evergreen.toml --gate     take the newest version of each model through the gate
  evergreen doctor --json | jq '.checks[] | select(.state != \"ok\")'

It changes nothing, and waits at most ten seconds for files and five for each store. A port is in use while a server runs.";

/// Longest time of a check that reads files or asks stores.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time of the gates of all models.
const GATE_TIMEOUT: Duration = Duration::from_secs(600);

/// Check the machine, files and stores that a server would use
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorCommand {
    /// Settings file (TOML). Default: the values in evergreen.example.toml
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Take the newest version of each model through the gate
    #[arg(long)]
    gate: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckState {
    Ok,
    /// The server runs, but something may be missing.
    Warning,
    /// The server does not start, or cannot answer.
    Failed,
}

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: String,
    state: CheckState,
    detail: String,
}

impl Finding {
    fn new(check: impl Into<String>, state: CheckState, detail: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state,
            detail: detail.into(),
        }
    }

    fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(check, CheckState::Ok, detail)
    }

    fn warning(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(check, CheckState::Warning, detail)
    }

    fn failed(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(check, CheckState::Failed, detail)
    }
}

impl DoctorCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let config = load_config(self.config.as_deref())?;
        let file = self.config.as_ref().map(|path| path.display().to_string());
        let file = file.unwrap_or_else(|| "no file; defaults and variables".to_owned());
        let mut findings = vec![Finding::ok("settings", file)];
        findings.extend(host::findings(&config));
        findings.extend(bounded("secrets", TIMEOUT, &config, files::findings));
        findings.extend(bounded(
            "stores",
            stores::timeout(&config),
            &config,
            stores::findings,
        ));
        findings.extend(bounded("outcomes", TIMEOUT, &config, outcomes::findings));
        let gate = self.gate;
        let limit = if gate { GATE_TIMEOUT } else { TIMEOUT };
        findings.extend(bounded("repository", limit, &config, move |config| {
            models::findings(config, gate)
        }));
        findings.extend(bounded("snapshot", TIMEOUT, &config, models::snapshot));
        let failed = findings.iter().any(|finding| finding.state == CheckState::Failed);
        if self.json {
            print_line!(
                "{:#}",
                serde_json::json!({"healthy": !failed, "checks": findings})
            );
        } else {
            print(&findings);
        }
        if failed {
            Err(CommandError::CheckFailed)
        } else {
            Ok(())
        }
    }
}

/// Runs a check on a thread of its own, which is left behind if it takes too long: a file system or a store may never
/// answer.
fn bounded(
    name: &'static str,
    timeout: Duration,
    config: &Config,
    check: impl FnOnce(&Config) -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    let (sender, receiver) = mpsc::channel();
    let config = config.clone();
    let run = move || {
        // The command may have given up.
        let _ = sender.send(check(&config));
    };
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    let found = match started {
        Ok(_) => receiver.recv_timeout(timeout).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                format!(
                    "no answer within {} s; check the disk, mount or network",
                    timeout.as_secs()
                )
            }
            mpsc::RecvTimeoutError::Disconnected => "the check itself failed".to_owned(),
        }),
        Err(error) => Err(error.to_string()),
    };
    found.unwrap_or_else(|error| vec![Finding::failed(name, error)])
}

fn print(findings: &[Finding]) {
    let mut table = TextTable::with_header(["check", "state", "detail"], &[]);
    for finding in findings {
        let (style, mark) = match finding.state {
            CheckState::Ok => (GREEN, "ok"),
            CheckState::Warning => (YELLOW, "warning"),
            CheckState::Failed => (RED, "failed"),
        };
        table.add_row([
            finding.check.clone(),
            format!("{style}{mark}{style:#}"),
            finding.detail.clone(),
        ]);
    }
    print_table(&table, "");
}
