//! Uploads the complete files of the spool to object storage. The folder is the queue: what an earlier process left there is
//! uploaded, too. A file that is uploaded twice is one object, as its name and content are the same.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::folder::{CompleteFile, complete_files, remove};
use super::joined_by;
use super::metrics::LogMetrics;
use crate::files;
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::log::Pace;
use crate::storage::Storage;

/// How often the spool is listed without a word from the writer.
const INTERVAL: Duration = Duration::from_secs(10);

/// Pauses after failed uploads: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What the thread is told.
#[derive(Debug)]
enum UploadWord {
    /// There is a new file.
    New,
    /// Upload what there is and end by this instant.
    Close(Instant),
}

/// Tells the thread of new files.
#[derive(Clone, Debug)]
pub(super) struct UploadHandle(SyncSender<UploadWord>);

impl UploadHandle {
    /// Says that there is a new file. Never waits.
    pub(super) fn new_file(&self) {
        // A word that waits already says the same.
        let _ = self.0.try_send(UploadWord::New);
    }
}

/// The thread that uploads.
#[derive(Debug)]
pub(super) struct Uploader {
    words: SyncSender<UploadWord>,
    thread: JoinHandle<()>,
}

impl Uploader {
    /// Starts the thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(
        spool: PathBuf,
        bucket: Storage,
        heartbeats: &Heartbeats,
        metrics: LogMetrics,
    ) -> Result<Self, String> {
        let (words, heard) = sync_channel(2);
        let heartbeat = heartbeats.watch("prediction upload");
        let upload = Upload {
            spool,
            bucket,
            metrics,
            pause: FIRST_PAUSE,
        };
        let thread = std::thread::Builder::new()
            .name("prediction-upload".to_owned())
            .spawn(move || upload.run(&heard, &heartbeat))
            .map_err(|error| format!("prediction log: {error}"))?;
        Ok(Self { words, thread })
    }

    /// Tells the thread of new files.
    pub(super) fn handle(&self) -> UploadHandle {
        UploadHandle(self.words.clone())
    }

    /// Uploads what there is and ends the thread; waits until `end`. Files that remain are uploaded after the next start.
    pub(super) fn close(self, end: Instant) {
        while self.words.try_send(UploadWord::Close(end)).is_err() {
            if self.thread.is_finished() || Instant::now() >= end {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if !joined_by(&self.thread, end) {
            tracing::warn!("prediction log: files remain in the spool, the next start uploads them");
        }
    }
}

struct Upload {
    spool: PathBuf,
    bucket: Storage,
    metrics: LogMetrics,
    pause: Duration,
}

impl Upload {
    fn run(mut self, words: &Receiver<UploadWord>, heartbeat: &Heartbeat) {
        let mut wait = Duration::ZERO;
        loop {
            let closing = match words.recv_timeout(wait) {
                Ok(UploadWord::Close(end)) => Some(end),
                Ok(UploadWord::New) | Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            wait = {
                let _busy = heartbeat.begin("uploading predictions", None);
                self.attempt()
            };
            let Some(end) = closing else { continue };
            while wait < INTERVAL {
                if Instant::now() + wait >= end {
                    return tracing::warn!(
                        "prediction log: files remain in the spool, the next start uploads them"
                    );
                }
                std::thread::sleep(wait);
                wait = self.attempt();
            }
            return;
        }
    }

    /// Uploads every file. Returns the time until the next attempt: [`INTERVAL`] if all is well.
    fn attempt(&mut self) -> Duration {
        match self.upload_all() {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                INTERVAL
            }
            Err(error) => {
                static PACE: Pace = Pace::new();
                self.metrics.failed("upload");
                if let Some(attempts) = PACE.count() {
                    tracing::warn!(error, attempts, "prediction log: upload failed, trying again");
                }
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                pause
            }
        }
    }

    fn upload_all(&self) -> Result<(), String> {
        let files = match complete_files(&self.spool) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(&self.spool, &error)),
        };
        files.iter().try_for_each(|file| self.upload(file))
    }

    fn upload(&self, file: &CompleteFile) -> Result<(), String> {
        let bytes = match files::read(&file.path, u64::MAX) {
            Ok(bytes) => bytes,
            // Another process with the same spool was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(&file.path, &error)),
        };
        self.bucket.write(&file.name, &bytes)?;
        remove(&self.spool, file).map_err(|error| fail(&file.path, &error))
    }
}

fn fail(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
