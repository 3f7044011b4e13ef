//! `evergreen health`: the health check of containers, whose image has no shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::operations::probe;
use super::{CommandError, print_line};
use crate::config::{Config, Overrides};

const EXAMPLES: &str = "\
Examples:
  evergreen health                      exit code 0 if the server can answer requests, 1 if not
  evergreen health --live               exit code 0 if the server runs, also while models load
  EVERGREEN_SERVER__OPS=0.0.0.0:9000 evergreen health

The command calls the operations port in the settings: --config, or the EVERGREEN_ variables.";

/// Timeout of the probe.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Check the local server's health, for containers without a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthCommand {
    /// Check only that the server runs, not that it can answer requests
    #[arg(long)]
    live: bool,
    /// Settings file (TOML) of the server
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
}

impl HealthCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = Config::load(self.config.as_deref(), environment, &Overrides::default())?;
        let path = if self.live { "/livez" } else { "/readyz" };
        match probe(&local_address(config.server.ops).to_string(), path, TIMEOUT) {
            Ok((true, answer)) => {
                print_line!("{answer}");
                Ok(())
            }
            Ok((false, answer)) => {
                print_line!("{answer}");
                Err(CommandError::CheckFailed)
            }
            Err(error) => {
                print_line!("{error}");
                Err(CommandError::CheckFailed)
            }
        }
    }
}

/// Returns the address to reach a local server: localhost if it listens on all interfaces.
fn local_address(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
