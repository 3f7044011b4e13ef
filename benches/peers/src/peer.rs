//! A common interface for the compared engines.

mod crate_gbdt;
mod evergreen;
mod hess;
mod light;
mod xgb;

use std::path::{Path, PathBuf};

/// An engine with a model loaded.
pub trait Peer {
    /// Its name, for the table.
    fn name(&self) -> String;
    /// Predicts one row by the engine's quickest way for one row.
    fn row(&mut self, row: &[f32]) -> &[f64];
    /// Predicts many rows by the engine's quickest way for many, on one thread.
    fn batch(&mut self, rows: &[f32]) -> &[f64];
}

pub use crate_gbdt::train as train_gbdt;

/// Every engine that reads the model; Evergreen is the first.
pub fn all(model: &Path, features: usize) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    let readers: [fn(&Path, usize) -> Result<Box<dyn Peer>, String>; 5] = [
        evergreen::load,
        hess::load,
        light::load,
        xgb::load,
        crate_gbdt::load,
    ];
    for load in readers {
        match load(model, features) {
            Ok(peer) => peers.push(peer),
            Err(why) => eprintln!("{}: {why}", model.display()),
        }
    }
    peers
}

/// What an explanation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    Contributions,
    Interactions,
}

/// Every engine that explains rows of the model; Evergreen is the first.
pub fn explainers(model: &Path, features: usize, kind: Explanation) -> Vec<Box<dyn Peer>> {
    let mut found = vec![
        evergreen::explainer(model, features, kind),
        hess::explainer(model, features, kind),
        light::explainer(model, features, kind),
    ];
    found.extend(xgb::explainers(model, features, kind));
    let mut peers = Vec::new();
    for peer in found {
        match peer {
            Ok(peer) => peers.push(peer),
            Err(why) => eprintln!("{}: {why}", model.display()),
        }
    }
    peers
}

/// A shared library inside a Python package: `variable` names it, or the package says where it is.
fn library(variable: &str, package: &str, inside: &str) -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let code =
        format!("import importlib.util as u; print(u.find_spec('{package}').submodule_search_locations[0])");
    let output = std::process::Command::new(python)
        .args(["-c", &code])
        .output()
        .map_err(|error| error.to_string())?;
    let found = String::from_utf8_lossy(&output.stdout);
    let directory = found.trim();
    if directory.is_empty() {
        return Err(format!("no Python package {package}; set {variable} or PYTHON"));
    }
    Ok(Path::new(directory).join(inside))
}

/// Whether a model file is of the kind with this ending.
fn ends_with(model: &Path, ending: &str) -> bool {
    model.to_string_lossy().ends_with(ending)
}
