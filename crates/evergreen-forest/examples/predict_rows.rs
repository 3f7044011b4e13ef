//! Predicts pseudo-random rows with one kernel: `predict_rows MODEL KERNEL ROWS CALLS`.
//!
//! `benches/instructions` runs it under callgrind. It makes CALLS predictions of ROWS rows each and prints a checksum
//! of the output bits, which must be the same for every kernel. The rows depend only on ROWS and on the model's
//! number of features; one number in sixteen is missing.

use std::error::Error;
use std::str::FromStr;

use evergreen_forest::{Forest, KernelName, LoadOptions, OutputKind, Scratch};

const USAGE: &str = "usage: predict_rows MODEL KERNEL ROWS CALLS";

/// Distinct inputs that the calls take in turn.
const INPUTS: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, kernel, rows, calls] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let options = LoadOptions {
        kernel: Some(KernelName::from_str(kernel)?),
        ..LoadOptions::default()
    };
    let (rows, calls): (usize, usize) = (rows.parse()?, calls.parse()?);
    let forest = Forest::from_bytes(&std::fs::read(model)?, &options)?;
    let inputs = inputs(INPUTS * rows * forest.features().len());
    let mut margins = vec![0.0; rows * forest.width(OutputKind::Margin)?];
    let mut scratch = Scratch::default();
    let mut checksum = 0u64;
    let inputs = inputs.chunks_exact(rows * forest.features().len()).cycle();
    for input in inputs.take(calls) {
        forest.predict(OutputKind::Margin, input, &mut margins, &mut scratch)?;
        for margin in &margins {
            checksum = checksum.rotate_left(5).wrapping_add(margin.to_bits());
        }
    }
    println!("{checksum:016x}");
    Ok(())
}

/// Returns `count` numbers: most in −4..4, some larger, some whole, one in sixteen NaN.
fn inputs(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        // Knuth's MMIX generator; only the upper bits are used.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    (0..count)
        .map(|_| {
            let kind = next() % 16;
            #[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
            let unit = next() as f32 / (1u32 << 24) as f32;
            match kind {
                0 => f32::NAN,
                1..=3 => unit * 200.0 - 100.0,
                4..=5 => (unit * 12.0).floor(),
                _ => unit * 8.0 - 4.0,
            }
        })
        .collect()
}
