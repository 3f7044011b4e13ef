//! From data to a model that Evergreen serves, with no Python: the `gbdt` crate trains, this engine reads.
//!
//! ```text
//! cargo run --release --example train_gbdt -- model.json                     # on made-up customers
//! cargo run --release --example train_gbdt -- model.json data.csv churned    # on a table of numbers
//! ```
//! The table has a header; the named column is the label (1: left, 0: stayed), every other column a number. The
//! model is written as the crate saves it, read back with the engine, and both are asked for the held-out rows:
//! their answers must not differ in any bit.

use std::error::Error;

use evergreen_forest::{Forest, LoadOptions, OutputKind, Scratch};
use gbdt::config::Config;
use gbdt::decision_tree::{Data, DataVec};
use gbdt::gradient_boost::GBDT;

/// Customers: a row of numbers each, and whether they left.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<f32>>,
    left: Vec<bool>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments
        .next()
        .ok_or("usage: train_gbdt OUT.json [TABLE.csv LABEL]")?;
    let table = match (arguments.next(), arguments.next()) {
        (Some(path), Some(label)) => read(&path, &label)?,
        (None, _) => made_up(4000),
        (Some(_), None) => return Err("which column is the label?".into()),
    };
    // Every fourth customer is held out.
    let (mut training, mut held_out) = (DataVec::new(), Vec::new());
    for (position, (row, left)) in table.rows.iter().zip(&table.left).enumerate() {
        if position % 4 == 3 {
            held_out.push((row, *left));
        } else {
            let label = if *left { 1.0 } else { -1.0 };
            training.push(Data::new_training_data(row.clone(), 1.0, label, None));
        }
    }
    let model = train(table.names.len(), &mut training);
    model.save_model(&out).map_err(|error| error.to_string())?;
    println!(
        "{} customers, features {}",
        table.rows.len(),
        table.names.join(", ")
    );
    compare(&model, &out, &held_out)
}

fn train(features: usize, data: &mut DataVec) -> GBDT {
    let mut config = Config::new();
    config.set_feature_size(features);
    config.set_max_depth(4);
    config.set_iterations(60);
    config.set_shrinkage(0.1);
    config.set_min_leaf_size(20);
    config.set_loss("LogLikelyhood");
    let mut model = GBDT::new(&config);
    model.fit(data);
    model
}

/// Asks the crate and the engine for the held-out customers.
fn compare(model: &GBDT, path: &str, held_out: &[(&Vec<f32>, bool)]) -> Result<(), Box<dyn Error>> {
    let forest = Forest::from_bytes(&std::fs::read(path)?, &LoadOptions::default())?;
    let asked: DataVec = held_out
        .iter()
        .map(|(row, _)| Data::new_test_data((*row).clone(), None))
        .collect();
    let theirs = model.predict(&asked);
    let rows: Vec<f32> = held_out.iter().flat_map(|(row, _)| row.iter().copied()).collect();
    let mut ours = vec![0.0; held_out.len()];
    forest.predict(OutputKind::Value, &rows, &mut ours, &mut Scratch::default())?;
    let differ = theirs
        .iter()
        .zip(&ours)
        .filter(|(a, b)| f64::from(**a).to_bits() != b.to_bits());
    println!(
        "{} held-out scores, {} differ from the crate's",
        ours.len(),
        differ.count()
    );
    println!("AUC {:.4}", auc(&ours, held_out));
    Ok(())
}

/// The chance that a customer who left scores above one who stayed.
fn auc(scores: &[f64], held_out: &[(&Vec<f32>, bool)]) -> f64 {
    let (mut won, mut pairs) = (0.0, 0.0);
    for (a, (_, left)) in scores.iter().zip(held_out) {
        for (b, (_, other)) in scores.iter().zip(held_out) {
            if *left && !other {
                pairs += 1.0;
                won += if a > b {
                    1.0
                } else if a < b {
                    0.0
                } else {
                    0.5
                };
            }
        }
    }
    won / pairs
}

/// Reads a table of numbers.
fn read(path: &str, label: &str) -> Result<Table, Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().ok_or("the table is empty")?.split(',').collect();
    let at = names
        .iter()
        .position(|name| *name == label)
        .ok_or("no such label")?;
    let mut table = Table {
        names: names
            .iter()
            .filter(|name| **name != label)
            .map(|name| (*name).to_owned())
            .collect(),
        rows: Vec::new(),
        left: Vec::new(),
    };
    for (number, line) in lines.enumerate() {
        let parse = |cell: &str| cell.trim().parse::<f32>();
        let mut row = line
            .split(',')
            .map(parse)
            .collect::<Result<Vec<f32>, _>>()
            .map_err(|error| format!("line {}: {error}", number + 2))?;
        if row.len() != names.len() {
            return Err(format!("line {} has {} cells", number + 2, row.len()).into());
        }
        table.left.push(row.remove(at) > 0.5);
        table.rows.push(row);
    }
    Ok(table)
}

/// Customers who rent mattresses: who calls support often and visits rarely tends to leave.
fn made_up(count: usize) -> Table {
    let mut seed = 7u64;
    let mut uniform = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(seed >> 48).unwrap_or(0)) / 65_536.0
    };
    let mut table = Table {
        names: [
            "tenure_months",
            "visits_30d",
            "support_calls_30d",
            "mattresses",
            "monthly_fee",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: Vec::new(),
        left: Vec::new(),
    };
    for _ in 0..count {
        let row = vec![
            (uniform() * 60.0).floor(),
            (uniform() * uniform() * 40.0).floor(),
            (uniform() * uniform() * 9.0).floor(),
            (uniform() * 12.0).floor() + 1.0,
            20.0 + uniform() * 180.0,
        ];
        let pull = 0.5 * row[2] - 0.12 * row[1] - 0.03 * row[0] + 0.004 * row[4] - 0.2;
        table.left.push(uniform() < 1.0 / (1.0 + (-pull).exp()));
        table.rows.push(row);
    }
    table
}
