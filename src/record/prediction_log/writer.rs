//! The thread that collects rows by version and day, and has each group written to a file of its own.
//!
//! It does little, so that rows wait in the queue for no longer than [`PAUSE`], and the marker counts them. Files are written by a
//! thread of low priority, one file at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::file_writer::{FileWriter, WriteError};
use super::group::LogGroup;
use super::marker::{Marker, RowCounts};
use super::metrics::{LogMetrics, Loss};
use super::retention::Retention;
use super::{LogMessage, MESSAGES, PredictionLog, QueuedRows, ROW_GROUP_PART};
use crate::heartbeat::{Busy, Heartbeat};
use crate::log::Pace;
use crate::memory::MemoryBudget;
use crate::os;

/// The time between two looks at the queue while rows arrive. A request that finds the thread asleep need not wake it, which
/// would cost a call to the system for every row.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest wait for rows.
const TICK: Duration = Duration::from_millis(250);

/// The wait for rows while a file is being written.
const WRITING_TICK: Duration = Duration::from_millis(20);

/// Pauses after a file could not be written: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pause while the log is being closed.
const CLOSING_PAUSE: Duration = Duration::from_millis(100);

/// Time between two deletions of old files.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);

/// Collects rows and has them written.
pub(super) struct LogWriter {
    files: Arc<FileWriter>,
    sequence: Arc<AtomicU64>,
    queued: Arc<AtomicUsize>,
    memory: Arc<MemoryBudget>,
    metrics: LogMetrics,
    /// `None` while it cannot be made.
    marker: Option<Marker>,
    /// The sequence number at the last look at the queue, and the rows that came between that and the one before: about as many
    /// come until the next one.
    seen: u64,
    coming: u64,
    /// Rows that wait for room in memory.
    held: Option<QueuedRows>,
    groups: Vec<LogGroup>,
    writing: Option<Writing>,
    /// The number of the next file.
    number: u64,
    /// After a failure: when to try again, and the pause after the next failure.
    retry: Option<(Instant, Duration)>,
    cleaned: Option<Instant>,
}

/// A group that is being written.
struct Writing {
    thread: JoinHandle<(LogGroup, Result<(), WriteError>)>,
    rows: usize,
    bytes: usize,
    _busy: Busy,
}

impl LogWriter {
    /// The writer of the rows of `log`.
    pub(super) fn new(files: FileWriter, log: &PredictionLog, metrics: LogMetrics) -> Self {
        Self {
            files: Arc::new(files),
            sequence: log.sequence.clone(),
            queued: log.queued.clone(),
            memory: log.memory.clone(),
            metrics,
            marker: None,
            seen: 0,
            coming: 0,
            held: None,
            groups: Vec::new(),
            writing: None,
            number: 1,
            retry: None,
            cleaned: None,
        }
    }

    pub(super) fn run(mut self, messages: &Receiver<LogMessage>, heartbeat: &Heartbeat) {
        self.mark();
        loop {
            let first = self.next(messages);
            if let Err(RecvTimeoutError::Disconnected) = first {
                return self.close(messages, Instant::now());
            }
            let (mut next, mut taken) = (first.ok(), 0);
            while let Some(message) = next.take() {
                taken += 1;
                match message {
                    LogMessage::Rows(rows) => self.held = Some(rows),
                    LogMessage::Close(end) => {
                        let _busy = heartbeat.begin("closing the prediction log", None);
                        return self.close(messages, end);
                    }
                }
                self.place();
                if self.held.is_none() && taken < MESSAGES {
                    next = messages.try_recv().ok();
                }
            }
            self.place();
            self.look();
            if self
                .writing
                .as_ref()
                .is_some_and(|writing| writing.thread.is_finished())
            {
                self.finish_file();
            }
            if let Some(due) = self.next_due() {
                self.start_file(due, heartbeat);
            }
            self.delete_old(heartbeat);
            if self.coming > 0 {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Counts the rows that have come since the last look, in the marker, too.
    fn look(&mut self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.coming = sequence - self.seen;
        self.seen = sequence;
        self.mark();
    }

    /// The next message, or a timeout: while rows wait for room, those after them stay in the queue.
    fn next(&self, messages: &Receiver<LogMessage>) -> Result<LogMessage, RecvTimeoutError> {
        let wait = match self.writing {
            _ if self.coming > 0 => PAUSE,
            Some(_) => WRITING_TICK,
            None => TICK,
        };
        if self.held.is_none() {
            return messages.recv_timeout(wait);
        }
        if self.writing.is_some() {
            std::thread::sleep(wait);
        }
        Err(RecvTimeoutError::Timeout)
    }

    /// Adds the rows that wait to their group if there is room; drops them if the disk cannot be written.
    fn place(&mut self) {
        let Some(rows) = self.held.take() else { return };
        let (bytes, used) = (rows.bytes, self.bytes());
        let fits = used == 0 || used.saturating_add(bytes) <= self.row_group_bytes().saturating_mul(2);
        if fits {
            self.add(rows);
        } else if self.retry.is_some() {
            self.drop_rows(Loss::Write, rows.predictions.rows.len());
            drop(rows);
        } else {
            self.held = Some(rows);
            return;
        }
        // Only now, so that rows are never in memory without being counted.
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn add(&mut self, rows: QueuedRows) {
        match self.groups.iter_mut().find(|group| group.takes(&rows)) {
            Some(group) => group.add(rows),
            None => {
                let mut group = LogGroup::new(&rows);
                group.add(rows);
                self.groups.push(group);
            }
        }
    }

    /// The bytes of a row group.
    fn row_group_bytes(&self) -> usize {
        let most = self.memory.limit() / ROW_GROUP_PART;
        self.files.settings.row_group_bytes.min(most)
    }

    /// Bytes of all rows in memory.
    fn bytes(&self) -> usize {
        self.collected() + self.writing.as_ref().map_or(0, |writing| writing.bytes)
    }

    /// Bytes of the rows that are not being written.
    fn collected(&self) -> usize {
        self.groups.iter().map(|group| group.bytes).sum()
    }

    /// The group to write now: one that is old enough, or the largest if all together are large enough or rows
    /// wait for room.
    fn next_due(&self) -> Option<usize> {
        if self.writing.is_some() || self.retry.is_some_and(|(at, _)| Instant::now() < at) {
            return None;
        }
        let settings = &self.files.settings;
        let age = Duration::from_secs(settings.row_group_seconds);
        let groups = || self.groups.iter().enumerate();
        let old = groups().find(|(_, group)| group.opened.elapsed() >= age);
        let large = || {
            groups()
                .max_by_key(|(_, group)| group.bytes)
                .filter(|_| self.held.is_some() || self.collected() >= self.row_group_bytes())
        };
        old.or_else(large).map(|(position, _)| position)
    }

    /// Begins to write a group.
    fn start_file(&mut self, position: usize, heartbeat: &Heartbeat) {
        let group = self.groups.swap_remove(position);
        let (rows, bytes) = (group.rows, group.bytes);
        let (files, number) = (self.files.clone(), self.number);
        let write = move || {
            // Requests go first where processors are short.
            os::lower_priority();
            let result = files.write(&group, number);
            (group, result)
        };
        let started = std::thread::Builder::new()
            .name("prediction-file".to_owned())
            .spawn(write);
        match started {
            Ok(thread) => {
                self.writing = Some(Writing {
                    thread,
                    rows,
                    bytes,
                    _busy: heartbeat.begin("writing predictions", None),
                });
            }
            Err(error) => {
                tracing::error!(%error, "prediction log: no thread to write a file");
                self.drop_rows(Loss::Write, rows);
            }
        }
    }

    /// Takes the result of the file that is being written; waits for it.
    fn finish_file(&mut self) {
        let Some(Writing { thread, rows, .. }) = self.writing.take() else {
            return;
        };
        match thread.join() {
            Ok((group, result)) => self.settle(group, result),
            // The panic is logged. It costs these rows, not the server.
            Err(_) => self.drop_rows(Loss::Write, rows),
        }
    }

    /// Counts the rows of a group that was written or given up, or takes it back to try again.
    fn settle(&mut self, group: LogGroup, result: Result<(), WriteError>) {
        match result {
            Ok(()) => {
                self.retry = None;
                self.number += 1;
                self.metrics.written(group.rows as u64);
            }
            Err(WriteError::Full) => self.drop_rows(Loss::Spool, group.rows),
            Err(WriteError::Rows(error)) => {
                tracing::error!(
                    error,
                    rows = group.rows,
                    "prediction log: rows cannot be encoded, dropped"
                );
                self.drop_rows(Loss::Write, group.rows);
            }
            Err(WriteError::Disk(error)) => {
                static PACE: Pace = Pace::new();
                self.metrics.failed("write");
                if let Some(attempts) = PACE.count() {
                    tracing::warn!(error, attempts, "prediction log: file not written, trying again");
                }
                let pause = self.retry.map_or(FIRST_PAUSE, |(_, pause)| pause);
                self.retry = Some((Instant::now() + pause, (pause * 2).min(LONGEST_PAUSE)));
                self.groups.push(group);
            }
        }
        self.mark();
    }

    fn drop_rows(&self, loss: Loss, rows: usize) {
        static PACE: Pace = Pace::new();
        self.metrics.lost(loss, rows as u64);
        if let Some(times) = PACE.count() {
            let reason = loss.label();
            tracing::warn!(times, rows, reason, "predictions dropped");
        }
    }

    /// Writes the counts of rows to the marker, and makes the marker if there is none.
    fn mark(&mut self) {
        if self.marker.is_none() && self.retry.is_none_or(|(at, _)| Instant::now() >= at) {
            match Marker::create(&self.files.root, &self.files.id) {
                Ok(marker) => self.marker = Some(marker),
                Err(error) => {
                    static PACE: Pace = Pace::new();
                    if PACE.count().is_some() {
                        let folder = self.files.root.display();
                        tracing::warn!(%folder, %error, "prediction log: no marker, lost rows would not be counted");
                    }
                }
            }
        }
        // First what is settled, so that the difference is never too small.
        let settled = self.metrics.rows() + self.metrics.dropped();
        let counts = RowCounts {
            settled,
            // With those that come until the next look, so that it is not too small if the process is killed before.
            numbered: self.sequence.load(Ordering::Relaxed) + self.coming,
        };
        if let Some(Err(error)) = self.marker.as_mut().map(|marker| marker.update(counts)) {
            static PACE: Pace = Pace::new();
            if PACE.count().is_some() {
                tracing::warn!(%error, "prediction log: rows not counted in the marker");
            }
        }
    }

    fn delete_old(&mut self, heartbeat: &Heartbeat) {
        let due = self.cleaned.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL);
        // Files of a spool leave by their upload only.
        if !due || self.files.uploads.is_some() {
            return;
        }
        self.cleaned = Some(Instant::now());
        let retention = Retention {
            days: self.files.settings.keep_days,
            bytes: self.files.settings.keep_bytes,
        };
        let _busy = heartbeat.begin("deleting old predictions", None);
        match retention.apply(&self.files.root, SystemTime::now()) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "prediction log: old files deleted"),
            Err(error) => tracing::warn!(%error, "prediction log: old files not deleted"),
        }
    }

    /// Writes everything that is in the queue and in memory, and tries again until `end`.
    fn close(mut self, messages: &Receiver<LogMessage>, end: Instant) {
        self.finish_file();
        let mut more = true;
        while more {
            self.place();
            if self.held.is_some() || self.collected() >= self.row_group_bytes() {
                self.write_all(end);
                more = Instant::now() < end;
                continue;
            }
            match messages.try_recv() {
                Ok(LogMessage::Rows(rows)) => self.held = Some(rows),
                Ok(LogMessage::Close(_)) | Err(_) => more = false,
            }
        }
        self.write_all(end);
        self.count_rest(messages);
        if let Some(Err(error)) = self.marker.take().map(Marker::remove) {
            tracing::warn!(%error, "prediction log: marker not removed");
        }
    }

    /// Counts the rows that were not written in time.
    fn count_rest(&mut self, messages: &Receiver<LogMessage>) {
        let queued = std::iter::from_fn(|| messages.try_recv().ok());
        let queued = queued.map(|message| match message {
            LogMessage::Rows(rows) => rows.predictions.rows.len(),
            LogMessage::Close(_) => 0,
        });
        let held = self.held.as_ref().map_or(0, |rows| rows.predictions.rows.len());
        let collected: usize = self.groups.iter().map(|group| group.rows).sum();
        let rows = queued.sum::<usize>() + held + collected;
        if rows > 0 {
            self.metrics.lost(Loss::Write, rows as u64);
            tracing::error!(
                rows,
                "prediction log: rows lost, the folder could not be written in time"
            );
        }
    }

    /// Writes all groups on this thread, until `end`.
    fn write_all(&mut self, end: Instant) {
        while let Some(group) = self.groups.pop() {
            let result = self.files.write(&group, self.number);
            let failed = matches!(result, Err(WriteError::Disk(_)));
            self.settle(group, result);
            if failed {
                if Instant::now() >= end {
                    return;
                }
                std::thread::sleep(CLOSING_PAUSE);
            }
        }
    }
}
