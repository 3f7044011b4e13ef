//! The body of the targets of model parsers: loads the bytes, predicts if they load, and compares the kernels' bits.

use evergreen_forest::{Forest, Format, KernelName, LoadOptions, OutputKind, Scratch};

use crate::quick;

/// Values of the test rows: the edge cases of decisions.
const VALUES: [f32; 8] = [
    0.0,
    -0.0,
    1.0,
    -0.5,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    3.0e9,
];

/// Models with more leaves are not explained: exact contributions of deep trees are slow.
const EXPLAINED: usize = 200;

/// Loads `bytes` as one format and predicts every output of the model.
pub fn load_and_predict(bytes: &[u8], format: Format) {
    quick(bytes, || check(bytes, format));
}

/// One in so many inputs chooses the fastest kernel, as a server does: that takes many times as long as to load.
const TIMED: u8 = 32;

fn check(bytes: &[u8], format: Format) {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let options = LoadOptions {
        format: Some(format),
        kernel: Some(KernelName::Scalar).filter(|_| sum % TIMED > 0),
        ..LoadOptions::default()
    };
    let Ok(mut forest) = Forest::from_bytes(bytes, &options) else {
        return;
    };
    // A model may take only a small multiple of its file.
    assert!(
        forest.size_bytes() <= 64 * bytes.len() + (16 << 20),
        "{} bytes",
        forest.size_bytes()
    );
    let features = forest.features().len();
    if features > 4096 || forest.summary().groups > 4096 {
        return;
    }
    let row: Vec<f32> = (0..2 * features)
        .map(|at| VALUES[at * 3 % VALUES.len()])
        .collect();
    agree(&mut forest, &row, 2);
    let row: Vec<f32> = (0..2 * features)
        .map(|at| VALUES[at * 5 % VALUES.len()])
        .collect();
    let mut scratch = Scratch::default();
    for kind in [
        OutputKind::Margin,
        OutputKind::Value,
        OutputKind::Class,
        OutputKind::Leaf,
        OutputKind::Contributions,
    ] {
        if kind == OutputKind::Contributions && forest.summary().leaves > EXPLAINED {
            continue;
        }
        if let Ok(width) = forest.width(kind) {
            let mut out = vec![0.0; 2 * width];
            forest
                .predict(kind, &row, &mut out, &mut scratch)
                .expect("the lengths fit");
        }
    }
}

/// Compares the margins of every kernel for some rows with those of the reference.
pub fn agree(forest: &mut Forest, values: &[f32], rows: usize) {
    let mut scratch = Scratch::default();
    let mut margins = |kernel: KernelName| {
        forest.use_kernel(Some(kernel)).ok()?;
        let mut out = vec![0.0; rows * forest.summary().groups];
        forest
            .predict(OutputKind::Margin, values, &mut out, &mut scratch)
            .expect("the lengths fit");
        // All NaNs are equal.
        Some(
            out.into_iter()
                .map(|margin: f64| if margin.is_nan() { 0 } else { margin.to_bits() })
                .collect::<Vec<_>>(),
        )
    };
    let reference = margins(KernelName::Scalar).expect("it evaluates every model");
    for kernel in KernelName::ALL.into_iter().filter(|kernel| kernel.available()) {
        if let Some(found) = margins(kernel) {
            assert_eq!(found, reference, "{kernel}");
        }
    }
}
