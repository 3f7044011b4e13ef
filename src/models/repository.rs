//! The model repository: a folder or a prefix in object storage with `<model>/<version>/`.

use std::collections::BTreeMap;
use std::path::Path;

use super::ModelVersion;
use super::contract::FILE_NAME;
use super::gate::{self, GateContext};
use super::report::{GateReport, GateStep};
use crate::config::StorageSection;
use crate::config::location::is_remote;
use crate::config::models::FILE_BYTES;
use crate::storage::{FileStat, Listing, Storage, version_number};

/// The files of one version, or why they cannot be listed. Equal values mean that nothing has changed.
pub type VersionFiles = Result<Listing, String>;

/// The versions of one model, or why they cannot be listed.
pub type FoundVersions = Result<BTreeMap<u64, VersionFiles>, String>;

/// Most versions of a model that are looked at, newest first: older ones do not exist for the server.
const MOST_VERSIONS: usize = 1000;

/// A model repository.
#[derive(Debug)]
pub struct Repository {
    storage: Storage,
}

impl Repository {
    /// Opens the repository at a location.
    ///
    /// # Errors
    /// See [`Storage::open`].
    pub fn open(location: &Path, settings: &StorageSection) -> Result<Self, String> {
        Ok(Self {
            storage: Storage::open(location, settings)?,
        })
    }

    /// Its location.
    pub fn location(&self) -> &Path {
        self.storage.location()
    }

    /// Why a repository without a model may be the wrong folder: it is a model, or one of its versions.
    pub fn misplaced(&self) -> Option<String> {
        let here = self.location();
        let is_bundle = |path: &str| {
            let found = self.storage.stat(path).ok().flatten();
            found.is_some_and(|found| found.files().iter().any(|file| file.name == FILE_NAME))
        };
        let (what, up) = if is_bundle("") {
            ("a version of a model", 2)
        } else {
            let versions = self.storage.folders("").ok()?;
            versions
                .iter()
                .find(|name| version_number(name).is_some() && is_bundle(name))?;
            ("a model", 1)
        };
        let parent = here.ancestors().nth(up)?.display();
        Some(format!(
            "{} is {what}; expected the folder that holds the models, such as --models {parent}",
            here.display()
        ))
    }

    /// Lists models and versions. A folder without a numbered folder inside is not a model and is skipped. If one model or
    /// version cannot be listed, the others still are.
    ///
    /// # Errors
    /// The repository itself cannot be listed.
    pub fn scan(&self) -> Result<BTreeMap<String, FoundVersions>, String> {
        let mut models = BTreeMap::new();
        for name in self.storage.folders("")? {
            let versions = self.versions(&name);
            if !versions.as_ref().is_ok_and(BTreeMap::is_empty) {
                models.insert(name, versions);
            }
        }
        Ok(models)
    }

    /// Lists the versions of a model; at most the newest 1,000.
    ///
    /// # Errors
    /// The folder of the model cannot be listed.
    pub fn versions(&self, name: &str) -> FoundVersions {
        let folders = self.storage.folders(name)?;
        let mut numbers: Vec<u64> = folders
            .iter()
            .filter_map(|folder| version_number(folder))
            .collect();
        numbers.sort_unstable();
        let newest = numbers.into_iter().rev().take(MOST_VERSIONS);
        Ok(newest
            .filter_map(|version| {
                let found = self.storage.stat(&format!("{name}/{version}")).transpose()?;
                Some((version, found))
            })
            .collect())
    }

    /// Reads a small file of the repository; `None` if it does not exist.
    ///
    /// # Errors
    /// See [`Storage::read`].
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.storage.read(path)
    }

    /// Replaces a small file of the repository.
    ///
    /// # Errors
    /// See [`Storage::write`].
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        self.storage.write(path, bytes)
    }

    /// Checks that small files can be written beside the versions of a model, as decisions of operators are.
    ///
    /// # Errors
    /// See [`Storage::check_writable`].
    pub fn check_writable(&self, model: &str) -> Result<bool, String> {
        self.storage.check_writable(model)
    }

    /// Takes a version with these files through the gate.
    ///
    /// # Errors
    /// The report whose last step failed.
    pub fn validate(
        &self,
        name: &str,
        version: u64,
        found: &VersionFiles,
        context: &mut GateContext<'_>,
    ) -> Result<ModelVersion, GateReport> {
        let path = format!("{name}/{version}");
        let entry = found
            .as_ref()
            .map_err(|error| failed(GateStep::Settle, error.clone()))?;
        self.fits(entry, context)
            .map_err(|error| failed(GateStep::Settle, error))?;
        let fetched = self
            .storage
            .fetch(&path, entry)
            .map_err(|error| failed(GateStep::Settle, error))?;
        let model = gate::validate_with(fetched.path(), name, version, context)?;
        // The checksums of a bundle cover its bytes. A bare model has none, so its file must not have changed meanwhile.
        match self.storage.stat(&path) {
            Ok(Some(now)) if now == *entry => Ok(model),
            _ if model.contract.is_some() => Ok(model),
            _ => Err(failed(
                GateStep::Settle,
                "the files changed while they were read".to_owned(),
            )),
        }
    }
}

impl Repository {
    /// Checks the sizes of files before they are copied from object storage. Local ones are checked when they are read.
    fn fits(&self, entry: &Listing, context: &GateContext<'_>) -> Result<(), String> {
        let limit = context.file_bytes.unwrap_or(FILE_BYTES);
        let large = entry.files().iter().find(|file| file.size > limit);
        match large.filter(|_| is_remote(self.location())) {
            Some(FileStat { name, size, .. }) => Err(format!(
                "{name}: expected at most {limit} bytes, found {size} (models.file_bytes)"
            )),
            None => Ok(()),
        }
    }
}

fn failed(step: GateStep, reason: String) -> GateReport {
    let mut report = GateReport::default();
    report.fail(step, reason);
    report
}
