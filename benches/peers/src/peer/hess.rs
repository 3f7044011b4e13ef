//! The hessboost crate.

use std::path::Path;

use hessboost::data::DMatrix;
use hessboost::model::{BoostedModel, Iterations, ModelFormat};

use super::{Explanation, Peer};

struct Hess {
    model: BoostedModel,
    row: Vec<f32>,
    out: Vec<f64>,
}

pub(super) fn load(model: &Path, _features: usize) -> Result<Box<dyn Peer>, String> {
    let bytes = std::fs::read(model).map_err(|error| error.to_string())?;
    let format = ModelFormat::detect(&bytes).ok_or("hessboost does not know the format")?;
    let model = BoostedModel::decode(&bytes, format).map_err(|error| format!("hessboost: {error}"))?;
    Ok(Box::new(Hess {
        row: vec![0.0; model.prediction_width()],
        model,
        out: Vec::new(),
    }))
}

impl Peer for Hess {
    fn name(&self) -> String {
        "hessboost".into()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.model
            .predict_row_into(row, Iterations::Best, &mut self.row)
            .expect("a prediction");
        self.out.clear();
        self.out.extend(self.row.iter().map(|value| f64::from(*value)));
        &self.out
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        let answer = self
            .model
            .predict_rows(rows, Iterations::Best)
            .expect("a prediction");
        self.out.clear();
        self.out
            .extend(answer.as_slice().iter().map(|value| f64::from(*value)));
        &self.out
    }
}

struct HessExplainer {
    model: BoostedModel,
    kind: Explanation,
    features: usize,
    out: Vec<f64>,
}

/// The crate, explaining rows. Its answer includes the matrix that it copies the rows into.
pub(super) fn explainer(model: &Path, features: usize, kind: Explanation) -> Result<Box<dyn Peer>, String> {
    let bytes = std::fs::read(model).map_err(|error| error.to_string())?;
    let format = ModelFormat::detect(&bytes).ok_or("hessboost does not know the format")?;
    let model = BoostedModel::decode(&bytes, format).map_err(|error| format!("hessboost: {error}"))?;
    Ok(Box::new(HessExplainer {
        model,
        kind,
        features,
        out: Vec::new(),
    }))
}

impl Peer for HessExplainer {
    fn name(&self) -> String {
        "hessboost".into()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.batch(row)
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        let matrix = DMatrix::from_dense(rows, rows.len() / self.features, self.features).expect("a matrix");
        self.out.clear();
        match self.kind {
            Explanation::Contributions => {
                let answer = self
                    .model
                    .predict_contribs(&matrix, Iterations::Best)
                    .expect("contributions");
                self.out
                    .extend(answer.as_slice().iter().map(|part| f64::from(*part)));
            }
            Explanation::Interactions => {
                let answer = self
                    .model
                    .predict_interactions(&matrix, Iterations::Best)
                    .expect("interactions");
                self.out
                    .extend(answer.as_slice().iter().map(|part| f64::from(*part)));
            }
        }
        &self.out
    }
}
