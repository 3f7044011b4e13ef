//! `evergreen key`: generates an API key and its entry for the key file.

use clap::Args;

use super::{BOLD, CommandError, print_error, print_line};
use crate::api::auth::{NewKey, Role};

const EXAMPLES: &str = "\
Examples:
  evergreen key front-end >> keys.toml                    a key for scores
  evergreen key on-call --role administer >> keys.toml    a key for loading and rollback

Set [auth] file = \"keys.toml\" in the settings to use the file. It holds hashes, never keys. To replace a key, add a \
second one under another name, hand it to the user, then remove the entry of the first. A running server reloads the file \
by itself.";

/// Generate an API key: print the key to standard error, its entry for the key file to standard output
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeyCommand {
    /// Name of the key's owner, shown in the log
    name: String,
    /// Role of the key; repeat for several. Every key may read models
    #[arg(long = "role", value_name = "ROLE", value_enum, default_value = "score")]
    roles: Vec<Role>,
}

impl KeyCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let key = NewKey::generate(&self.name, &self.roles).map_err(|error| error.to_string())?;
        print_error!(
            "API key of {}; it is not shown again:\n  {BOLD}{}{BOLD:#}",
            self.name,
            key.secret
        );
        print_line!("{}", key.entry.trim_end());
        Ok(())
    }
}
