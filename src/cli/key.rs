//! `evergreen key`

use clap::Args;

use super::{BOLD, CommandError, say};
use crate::api::auth::{NewKey, Role};

const EXAMPLES: &str = "\
Examples:
  evergreen key front-end >> keys.toml                      may ask for scores
  evergreen key on-call --role administer >> keys.toml      may load, roll back, empty caches
  evergreen serve --config evergreen.toml                   with [auth] file = \"keys.toml\"

The file holds a hash of the key, never the key. To replace a key, add a second one under another name, give it to its
user, then take the first one's lines away: a running server takes the file over by itself.";

/// Make an API key: the key itself is said once, its lines for the file of keys go to standard output
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Key {
    /// Whose key it is: stands in the log
    name: String,
    /// What it may do; every key may read what models there are
    #[arg(long = "role", value_name = "ROLE", value_enum, default_value = "score")]
    roles: Vec<Role>,
}

impl Key {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let key = NewKey::make(&self.name, &self.roles).map_err(|error| error.to_string())?;
        anstream::eprintln!(
            "The key of {}, said this once:\n  {BOLD}{}{BOLD:#}",
            self.name,
            key.secret
        );
        say!("{}", key.entry.trim_end());
        Ok(())
    }
}
