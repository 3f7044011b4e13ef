//! `evergreen rollback`: returns a running server to an older version.

use clap::Args;
use serde_json::json;

use super::operations::{OperationsClient, escaped};
use super::{CommandError, GREEN, print_line, whole_number};

const EXAMPLES: &str = "\
Examples:
  evergreen rollback churn --reason 'scores of partners look wrong'
  evergreen rollback churn --version 5 --hold        keep version 5 until --release
  evergreen rollback churn --release                 end the hold
  evergreen rollback churn --server 10.1.2.3:8082    another server

The command reaches one server. With several, run it for each, or set models.policy and send SIGHUP. In Kubernetes, \
forward the operations port of a pod first: kubectl port-forward POD 8082. Without --hold the next version that is published \
goes live.";

/// Return to an older version of a model on a running server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RollbackCommand {
    /// Model to roll back
    model: String,
    /// Version to return to. Default: the newest valid one before the live version
    #[arg(long, value_name = "NUMBER", value_parser = whole_number)]
    version: Option<u64>,
    /// Reason, shown in the log and by `evergreen models`
    #[arg(long, value_name = "TEXT", default_value = "requested by an operator")]
    reason: String,
    /// Keep this version until --release
    #[arg(long)]
    hold: bool,
    /// End a hold
    #[arg(long, conflicts_with_all = ["version", "hold"])]
    release: bool,
    #[command(flatten)]
    operations: OperationsClient,
}

impl RollbackCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let model = escaped(&self.model);
        let answer = if self.release {
            self.operations
                .post(&format!("/v1/models/{model}/release"), &json!({}))?
        } else {
            let body = json!({"version": self.version, "reason": self.reason, "hold": self.hold});
            self.operations
                .post(&format!("/v1/models/{model}/rollback"), &body)?
        };
        print_line!(
            "{GREEN}done:{GREEN:#} {}",
            answer["done"].as_str().unwrap_or_default()
        );
        Ok(())
    }
}
