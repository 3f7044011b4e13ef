//! The latency budget: measures single rows of the golden rows, as a request for one entity evaluates them.

use std::time::{Duration, Instant};

use evergreen_forest::{Forest, OutputKind, Scratch};

/// Rows timed per round.
const ROWS: usize = 2000;

/// Maximum rounds. Other work on the machine can only slow a round down, so the fastest one counts.
const ROUNDS: usize = 7;

/// Measures the 99th percentile of the time for one row, in microseconds. Stops once it is within `budget`.
///
/// # Errors
/// The forest lacks the output.
pub(super) fn row_p99(forest: &Forest, kind: OutputKind, rows: &[f64], budget: f64) -> Result<f64, String> {
    let features = forest.features().len();
    let width = forest.width(kind).map_err(|error| error.to_string())?;
    let mut out = vec![0.0; width];
    let mut scratch = Scratch::default();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(ROWS);
        for row in rows.chunks_exact(features).cycle().take(ROWS) {
            let start = Instant::now();
            forest
                .predict(kind, row, &mut out, &mut scratch)
                .map_err(|error| error.to_string())?;
            times.push(start.elapsed());
        }
        best = best.min(percentile(times));
        if best <= budget {
            break;
        }
    }
    Ok(best)
}

/// The 99th percentile, in microseconds.
fn percentile(mut times: Vec<Duration>) -> f64 {
    let rank = times.len() * 99 / 100;
    if rank >= times.len() {
        return 0.0;
    }
    let (_, time, _) = times.select_nth_unstable(rank);
    time.as_secs_f64() * 1e6
}
