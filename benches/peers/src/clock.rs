//! Interleaved timing, so that a busy machine slows all engines alike. The clock is the thread's CPU time, which
//! excludes the time of other programs.

use std::time::Duration;

use crate::peer::Peer;

/// Time that a peer gets in one round.
const SLICE: Duration = Duration::from_millis(2);

/// The processor time of this thread so far.
fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the system writes to a value of this type.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "a clock for every thread");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A peer's time for a row, in microseconds.
pub struct Timing {
    pub name: String,
    pub median: f64,
    pub least: f64,
}

/// Times all peers in turn, `rounds` times, each on batches of as many rows as `batches` says.
pub fn interleave(
    peers: &mut [Box<dyn Peer>],
    rows: &[f32],
    features: usize,
    batches: &[usize],
    rounds: usize,
) -> Vec<Timing> {
    let mut times = vec![Vec::with_capacity(rounds); peers.len()];
    for round in 0..=rounds {
        for ((peer, times), batch) in peers.iter_mut().zip(&mut times).zip(batches) {
            let time = slice(peer.as_mut(), rows, features, *batch);
            // The first round warms up.
            if round > 0 {
                times.push(time);
            }
        }
    }
    let named = peers.iter().zip(times);
    named
        .map(|(peer, mut times)| {
            times.sort_by(f64::total_cmp);
            Timing {
                name: peer.name(),
                median: times[times.len() / 2],
                least: times[0],
            }
        })
        .collect()
}

/// Returns the batch of at most `batch` rows that a peer evaluates in about a second, judged by a batch of 64 rows.
pub fn affordable(peer: &mut dyn Peer, rows: &[f32], features: usize, batch: usize) -> usize {
    let start = now();
    std::hint::black_box(peer.batch(&rows[..64.min(batch) * features]));
    let second = Duration::from_secs(1).as_nanos() / ((now() - start).as_nanos() / 64).max(1);
    let fits = usize::try_from(second).unwrap_or(batch);
    if fits >= batch {
        batch
    } else {
        fits.clamp(64.min(batch), batch)
    }
}

/// Microseconds a row.
fn slice(peer: &mut dyn Peer, rows: &[f32], features: usize, batch: usize) -> f64 {
    let start = now();
    let mut done = 0;
    while now() - start < SLICE {
        // Reading the clock must not weigh: many rows between two looks at it.
        for rows in rows.chunks_exact(batch * features).take(64) {
            if batch == 1 {
                std::hint::black_box(peer.row(std::hint::black_box(rows)));
            } else {
                std::hint::black_box(peer.batch(std::hint::black_box(rows)));
            }
            done += batch;
            if batch * done > 1 << 16 || now() - start > SLICE {
                break;
            }
        }
    }
    (now() - start).as_secs_f64() * 1e6 / done as f64
}
