//! `evergreen key`: generates an API key and its entry for the key file, or a key that signs bundles.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{BOLD, CommandError, print_error, print_line};
use crate::api::auth::{NewKey, Role};
use crate::models::signature::SigningKey;

const EXAMPLES: &str = "\
Examples:
  evergreen key front-end >> keys.toml                    a key for scores
  evergreen key on-call --role administer >> keys.toml    a key for loading and rollback
  evergreen key release --signing release.pem             a key that signs bundles

Set [auth] file = \"keys.toml\" in the settings to use the file. It holds hashes, never keys. To replace a key, add a \
second one under another name, hand it to the user, then remove the entry of the first. A running server reloads the file \
by itself.

\
With --signing, sign with `evergreen publish --sign FILE` and put the public key into models.trusted_keys.";

/// Generate an API key: print the key to standard error, its entry for the key file to standard output. With --signing,
/// generate a key that signs bundles: write it to a file, print its public key to standard output
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeyCommand {
    /// Name of the key's owner, shown in the log
    name: String,
    /// Role of the key; repeat for several. Every key may read models
    #[arg(long = "role", value_name = "ROLE", value_enum, default_value = "score")]
    roles: Vec<Role>,
    /// Generate a key that signs bundles, and write it to this file, which must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "roles")]
    signing: Option<PathBuf>,
}

impl KeyCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        if let Some(path) = &self.signing {
            return Ok(signing_key(&self.name, path)?);
        }
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

/// Writes a new private key, and prints the public one with the name of its owner.
fn signing_key(name: &str, path: &Path) -> Result<(), String> {
    let (private, public) = SigningKey::generate()?;
    let write = || {
        let mut options = OpenOptions::new();
        // Nobody else may read it, from the moment that it exists.
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(private.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| format!("{}: {error}", path.display()))?;
    anstream::eprintln!(
        "Private key of {name}: {BOLD}{}{BOLD:#}. Keep it secret. Its public key, for [models] trusted_keys = [\"…\"]:",
        path.display()
    );
    print_line!("{public} {name}");
    Ok(())
}
