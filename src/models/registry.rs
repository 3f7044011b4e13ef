//! The models of a folder: `DIR/<model>/<version>`, the newest version that passes the gate goes live.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ModelVersion;
use super::gate::{self, Report, Step};

/// A model found in the folder.
#[derive(Debug)]
pub struct Found {
    /// The model's name: its folder's.
    pub name: String,
    /// The version that goes live; `None` when every one was refused.
    pub live: Option<Arc<ModelVersion>>,
    /// Versions that may not go live, newest first.
    pub refused: Vec<Refused>,
}

impl Found {
    /// Refuses the version that was to go live, for a reason found after the gate.
    pub fn refuse_live(&mut self, step: Step, reason: String) {
        if let Some(live) = self.live.take() {
            let mut report = live.report.clone();
            report.fail(step, reason);
            self.refused.insert(
                0,
                Refused {
                    version: live.version,
                    report,
                },
            );
        }
    }
}

/// A version that may not go live.
#[derive(Debug)]
pub struct Refused {
    /// Its number.
    pub version: u64,
    /// Why.
    pub report: Report,
}

/// Judges the versions of every model in `dir`, newest first, until one of each passes. Folders without a numbered
/// folder inside are no models and pass over.
///
/// # Errors
/// The folder cannot be read.
pub fn load(dir: &Path) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for (name, path) in folders(dir)? {
        let versions = versions(&path)?;
        if !versions.is_empty() {
            found.push(newest(name, versions));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Judges the versions of the model in `dir`, newest first, until one passes.
///
/// # Errors
/// The folder cannot be read or holds no version, or every version was refused; the text says why the newest was.
pub fn newest_good(dir: &Path, name: &str) -> Result<Arc<ModelVersion>, String> {
    let versions = versions(dir)?;
    if versions.is_empty() {
        return Err(format!(
            "{}: holds no version (a folder such as 1)",
            dir.display()
        ));
    }
    let found = newest(name.to_owned(), versions);
    let reason = || {
        let refused = found.refused.first()?;
        Some(format!(
            "version {}: {}",
            refused.version,
            refused.report.failure()?.detail
        ))
    };
    found
        .live
        .clone()
        .ok_or_else(|| format!("{}: {}", dir.display(), reason().unwrap_or_default()))
}

/// The versions of a model, newest first.
fn versions(dir: &Path) -> Result<Vec<(u64, PathBuf)>, String> {
    let numbered = folders(dir)?
        .into_iter()
        .filter_map(|(name, path)| Some((number(&name)?, path)));
    let mut versions: Vec<(u64, PathBuf)> = numbered.collect();
    versions.sort_unstable_by_key(|&(version, _)| std::cmp::Reverse(version));
    Ok(versions)
}

fn newest(name: String, versions: Vec<(u64, PathBuf)>) -> Found {
    let mut refused = Vec::new();
    for (version, path) in versions {
        match gate::admit(&path, &name, version) {
            Ok(live) => {
                return Found {
                    name,
                    live: Some(Arc::new(live)),
                    refused,
                };
            }
            Err(report) => refused.push(Refused { version, report }),
        }
    }
    Found {
        name,
        live: None,
        refused,
    }
}

/// A version's folder is a plain integer without leading zeros.
fn number(name: &str) -> Option<u64> {
    name.parse()
        .ok()
        .filter(|number: &u64| number.to_string() == name)
}

/// The folders in a folder. Symbolic links to folders count: Kubernetes mounts with them.
fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut out = Vec::new();
    for entry in dir.read_dir().map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| !name.starts_with('.'));
        if let (Some(name), true) = (name, path.is_dir()) {
            out.push((name.to_owned(), path.clone()));
        }
    }
    Ok(out)
}
