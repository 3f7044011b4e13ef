//! Compares the engine with the `gbdt` crate on models that the crate trains and saves.

use evergreen_forest::{Forest, Format, LoadOptions, OutputKind, Scratch};
use gbdt::config::Config;
use gbdt::decision_tree::{Data, VALUE_TYPE_UNKNOWN};
use gbdt::gradient_boost::GBDT;

const FEATURES: usize = 5;

/// Returns a pseudo-random number; every run gives the same.
fn noise(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    #[expect(clippy::cast_precision_loss)]
    let unit = (*seed >> 40) as f32 / (1u32 << 24) as f32;
    unit * 2.0 - 1.0
}

fn rows(count: usize, missing: f32, seed: &mut u64) -> Vec<Vec<f32>> {
    let mut cell = |column: usize| match noise(seed) {
        x if x.abs() < missing => VALUE_TYPE_UNKNOWN,
        x if column == 1 => (x * 8.0).round(),
        x if column == 2 => x * 1e-39,
        x => x,
    };
    (0..count)
        .map(|_| (0..FEATURES).map(&mut cell).collect())
        .collect()
}

fn known(x: f32) -> f32 {
    if x == VALUE_TYPE_UNKNOWN { 0.3 } else { x }
}

fn train(loss: &str, rows: &[Vec<f32>]) -> GBDT {
    let mut config = Config::new();
    config.set_feature_size(FEATURES);
    config.set_max_depth(5);
    config.set_iterations(20);
    config.set_shrinkage(0.1);
    config.set_min_leaf_size(10);
    config.set_loss(loss);
    let mut data: Vec<Data> = rows
        .iter()
        .map(|row| {
            let signal = known(row[0]) + known(row[1]) * 0.2 - known(row[3]) * known(row[4]);
            let label = if loss == "LogLikelyhood" {
                signal.signum()
            } else {
                signal
            };
            Data::new_training_data(row.clone(), 1.0, label, None)
        })
        .collect();
    let mut model = GBDT::new(&config);
    model.fit(&mut data);
    model
}

/// Gives the splits of a saved model each rule for missing values in turn. The crate learns these rules only
/// from data with missing values, and then writes NaN leaves that it cannot read back.
fn with_all_rules(saved: &str) -> String {
    let mut parts = saved.split("\"missing\":");
    let mut text = parts.next().unwrap().to_owned();
    for (count, part) in parts.enumerate() {
        let rest = part.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
        text.push_str(&format!("\"missing\":{}{rest}", [-1, 0, 1][count % 3]));
    }
    text
}

#[test]
fn agrees_with_the_crate() {
    let mut seed = 42;
    for loss in ["SquaredError", "LogLikelyhood", "LAD"] {
        let path = std::env::temp_dir().join(format!("evergreen-gbdt-{}-{loss}", std::process::id()));
        let training = rows(400, 0.0, &mut seed);
        train(loss, &training).save_model(path.to_str().unwrap()).unwrap();
        let saved = with_all_rules(&std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, &saved).unwrap();
        let model = GBDT::load_model(path.to_str().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();

        let mut asked = rows(500, 0.25, &mut seed);
        asked.extend(training);
        compare(loss, &model, saved.as_bytes(), &asked);
    }
}

fn compare(loss: &str, model: &GBDT, saved: &[u8], asked: &[Vec<f32>]) {
    let forest = Forest::from_bytes(saved, &LoadOptions::default()).unwrap();
    assert_eq!(forest.summary().format, Format::Gbdt);
    let theirs = model.predict(
        &asked
            .iter()
            .cloned()
            .map(|row| Data::new_test_data(row, None))
            .collect(),
    );
    let flat: Vec<f32> = asked.concat();
    // The engine takes NaN for missing, and the crate's own marker too.
    let with_nan: Vec<f32> = flat
        .iter()
        .map(|x| if *x == VALUE_TYPE_UNKNOWN { f32::NAN } else { *x })
        .collect();
    for input in [&flat, &with_nan] {
        let mut ours = vec![0.0; asked.len()];
        forest
            .predict(OutputKind::Value, input, &mut ours, &mut Scratch::default())
            .unwrap();
        for (row, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
            assert_eq!(f64::from(*theirs).to_bits(), ours.to_bits(), "{loss} row {row}");
        }
    }
}
