//! Evergreen's engine.

use std::path::Path;

use evergreen_forest::{Forest, LoadOptions, OutputKind, Scratch};

use super::{Explanation, Peer};

struct Evergreen {
    forest: Forest,
    kind: OutputKind,
    width: usize,
    features: usize,
    scratch: Scratch,
    out: Vec<f64>,
}

pub(super) fn load(model: &Path, features: usize) -> Result<Box<dyn Peer>, String> {
    of(model, features, OutputKind::Value)
}

/// Evergreen, explaining rows.
pub(super) fn explainer(model: &Path, features: usize, kind: Explanation) -> Result<Box<dyn Peer>, String> {
    let kind = match kind {
        Explanation::Contributions => OutputKind::Contributions,
        Explanation::Interactions => OutputKind::Interactions,
    };
    of(model, features, kind)
}

fn of(model: &Path, features: usize, kind: OutputKind) -> Result<Box<dyn Peer>, String> {
    let bytes = std::fs::read(model).map_err(|error| error.to_string())?;
    let forest = Forest::from_bytes(&bytes, &LoadOptions::default()).map_err(|error| error.to_string())?;
    let width = forest.width(kind).map_err(|error| error.to_string())?;
    Ok(Box::new(Evergreen {
        forest,
        kind,
        width,
        features,
        scratch: Scratch::default(),
        out: Vec::new(),
    }))
}

impl Peer for Evergreen {
    fn name(&self) -> String {
        "Evergreen".into()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.batch(row)
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        self.out.resize(rows.len() / self.features * self.width, 0.0);
        self.forest
            .predict(self.kind, rows, &mut self.out, &mut self.scratch)
            .expect("a prediction");
        &self.out
    }
}
