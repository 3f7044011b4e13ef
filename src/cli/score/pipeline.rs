//! Reads, scores and hands on batches in the input's order: one thread reads, several score, the caller's thread takes the
//! results. The batches between reader and caller are bounded, so memory does not grow with the input.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

use evergreen_forest::Scratch;

use super::compute::{ScoredBatch, Scoring};
use crate::features::table::{BrokenRecords, Table, TableBatch};

/// Most numbers of predictions in memory at once, for predictions of many numbers per row.
const NUMBERS: usize = 32 << 20;

/// Rows of a batch, about.
const ROWS: usize = 4096;

/// A place in the input, after a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Position {
    /// The file, by its place in the table.
    pub(super) file: usize,
    /// The last row before it in that file, counted from 1.
    pub(super) row: u64,
}

/// The result of a batch.
pub(super) struct Done {
    pub(super) batch: ScoredBatch,
    /// Where the batch ends.
    pub(super) end: Position,
    /// Bytes read so far, out of [`Table::bytes`].
    pub(super) bytes: u64,
}

/// A batch on its way to a thread that scores, and where to put the result.
struct Task {
    batch: TableBatch,
    end: Position,
    bytes: u64,
    result: Sender<Result<Done, String>>,
}

/// The results to come, in the input's order.
type Queue = SyncSender<Receiver<Result<Done, String>>>;

/// The default number of threads that score.
pub(super) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Scores the rows of `table` after `start`, and calls `take` with each batch in order.
///
/// # Errors
/// A batch cannot be read or scored; or the first error of `take`.
pub(super) fn run<E>(
    table: &Table,
    scoring: &Scoring,
    start: Position,
    threads: usize,
    read_error: fn(String) -> E,
    mut take: impl FnMut(Done) -> Result<(), E>,
) -> Result<(), E> {
    let depth = (2 * threads)
        .min(NUMBERS / (ROWS * scoring.prediction.width))
        .max(1);
    std::thread::scope(|scope| {
        let (ordered, results) = sync_channel(depth);
        let (tasks, waiting) = sync_channel::<Task>(depth);
        let waiting = Mutex::new(waiting);
        let workers = spawn_workers(scope, scoring, waiting, threads);
        scope.spawn(move || read(table, scoring, start, &ordered, &tasks));
        let taken = results.iter().try_for_each(|result| {
            // A thread that scores may panic: then its result never comes.
            let done = result
                .recv()
                .unwrap_or_else(|_| Err("internal error: a thread that scores has failed".to_owned()));
            take(done.map_err(read_error)?)
        });
        // The reader stops when nobody takes results any more, and then the others have no tasks.
        drop(results);
        drop(workers);
        taken
    })
}

/// Starts the threads that score. They end when there are no more tasks.
fn spawn_workers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    scoring: &'env Scoring,
    waiting: Mutex<Receiver<Task>>,
    threads: usize,
) -> std::sync::Arc<Mutex<Receiver<Task>>> {
    let waiting = std::sync::Arc::new(waiting);
    for _ in 0..threads.max(1) {
        let waiting = std::sync::Arc::downgrade(&waiting);
        scope.spawn(move || {
            let mut scratch = Scratch::default();
            loop {
                let Some(queue) = waiting.upgrade() else { return };
                let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                drop(queue);
                let Ok(task) = task else { return };
                let scored = scoring.score(task.batch, &mut scratch).map(|batch| Done {
                    batch,
                    end: task.end,
                    bytes: task.bytes,
                });
                // The caller may have given up.
                let _ = task.result.send(scored);
            }
        });
    }
    waiting
}

/// Reads batches until the end, an error, or until nobody takes results.
fn read(table: &Table, scoring: &Scoring, start: Position, ordered: &Queue, tasks: &SyncSender<Task>) {
    let fail = |error: String| {
        let (result, place) = channel();
        let _ = result.send(Err(error));
        let _ = ordered.send(place);
    };
    let opened = table.batches(&scoring.selection.columns).and_then(|batches| {
        // Whether they end the job is decided where rows are scored.
        let mut batches = batches.with_broken(BrokenRecords::Keep);
        batches.go_to(start.file, start.row).map(|()| batches)
    });
    let mut batches = match opened {
        Ok(batches) => batches,
        Err(error) => return fail(error.to_string()),
    };
    loop {
        let batch = match batches.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(error) => return fail(error.to_string()),
        };
        let (result, place) = channel();
        let task = Task {
            end: Position {
                file: batches.file(),
                row: batch.first_row + batch.rows as u64 - 1,
            },
            bytes: batches.position(&batch),
            batch,
            result,
        };
        if ordered.send(place).is_err() || tasks.send(task).is_err() {
            return;
        }
    }
}
