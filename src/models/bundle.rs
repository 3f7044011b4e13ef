//! The files of a version: a bundle (a folder with a contract) or a bare model file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::contract::{Contract, FILE_NAME};
use crate::files;

/// File names of a bare model in a version's folder.
const BARE_NAMES: [&str; 4] = ["model.ubj", "model.json", "model.txt", "model.gbdt"];

/// The files of one version, before validation.
#[derive(Debug)]
pub struct Bundle {
    /// The folder, or the bare model file.
    pub path: PathBuf,
    /// The path of the contract, if there is one.
    pub contract: Option<PathBuf>,
    /// The model file of a bare model; a contract names its own.
    bare: Option<PathBuf>,
}

impl Bundle {
    /// Finds the files of `path`: a bundle's folder, a folder with a bare model, or a model file.
    ///
    /// # Errors
    /// None of these is there; the message says what was expected.
    pub fn find(path: &Path) -> Result<Self, String> {
        if path.is_file() {
            return Ok(Self {
                path: path.to_owned(),
                contract: None,
                bare: Some(path.to_owned()),
            });
        }
        if !path.is_dir() {
            return Err(format!("{}: no such file or folder", path.display()));
        }
        let contract = path.join(FILE_NAME);
        if contract.is_file() {
            return Ok(Self {
                path: path.to_owned(),
                contract: Some(contract),
                bare: None,
            });
        }
        let bare: Vec<PathBuf> = BARE_NAMES
            .iter()
            .map(|name| path.join(name))
            .filter(|file| file.is_file())
            .collect();
        match bare.as_slice() {
            [one] => Ok(Self {
                path: path.to_owned(),
                contract: None,
                bare: Some(one.clone()),
            }),
            [] => Err(format!(
                "{}: expected {FILE_NAME} or one of {}",
                path.display(),
                BARE_NAMES.join(", ")
            )),
            _ => Err(format!(
                "{}: several model files; add {FILE_NAME}",
                path.display()
            )),
        }
    }

    /// The model file of a bundle without a contract.
    pub fn model_file(&self) -> &Path {
        self.bare.as_deref().unwrap_or(&self.path)
    }

    /// Reads and validates the contract; `None` for a bare model.
    ///
    /// # Errors
    /// The contract is not valid; the message names the file, the line and the field.
    pub fn contract(&self) -> Result<Option<Contract>, String> {
        Ok(self.manifest()?.map(|manifest| manifest.contract))
    }

    /// Reads and validates the contract, and keeps its text, which a signature is of; `None` for a bare model.
    ///
    /// # Errors
    /// As [`Self::contract`].
    pub fn manifest(&self) -> Result<Option<Manifest>, String> {
        let Some(path) = &self.contract else {
            return Ok(None);
        };
        let text =
            files::read_text(path, files::SMALL).map_err(|error| format!("{}: {error}", path.display()))?;
        let contract = Contract::parse(path, &text).map_err(|error| error.to_string())?;
        Ok(Some(Manifest { text, contract }))
    }

    /// Reads every file of the version, each of at most `limit` bytes, and compares it with its checksum.
    ///
    /// # Errors
    /// A file is missing, too large or differs from its checksum; the message names it.
    pub fn read(&self, contract: Option<&Contract>, limit: u64) -> Result<BundleFiles, String> {
        let Some(contract) = contract else {
            let path = self.bare.as_deref().unwrap_or(&self.path);
            let model = read(path, limit)?;
            return Ok(BundleFiles {
                sha256: sha256(&model),
                model,
                others: BTreeMap::new(),
            });
        };
        let mut others = BTreeMap::new();
        for (name, expected) in &contract.files {
            let path = self.path.join(name);
            let bytes = read(&path, limit)?;
            let found = sha256(&bytes);
            if !found.eq_ignore_ascii_case(expected) {
                return Err(format!(
                    "{}: its SHA-256 is {found}, but {FILE_NAME} says {expected}: the file was changed or is not \
                     completely copied",
                    path.display()
                ));
            }
            others.insert(name.clone(), bytes);
        }
        let file = &contract.model.file;
        let model = others
            .remove(file)
            .ok_or_else(|| format!("[files]: no checksum of {file:?}"))?;
        let sha256 = contract
            .files
            .get(file)
            .map(|sum| sum.to_ascii_lowercase())
            .unwrap_or_default();
        Ok(BundleFiles {
            model,
            sha256,
            others,
        })
    }
}

/// The name and version number that a path gives: of `models/churn/3`, `churn` and 3; of `model.json`, `model` and 0.
pub fn identity(path: &Path) -> (String, u64) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = |path: Option<&std::ffi::OsStr>| {
        path.map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let name = text(path.file_name());
    match name.parse() {
        Ok(version) => (text(path.parent().and_then(Path::file_name)), version),
        Err(_) => (text(path.file_stem()), 0),
    }
}

/// A contract with the text that it was read from.
#[derive(Debug)]
pub struct Manifest {
    /// The text of `bundle.toml`.
    pub text: String,
    /// What it says.
    pub contract: Contract,
}

/// The contents of the files of a version.
#[derive(Debug)]
pub struct BundleFiles {
    /// The model file.
    pub model: Vec<u8>,
    /// Its SHA-256.
    pub sha256: String,
    /// The other files by name.
    pub others: BTreeMap<String, Vec<u8>>,
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    files::read(path, limit).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => format!("{}: {error} (models.file_bytes)", path.display()),
        _ => format!("{}: {error}", path.display()),
    })
}

/// The SHA-256 of some bytes, lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
