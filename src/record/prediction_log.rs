//! The prediction log: one row for each sampled entity that was scored, with the inputs as the model saw them, in Parquet
//! files below `model=NAME/version=N/date=YYYY-MM-DD/`.
//!
//! A request puts its predictions into a bounded queue and never waits. One thread (`writer`) collects them in memory and
//! writes each row group to a file of its own, under a hidden name until it is complete, so that readers never see a part of
//! a file. In object storage the folder is a spool, from which another thread (`upload`) takes the files. A marker beside the
//! files (`marker`) counts the rows, so that the next start can tell how many a killed process has lost.

mod columns;
mod file_writer;
mod folder;
mod group;
mod hash;
mod issues;
mod marker;
pub mod meta;
mod metrics;
pub mod read;
mod recovery;
mod retention;
mod schema;
mod share;
mod times;
mod upload;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::location::is_remote;
use crate::config::{PredictionLogSection, StorageSection};
use crate::heartbeat::Heartbeats;
use crate::log::Pace;
use crate::memory::{MemoryBudget, Reservation};
use crate::scoring::prediction::{PredictionRecorder, Predictions};
use crate::storage::Storage;
use crate::values::time;
use file_writer::FileWriter;
use hash::Hasher;
pub use metrics::LogMetrics;
use metrics::Loss;
use share::AdaptiveShare;
use upload::Uploader;
use writer::LogWriter;

/// Messages in the queue; their bytes are bounded, too.
const MESSAGES: usize = 16 * 1024;

/// The parts of `limits.memory` that the queue and a row group may use, whatever the settings: with two row groups in memory the
/// log has a quarter at most, so that it cannot starve requests.
const QUEUE_PART: usize = 8;
const ROW_GROUP_PART: usize = 16;

/// The longest time between the writer's last attempt and the end of the log.
const MOST_SPARE: Duration = Duration::from_millis(200);

/// The prediction log of a server.
#[derive(Debug)]
pub struct PredictionLog {
    queue: SyncSender<LogMessage>,
    share: AdaptiveShare,
    /// The sequence number of the next row.
    sequence: Arc<AtomicU64>,
    /// Bytes of the queue that are in use.
    queued: Arc<AtomicUsize>,
    queue_bytes: usize,
    memory: Arc<MemoryBudget>,
    metrics: LogMetrics,
}

/// A message to the writer.
#[derive(Debug)]
enum LogMessage {
    Rows(QueuedRows),
    /// Write everything and end by this instant.
    Close(Instant),
}

/// Predictions on their way to the log.
#[derive(Debug)]
struct QueuedRows {
    predictions: Predictions,
    /// The sequence number of the first row.
    first: u64,
    bytes: usize,
    /// Their share of the memory budget, for as long as they are in memory.
    _memory: Reservation,
}

/// The threads of the log, to wait for at the end.
#[derive(Debug)]
pub struct LogThreads {
    log: Arc<PredictionLog>,
    writer: JoinHandle<()>,
    uploader: Option<Uploader>,
}

impl PredictionLog {
    /// Starts the log of these settings; `None` if they name no location. Nothing that is wrong with the location stops the
    /// server: the log tries again.
    ///
    /// # Errors
    /// The URL or the key file is not valid, or a thread cannot be started.
    pub fn start(
        settings: &PredictionLogSection,
        storage: &StorageSection,
        heartbeats: &Heartbeats,
        memory: &Arc<MemoryBudget>,
        metrics: LogMetrics,
    ) -> Result<Option<LogThreads>, String> {
        if !settings.is_on() {
            return Ok(None);
        }
        let remote = is_remote(&settings.location);
        let hasher = Hasher::read(&settings.key_file)?;
        let folder = match remote {
            true => spool(settings),
            false => settings.location.clone(),
        };
        let bucket = match remote {
            true => Some(open_bucket(settings, storage)?),
            false => None,
        };
        recovery::recover(&folder, &metrics);
        metrics.set_share(settings.sample);
        let (queue, messages) = sync_channel(MESSAGES);
        let log = Arc::new(Self {
            queue,
            share: AdaptiveShare::new(settings, seconds(time::now())),
            sequence: Arc::default(),
            queued: Arc::default(),
            queue_bytes: settings.queue_bytes,
            memory: memory.clone(),
            metrics: metrics.clone(),
        });
        let uploader = bucket
            .map(|bucket| Uploader::start(folder.clone(), bucket, heartbeats, metrics.clone()))
            .transpose()?;
        let files = FileWriter {
            settings: settings.clone(),
            root: folder,
            id: format!("{:016x}", fastrand::u64(..)),
            hasher,
            uploads: uploader.as_ref().map(Uploader::handle),
        };
        let writer = LogWriter::new(files, &log, metrics);
        let heartbeat = heartbeats.watch("prediction log");
        let writer = std::thread::Builder::new()
            .name("prediction-log".to_owned())
            .spawn(move || writer.run(&messages, &heartbeat))
            .map_err(|error| format!("prediction log: {error}"))?;
        Ok(Some(LogThreads {
            log,
            writer,
            uploader,
        }))
    }

    /// Takes the share of the queue for these bytes.
    fn take(&self, bytes: usize) -> Result<Reservation, Loss> {
        let most = self.queue_bytes.min(self.memory.limit() / QUEUE_PART);
        let free = self
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                // An empty queue takes any request: a batch with many reasons may be larger than the queue.
                used.checked_add(bytes).filter(|&sum| sum <= most || used == 0)
            });
        if free.is_err() {
            return Err(Loss::Queue);
        }
        self.memory.reserve(bytes).map_err(|_| {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            Loss::Memory
        })
    }

    fn drop_rows(&self, rows: usize, loss: Loss) {
        static PACE: Pace = Pace::new();
        self.metrics.lost(loss, rows as u64);
        if let Some(requests) = PACE.count() {
            let reason = loss.label();
            tracing::warn!(requests, reason, "predictions dropped");
        }
    }
}

/// Whole seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of this age; the cast saturates"
)]
fn seconds(at: f64) -> u64 {
    at as u64
}

impl PredictionRecorder for PredictionLog {
    fn sample(&self, at: f64) -> f64 {
        let (share, is_new) = self.share.get(seconds(at));
        if is_new {
            self.metrics.set_share(share);
        }
        share
    }

    fn record(&self, predictions: Predictions) {
        let rows = predictions.rows.len();
        self.share.count(rows as u64);
        // Numbers of dropped rows are missing in the log, so that readers see the gap.
        let first = self.sequence.fetch_add(rows as u64, Ordering::Relaxed);
        let bytes = predictions.bytes();
        let memory = match self.take(bytes) {
            Ok(memory) => memory,
            Err(loss) => return self.drop_rows(rows, loss),
        };
        let message = LogMessage::Rows(QueuedRows {
            predictions,
            first,
            bytes,
            _memory: memory,
        });
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(message) {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.drop_rows(rows, Loss::Queue);
        }
    }
}

impl LogThreads {
    /// The log, for those who score.
    pub fn recorder(&self) -> Arc<dyn PredictionRecorder> {
        self.log.clone()
    }

    /// Writes all rows, uploads all files, and ends the threads; waits for at most `limit`. Blocks.
    pub fn close(self, limit: Duration) {
        let end = Instant::now() + limit;
        // Time to say what is lost.
        let writer_end = end - (limit / 10).min(MOST_SPARE);
        let Self {
            log,
            writer,
            uploader,
        } = self;
        // Blocks while the queue is full. A thread that hangs in a call to the disk is left behind.
        let queue = log.queue.clone();
        let sending = std::thread::Builder::new()
            .name("prediction-log-end".to_owned())
            .spawn(move || drop(queue.send(LogMessage::Close(writer_end))));
        if sending.is_err() || !joined_by(&writer, end) {
            tracing::error!("prediction log not complete, the writer did not end in time");
        }
        if let Some(uploader) = uploader {
            uploader.close(end);
        }
    }
}

/// Waits for the end of a thread, at most until `end`. Returns whether it has ended.
fn joined_by(thread: &JoinHandle<()>, end: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn open_bucket(settings: &PredictionLogSection, storage: &StorageSection) -> Result<Storage, String> {
    Storage::open(&settings.location, storage).map_err(|error| format!("prediction_log.location: {error}"))
}

/// The folder of files that wait for their upload to a location.
fn spool(settings: &PredictionLogSection) -> PathBuf {
    let base = match settings.spool.as_os_str().is_empty() {
        true => std::env::temp_dir().join("evergreen-prediction-log"),
        false => settings.spool.clone(),
    };
    // Locations do not mix.
    let location = settings.location.to_string_lossy();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    base.join(location.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::table::Table;
    use crate::metrics::Registry;
    use crate::models::{ModelVersion, sample};
    use crate::scoring::outcome::FeatureOrigin;
    use crate::scoring::prediction::{Arm, Prediction};
    use crate::values::cell::Cell;
    use crate::values::entity_id::EntityId;
    use crate::values::issues::FeatureIssues;

    fn start(settings: &PredictionLogSection, memory: &Arc<MemoryBudget>) -> (LogThreads, LogMetrics) {
        let metrics = LogMetrics::new(&Registry::default()).unwrap();
        let threads = PredictionLog::start(
            settings,
            &StorageSection::default(),
            &Heartbeats::default(),
            memory,
            metrics.clone(),
        );
        (threads.unwrap().unwrap(), metrics)
    }

    fn predictions(model: &Arc<ModelVersion>, values: &[f64], rows: usize) -> Predictions {
        let row = |number: usize| Prediction {
            id: Some(EntityId::Int(number as i64)),
            score: 0.1 + 0.2,
            value: f64::MIN_POSITIVE,
            band: None,
            issues: FeatureIssues::default(),
            from: FeatureOrigin::Request,
            as_of: None,
            slot_times: Vec::new(),
            unavailable: Vec::new(),
            overridden: Vec::new(),
            reasons: None,
        };
        Predictions {
            model: model.clone(),
            request: None,
            arm: Arm::Live,
            at: 1_795_910_400.5,
            share: 1.0,
            rows: (0..rows).map(row).collect(),
            values: values.repeat(rows),
        }
    }

    #[test]
    fn every_bit_is_in_the_file_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let settings = PredictionLogSection {
            location: folder.path().to_owned(),
            ..PredictionLogSection::default()
        };
        let (threads, metrics) = start(&settings, &MemoryBudget::new(64 << 20));
        let model = Arc::new(sample::version(1));
        let mut values = vec![-0.0; model.inputs.len()];
        let payload = f32::from_bits(0x7fc0_1234);
        values[1] = f64::from(payload);
        values[2] = f64::from(f32::from_bits(1));
        values[3] = f64::NEG_INFINITY;
        threads.recorder().record(predictions(&model, &values, 2));
        threads.close(Duration::from_secs(10));
        assert_eq!((metrics.rows(), metrics.dropped()), (2, 0));
        let files = folder::complete_files(folder.path()).unwrap();
        assert!(
            files[0]
                .name
                .starts_with("model=churn/version=1/date=2026-11-29/"),
            "{}",
            files[0].name
        );
        let table = Table::open(&files[0].path).unwrap();
        let meta = read::file_meta(&files[0].path).unwrap();
        let inputs = meta.inputs.iter().map(|input| read::input_column(&input.name));
        let columns: Vec<String> = inputs.chain(["score".to_owned(), "value".to_owned()]).collect();
        let batch = table.batches(&columns).unwrap().next_batch().unwrap().unwrap();
        let float = |column: usize| match batch.columns[column].cell(1) {
            Cell::Float(value) => value,
            other => panic!("{other:?}"),
        };
        for (column, value) in values.iter().enumerate() {
            assert_eq!(float(column).to_bits(), value.to_bits(), "{}", columns[column]);
        }
        assert_eq!(float(values.len()).to_bits(), (0.1f64 + 0.2).to_bits());
        assert_eq!(float(values.len() + 1).to_bits(), f64::MIN_POSITIVE.to_bits());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no marker is left");
    }

    #[test]
    fn the_log_leaves_memory_to_requests() {
        let folder = tempfile::tempdir().unwrap();
        // A file in the place of the folder: nothing can be written.
        let location = folder.path().join("log");
        std::fs::write(&location, "in the way").unwrap();
        let settings = PredictionLogSection {
            location,
            ..PredictionLogSection::default()
        };
        let memory = MemoryBudget::new(1 << 20);
        let (threads, metrics) = start(&settings, &memory);
        let recorder = threads.recorder();
        let model = Arc::new(sample::version(1));
        let values = vec![0.0; model.inputs.len()];
        for _ in 0..100 {
            recorder.record(predictions(&model, &values, 20));
            assert!(memory.used() <= memory.limit() / 4, "{}", memory.used());
        }
        let used = memory.used();
        assert!(used > 0 && memory.reserve(memory.limit() / 2).is_ok());
        // It tries to write until the end; on a busy machine it needs a while to count what it drops then.
        threads.close(Duration::from_secs(5));
        let recorded = 2000;
        assert_eq!(
            metrics.dropped() + metrics.rows(),
            recorded,
            "each row is counted"
        );
    }
}
