//! What lies on disk: a bundle (a folder with a contract) or a bare model file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::contract::{Contract, FILE_NAME};

/// Names a bare model may have in a version's folder.
const BARE_NAMES: [&str; 4] = ["model.ubj", "model.json", "model.txt", "model.gbdt"];

/// The files of one version, found but not yet judged.
#[derive(Debug)]
pub struct Bundle {
    /// The folder, or the bare model file.
    pub path: PathBuf,
    /// Where the contract is, if there is one.
    pub contract: Option<PathBuf>,
    /// The model file, where it is known without reading the contract.
    bare: Option<PathBuf>,
}

impl Bundle {
    /// Finds the files of `path`: a bundle's folder, a folder with a bare model, or a model file.
    ///
    /// # Errors
    /// There is nothing of the kind; the text says what was looked for.
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
                "{}: holds neither {FILE_NAME} nor one of {}",
                path.display(),
                BARE_NAMES.join(", ")
            )),
            _ => Err(format!(
                "{}: holds several models and no {FILE_NAME} to say which one counts",
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
    /// Names the file, the line and the field.
    pub fn contract(&self) -> Result<Option<Contract>, String> {
        let Some(path) = &self.contract else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Contract::parse(path, &text)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// Reads every file that belongs to the version and compares it with its checksum.
    ///
    /// # Errors
    /// Names the file that is missing, or that is not the one the contract was written for.
    pub fn read(&self, contract: Option<&Contract>) -> Result<BundleFiles, String> {
        let Some(contract) = contract else {
            let path = self.bare.as_deref().unwrap_or(&self.path);
            let model = read(path)?;
            return Ok(BundleFiles {
                sha256: sha256(&model),
                model,
                others: BTreeMap::new(),
            });
        };
        let mut others = BTreeMap::new();
        for (name, expected) in &contract.files {
            let path = self.path.join(name);
            let bytes = read(&path)?;
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
            .ok_or_else(|| format!("[files] lists no checksum for {file:?}"))?;
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

/// The contents of a version's files.
#[derive(Debug)]
pub struct BundleFiles {
    /// The model file.
    pub model: Vec<u8>,
    /// Its SHA-256.
    pub sha256: String,
    /// The other files by name.
    pub others: BTreeMap<String, Vec<u8>>,
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
