//! Measures how long a model takes to load, and its memory: `load_model FILE [TIMES]`.
//!
//! `tests/golden/largest.py` compares it with XGBoost's own `load_model` on the largest model that it can
//! train.

use std::error::Error;
use std::time::Instant;

use evergreen_forest::{Forest, LoadOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: load_model FILE [TIMES]")?;
    let times: usize = arguments.next().map_or(Ok(1), |times| times.parse())?;
    for _ in 0..times {
        let start = Instant::now();
        let bytes = std::fs::read(&path)?;
        let read = start.elapsed();
        let forest = Forest::from_bytes(&bytes, &LoadOptions::default())?;
        println!(
            "{} trees, {} leaves: {:.3} s ({:.3} s of it reading the file), {} bytes of file, {} bytes held, peak {} bytes",
            forest.summary().trees,
            forest.summary().leaves,
            start.elapsed().as_secs_f64(),
            read.as_secs_f64(),
            bytes.len(),
            forest.size_bytes(),
            peak().unwrap_or(0),
        );
    }
    Ok(())
}

/// Returns the greatest resident memory of this process so far, in bytes.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
