//! The `gbdt` crate, with its own models. A missing model is trained first, on the rows of the benchmark.

use std::path::Path;

use gbdt::config::{Config, loss2string};
use gbdt::decision_tree::{Data, DataVec};
use gbdt::gradient_boost::GBDT;

use super::Peer;

struct Gbdt {
    model: GBDT,
    features: usize,
    out: Vec<f64>,
}

pub(super) fn load(model: &Path, features: usize) -> Result<Box<dyn Peer>, String> {
    if !super::ends_with(model, ".gbdt.json") {
        return Err("not the gbdt crate's".into());
    }
    let path = model.to_str().ok_or("a path in UTF-8")?;
    let model = GBDT::load_model(path).map_err(|error| error.to_string())?;
    Ok(Box::new(Gbdt {
        model,
        features,
        out: Vec::new(),
    }))
}

/// Trains a model like the others on made-up labels and writes it.
pub fn train(path: &Path, rows: &[f32], features: usize, trees: usize, depth: u32) {
    let mut config = Config::new();
    config.set_feature_size(features);
    config.set_iterations(trees);
    config.set_max_depth(depth);
    config.set_shrinkage(0.05);
    config.set_loss(&loss2string(&gbdt::config::Loss::LogLikelyhood));
    let mut data: DataVec = rows.chunks_exact(features).map(labelled).collect();
    let mut model = GBDT::new(&config);
    model.fit(&mut data);
    model
        .save_model(path.to_str().expect("a path in UTF-8"))
        .expect("a model that can be written");
}

fn labelled(row: &[f32]) -> Data {
    let number = |at: usize| if row[at].is_nan() { 0.0 } else { row[at] };
    let score = number(0) * number(1) + number(2) + (3.0 * number(3)).sin();
    Data::new_training_data(plain(row), 1.0, if score > 0.3 { 1.0 } else { -1.0 }, None)
}

/// Missing as the crate writes it.
fn plain(row: &[f32]) -> Vec<f32> {
    row.iter()
        .map(|x| if x.is_nan() { f32::MIN } else { *x })
        .collect()
}

impl Peer for Gbdt {
    fn name(&self) -> String {
        "gbdt crate".into()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.batch(row)
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        let data: DataVec = rows
            .chunks_exact(self.features)
            .map(|row| Data::new_test_data(plain(row), None))
            .collect();
        self.out.clear();
        self.out
            .extend(self.model.predict(&data).iter().map(|value| f64::from(*value)));
        &self.out
    }
}
