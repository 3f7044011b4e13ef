//! Closed-loop and open-loop load. Closed: every sender sends its next request after an answer, which gives the maximum
//! throughput. Open: requests are due at fixed instants and are timed from those, so that a stall of the server counts
//! for every request that had to wait (no coordinated omission).

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Sender, Target};

/// Connections, and requests on their way in each: HTTP/1.1 takes one.
fn senders(target: &Target) -> (usize, usize) {
    if target.grpc { (4, 8) } else { (16, 1) }
}

/// Requests, and the seconds they took, with every sender busy.
pub async fn closed(target: &Target, seconds: f64) -> Result<(f64, f64)> {
    let (connections, each) = senders(target);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for mut sender in Sender::connect(target, connections, each).await? {
        tasks.spawn(async move {
            let mut count = 0u32;
            while Instant::now() < end {
                sender.ask().await?;
                count += 1;
            }
            Result::Ok(count)
        });
    }
    let mut total = 0.0;
    while let Some(count) = tasks.join_next().await {
        total += f64::from(count??);
    }
    Ok((total, start.elapsed().as_secs_f64()))
}

/// Microseconds from due to answered, at a rate.
pub async fn open(target: &Target, rate: f64, seconds: f64) -> Result<Histogram<u64>> {
    let (connections, each) = senders(target);
    let mut tasks = JoinSet::new();
    let mut queues = Vec::new();
    for mut sender in Sender::connect(target, connections, each).await? {
        let (queue, mut due) = mpsc::unbounded_channel::<Instant>();
        queues.push(queue);
        tasks.spawn(async move {
            let mut micros = Histogram::<u64>::new(3)?;
            while let Some(due) = due.recv().await {
                sender.ask().await?;
                micros.record(u64::try_from(due.elapsed().as_micros())?)?;
            }
            Result::Ok(micros)
        });
    }
    // A thread of its own: the runtime's timers are too coarse.
    let pace = std::thread::spawn(move || pace(&queues, rate, seconds));
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(micros) = tasks.join_next().await {
        all.add(micros??)?;
    }
    pace.join().map_err(|_| "the pacer failed")?;
    Ok(all)
}

/// Hands out the instants at which requests are due, to one queue after the other.
fn pace(queues: &[mpsc::UnboundedSender<Instant>], rate: f64, seconds: f64) {
    let start = Instant::now();
    let mut number = 0u32;
    for queue in queues.iter().cycle() {
        let after = f64::from(number) / rate;
        if after > seconds {
            return;
        }
        let due = start + Duration::from_secs_f64(after);
        let now = Instant::now();
        if due > now {
            std::thread::sleep(due - now);
        }
        if queue.send(due).is_err() {
            return;
        }
        number += 1;
    }
}
