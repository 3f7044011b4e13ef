//! `evergreen publish`

use std::path::{Path, PathBuf};

use clap::Args;

use super::check::{identity, print};
use super::{CommandError, GREEN, progress_bar, say};
use crate::config::{Config, Overrides};
use crate::models::bundle::Bundle;
use crate::models::gate;
use crate::storage::Storage;

const EXAMPLES: &str = "\
Examples:
  evergreen publish out/churn /mnt/models                   the next free version of the model the bundle names
  evergreen publish out/churn s3://bucket/models            needs a build with --features object-store
  evergreen publish model.json models --model churn         a bare model file
  evergreen publish --json out/churn /mnt/models | jq .version

The gate comes first, as in `evergreen check`. No reader ever sees a part of a version, two publishers get two numbers,
and one that is killed leaves no version behind. Object storage is reached as [storage] of the settings or the usual
variables (AWS_ACCESS_KEY_ID, …) say.";

/// Copy a bundle into a repository as the next version
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Publish {
    /// A bundle's folder, or a model file
    bundle: PathBuf,
    /// The models' folder or prefix: <repository>/<model>/<version>/
    repository: PathBuf,
    /// The model's name; without it, the name in the contract, or that of the bundle's folder
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The lowest version to use; the next free one from there is taken
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    version: u64,
    /// Settings (TOML), for [storage]
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    json: bool,
}

impl Publish {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = Config::load(self.config.as_deref(), environment, &Overrides::default())?;
        let bundle = Bundle::find(&self.bundle)?;
        let contract = bundle.contract()?;
        let named = contract.as_ref().and_then(|contract| contract.model.name.clone());
        let name = self
            .model
            .clone()
            .or(named)
            .unwrap_or_else(|| identity(&self.bundle).0);
        model_name(&name)?;
        if let Err(report) = gate::validate(&self.bundle, &name, self.version) {
            print(&self.bundle, &report, false);
            return Err(CommandError::No);
        }
        let (files, manifest) = match &contract {
            Some(contract) => (
                contract.files.keys().map(|file| self.bundle.join(file)).collect(),
                bundle.contract.clone(),
            ),
            None => (vec![bundle.model_file().to_owned()], None),
        };
        let storage = Storage::open(&self.repository, &config.storage)?;
        let version = copy(&storage, &name, self.version, &files, manifest.as_deref())?;
        let place = format!("{}/{name}/{version}", self.repository.display());
        if self.json {
            say!(
                "{:#}",
                serde_json::json!({"model": name, "version": version, "path": place})
            );
        } else {
            say!("{GREEN}published{GREEN:#} version {version} of {name}: {place}");
        }
        Ok(())
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

/// A model's name becomes a folder.
fn model_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is no model name: use letters, digits, -, _ and . only, and name one with --model"
        ))
    }
}
