//! Feeds corrupted files to the engine. They must be rejected with a position and a reason, or load and
//! predict, without a panic, an endless loop, or memory beyond a small multiple of the file.

mod crafted;
mod mutations;

use evergreen_forest::{Forest, FormatError, LoadOptions, OutputKind, Scratch};

/// Loads `bytes`. A model that loads must predict every output it has.
fn survive(bytes: &[u8]) -> Result<(), FormatError> {
    let forest = Forest::from_bytes(bytes, &LoadOptions::default())?;
    let limit = 64 * bytes.len() + (16 << 20);
    assert!(
        forest.size_bytes() <= limit,
        "{} bytes of memory from {}",
        forest.size_bytes(),
        bytes.len()
    );
    let features = forest.features().len();
    if features > 1 << 16 || forest.summary().groups > 1 << 12 {
        return Ok(());
    }
    let values = [0.0, -0.0, 0.7, f64::NAN, f64::INFINITY, -3.0, 1e300, 2.0];
    let row: Vec<f64> = (0..features).map(|at| values[at % values.len()]).collect();
    let mut scratch = Scratch::default();
    for kind in [
        OutputKind::Margin,
        OutputKind::Value,
        OutputKind::Class,
        OutputKind::Leaf,
        OutputKind::Contributions,
    ] {
        if let Ok(width) = forest.width(kind) {
            let mut out = vec![0.0; width];
            forest.predict(kind, &row, &mut out, &mut scratch).unwrap();
        }
    }
    Ok(())
}

/// Loads a file that must be rejected. Returns the error's text.
fn rejected(bytes: &[u8]) -> String {
    let error = survive(bytes).expect_err("this file must be rejected");
    assert!(!error.at.is_empty() && !error.reason.is_empty());
    error.to_string()
}

/// The fuzz targets whose seeds are model files. Other targets start from requests, settings and replies of stores.
const MODEL_TARGETS: [&str; 5] = ["catboost", "gbdt", "lightgbm", "xgboost_json", "xgboost_ubjson"];

/// Returns the models that the fuzz targets start from, with their paths.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut all = Vec::new();
    for target in MODEL_TARGETS {
        let folder = root.join(target);
        let seeds =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for seed in seeds {
            let path = seed.unwrap().path();
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    all.sort();
    assert!(all.len() > 10);
    all
}

/// Returns a seed as text.
fn seed(end: &str) -> String {
    let (_, bytes) = seeds().into_iter().find(|(name, _)| name.ends_with(end)).unwrap();
    String::from_utf8(bytes).unwrap()
}
