//! Explains pseudo-random rows: `explain_rows MODEL KIND ROWS CALLS`, with `contributions` or `interactions` as KIND.
//!
//! Makes CALLS calls of ROWS rows each, and prints the CPU time per row and the sum of the magnitudes of the output.
//! `benches/instructions --explain` runs it under callgrind.

use std::error::Error;
use std::time::Instant;

use evergreen_forest::{Forest, LoadOptions, OutputKind, Scratch};

const USAGE: &str = "usage: explain_rows MODEL KIND ROWS CALLS";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, kind, rows, calls] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let kind = match kind.as_str() {
        "contributions" => OutputKind::Contributions,
        "interactions" => OutputKind::Interactions,
        _ => return Err(USAGE.into()),
    };
    let (rows, calls): (usize, usize) = (rows.parse()?, calls.parse()?);
    let forest = Forest::from_bytes(&std::fs::read(model)?, &LoadOptions::default())?;
    let held = forest.size_bytes();
    let mut scratch = Scratch::default();
    let mut out = vec![0.0; rows * forest.width(kind)?];
    let inputs = inputs(rows * calls.min(64) * forest.features().len());
    let calls_of = |count: usize| {
        inputs
            .chunks_exact(rows * forest.features().len())
            .cycle()
            .take(count)
    };
    let start = Instant::now();
    for input in calls_of(1) {
        forest.predict(kind, input, &mut out, &mut scratch)?;
    }
    let first = start.elapsed();
    let mut sum = 0.0;
    let mut least = f64::MAX;
    for input in calls_of(calls) {
        let start = Instant::now();
        forest.predict(kind, input, &mut out, &mut scratch)?;
        least = least.min(start.elapsed().as_secs_f64());
        sum += out.iter().map(|part| part.abs()).sum::<f64>();
    }
    println!(
        "{:.2} µs a row at least, first call {:.1} ms, {} bytes for explanations beside {held}; {:.6}",
        least * 1e6 / rows as f64,
        first.as_secs_f64() * 1e3,
        forest.size_bytes() - held,
        sum / (rows * calls) as f64,
    );
    Ok(())
}

/// Returns `count` numbers: most in −2..2, one in sixteen NaN.
fn inputs(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        // Knuth's MMIX generator; only the upper bits are used.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let number = |_| match next() % 16 {
        0 => f32::NAN,
        _ => next() as f32 / (1u32 << 22) as f32 - 2.0,
    };
    (0..count).map(number).collect()
}
