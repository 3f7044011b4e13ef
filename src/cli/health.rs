//! `evergreen health`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::operations::ask;
use super::{CommandError, say};
use crate::config::{Config, Overrides};

const EXAMPLES: &str = "\
Examples:
  evergreen health                      exit code 0 if the server on this machine can answer, 1 if not
  evergreen health --live               whether it runs at all
  EVERGREEN_SERVER__OPS=0.0.0.0:9000 evergreen health

It asks the operations port that `evergreen serve` with the same settings would open.";

/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ask a server on this machine whether it is well, for containers without a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Health {
    /// Whether it runs, rather than whether it can answer
    #[arg(long)]
    live: bool,
    /// The settings of the server
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
}

impl Health {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = Config::load(self.config.as_deref(), environment, &Overrides::default())?;
        let path = if self.live { "/livez" } else { "/readyz" };
        match ask(&near(config.server.ops).to_string(), path, PATIENCE) {
            Ok((true, answer)) => {
                say!("{answer}");
                Ok(())
            }
            Ok((false, answer)) => {
                say!("{answer}");
                Err(CommandError::No)
            }
            Err(error) => {
                say!("{error}");
                Err(CommandError::No)
            }
        }
    }
}

/// Where a server that listens everywhere is met from its own machine.
fn near(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
