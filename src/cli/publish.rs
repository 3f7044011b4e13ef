//! `evergreen publish`: validates a bundle and copies it into a repository.

use std::path::{Path, PathBuf};

use clap::Args;

use super::check::print;
use super::{CommandError, GREEN, load_config, print_line, progress_bar, whole_number};
use crate::config::location::is_remote;
use crate::models::bundle::Bundle;
use crate::models::bundle::identity;
use crate::models::contract::FILE_NAME;
use crate::models::gate::{self, GateContext};
use crate::models::signature::{SIGNATURE_FILE, SigningKey, TrustedKeys};
use crate::storage::{Storage, Temporary};

const EXAMPLES: &str = "\
Examples:
  evergreen publish out/churn /mnt/models              publish as the next version
  evergreen publish out/churn s3://bucket/models       publish to object storage
  evergreen publish model.json models --model churn    publish a model file without a contract
  evergreen publish --sign release.pem out/churn /mnt/models
  evergreen publish --json out/churn /mnt/models | jq .version

The command runs the gate first, like `evergreen check`. A version appears whole or not at all, and two publishers get \
different numbers. Object storage needs a build with --features object-store; set the access in [storage] of the settings \
or in the usual variables (AWS_ACCESS_KEY_ID, …).";

/// Check a bundle and copy it into a repository as the next version
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PublishCommand {
    /// Bundle folder or model file
    bundle: PathBuf,
    /// Folder or object storage prefix of the repository: <repository>/<model>/<version>/
    repository: PathBuf,
    /// Model name. Default: the name in the contract, or else of the bundle's folder
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Lowest version to use; the next free number from there is taken
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = whole_number)]
    version: u64,
    /// Sign the bundle with the private key in this file, as `evergreen key --signing` writes it
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Settings file (TOML) with the section [storage] and models.trusted_keys
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl PublishCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let config = load_config(self.config.as_deref())?;
        let bundle = Bundle::find(&self.bundle)?;
        let contract = bundle.contract()?;
        let contract_name = contract.as_ref().and_then(|contract| contract.model.name.clone());
        let name = self
            .model
            .clone()
            .or(contract_name)
            .unwrap_or_else(|| identity(&self.bundle).0);
        check_model_name(&name)?;
        let trusted = TrustedKeys::read(&config.models.trusted_keys)?;
        let signature = self.sign(&trusted, &bundle, &name)?;
        let mut context = GateContext {
            // A new signature was made from a trusted key.
            trusted: Some(&trusted).filter(|_| signature.is_none()),
            ..GateContext::default()
        };
        if let Err(report) = gate::validate_with(&self.bundle, &name, self.version, &mut context) {
            print(&self.bundle, &report, false);
            return Err(CommandError::CheckFailed);
        }
        let (mut files, manifest): (Vec<PathBuf>, _) = match &contract {
            Some(contract) => (
                contract.files.keys().map(|file| self.bundle.join(file)).collect(),
                bundle.contract.clone(),
            ),
            None => (vec![bundle.model_file().to_owned()], None),
        };
        // After the files that it covers and before the manifest, with which the version appears.
        files.extend(match &signature {
            Some(signature) => Some(signature.path()),
            None => {
                Some(self.bundle.join(SIGNATURE_FILE)).filter(|file| contract.is_some() && file.is_file())
            }
        });
        let storage = Storage::open(&self.repository, &config.storage)?;
        check_repository(&self.repository)?;
        let version = copy(&storage, &name, self.version, &files, manifest.as_deref())?;
        drop(signature);
        let place = format!("{}/{name}/{version}", self.repository.display());
        if self.json {
            print_line!(
                "{:#}",
                serde_json::json!({"model": name, "version": version, "path": place})
            );
        } else {
            print_line!("{GREEN}published{GREEN:#} version {version} of {name}: {place}");
        }
        Ok(())
    }

    /// Signs the bundle if a key is given.
    fn sign(
        &self,
        trusted: &TrustedKeys,
        bundle: &Bundle,
        name: &str,
    ) -> Result<Option<NewSignature>, String> {
        let Some(path) = &self.sign else {
            return Ok(None);
        };
        let key = SigningKey::read(path)?;
        if trusted.is_on() && !trusted.has(key.public()) {
            return Err(format!(
                "{}: its public key {} is not in models.trusted_keys; add it there first, or servers will refuse the version",
                path.display(),
                key.public()
            ));
        }
        let Some(manifest) = bundle.manifest()? else {
            return Err(format!(
                "{}: a bare model cannot be signed; give it a contract ({FILE_NAME}) with the checksums of its files",
                self.bundle.display()
            ));
        };
        NewSignature::write(&key.sign(name, manifest.text.as_bytes())?).map(Some)
    }
}

/// A signature file in a temporary folder of its own, which is removed on drop.
struct NewSignature(Temporary);

impl NewSignature {
    fn write(text: &str) -> Result<Self, String> {
        let signature = Self(Temporary::folder(&std::env::temp_dir())?);
        let path = signature.path();
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(signature)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join(SIGNATURE_FILE)
    }
}

fn copy(
    storage: &Storage,
    name: &str,
    at_least: u64,
    files: &[PathBuf],
    manifest: Option<&Path>,
) -> Result<u64, String> {
    let sizes = files.iter().map(PathBuf::as_path).chain(manifest);
    let total = sizes
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    let bar = progress_bar(total, "publishing");
    let version = storage.publish(name, at_least, files, manifest, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    version
}

/// Checks that a repository exists, or at least the folder that it will be in: a misspelt path would become a repository
/// that no server polls.
fn check_repository(path: &Path) -> Result<(), String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if is_remote(path) || path.is_dir() || parent.is_none_or(Path::is_dir) {
        return Ok(());
    }
    let path = path.display();
    Err(format!(
        "{path}: no such folder; check the path, or create the repository with `mkdir -p {path}`"
    ))
}

/// Checks that a model name is valid as a folder name.
pub(super) fn check_model_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not a valid model name: use letters, digits, -, _ and ., with no leading dot, such as --model churn"
        ))
    }
}
