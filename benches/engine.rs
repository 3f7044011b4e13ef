//! Benchmarks every kernel on the largest model of the tests, with 1 row and with 64.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that fails should stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use evergreen_forest::{Forest, KernelName, LoadOptions, OutputKind, Scratch};

/// Returns the largest model among the fixtures.
fn model(directory: &Path) -> Option<(u64, std::path::PathBuf)> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sizes = entries.filter_map(|path| match path.extension() {
        _ if path.is_dir() => model(&path),
        Some(extension) if extension == "json" || extension == "ubj" || extension == "txt" => {
            Some((path.metadata().unwrap().len(), path))
        }
        _ => None,
    });
    sizes.max()
}

fn engine(criterion: &mut Criterion) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/forest/fixtures");
    let bytes = std::fs::read(model(&fixtures).unwrap().1).unwrap();
    for kernel in KernelName::ALL {
        let options = LoadOptions {
            kernel: Some(kernel),
            ..LoadOptions::default()
        };
        let Ok(forest) = Forest::from_bytes(&bytes, &options) else {
            continue;
        };
        let features = forest.features().len();
        let rows: Vec<f32> = (0..64 * features)
            .map(|at| (at as f32 * 0.7).sin() * 2.0)
            .collect();
        let mut scratch = Scratch::default();
        for count in [1, 64] {
            let mut out = vec![0.0; count * forest.width(OutputKind::Margin).unwrap()];
            criterion.bench_function(&format!("{kernel}, {count} rows"), |bencher| {
                bencher.iter(|| {
                    let rows = black_box(&rows[..count * features]);
                    forest
                        .predict(OutputKind::Margin, rows, &mut out, &mut scratch)
                        .unwrap();
                });
            });
        }
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
