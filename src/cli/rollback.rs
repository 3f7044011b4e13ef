//! `evergreen rollback`

use clap::Args;
use serde_json::json;

use super::operations::{OperationsClient, escaped};
use super::{CommandError, GREEN, say};

const EXAMPLES: &str = "\
Examples:
  evergreen rollback churn --reason 'scores of partners look wrong'
  evergreen rollback churn --version 5 --hold        stay at 5, whatever is published
  evergreen rollback churn --release                 end that
  evergreen rollback churn --server evergreen-0.evergreen:8082

Tells one running server; with several, tell each, or set models.policy and send SIGHUP. Without --hold the next version
that is published goes live again.";

/// Go back to an older version of a model on a running server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rollback {
    /// The model
    model: String,
    /// The version to go back to; without it, the newest good one before the live one
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
    /// Why: kept with the version, in the log and in what `evergreen models` tells
    #[arg(long, value_name = "TEXT", default_value = "asked for by an operator")]
    reason: String,
    /// Stay there until released
    #[arg(long)]
    hold: bool,
    /// End a hold
    #[arg(long, conflicts_with_all = ["version", "hold"])]
    release: bool,
    #[command(flatten)]
    operations: OperationsClient,
}

impl Rollback {
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
        say!(
            "{GREEN}done:{GREEN:#} {}",
            answer["done"].as_str().unwrap_or_default()
        );
        Ok(())
    }
}
