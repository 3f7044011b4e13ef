//! Blocks and threads: scores all rows of a table, in their order.

use std::cell::RefCell;
use std::num::NonZero;
use std::ops::Range;
use std::sync::OnceLock;

use arrow_array::RecordBatch;

use crate::block::{BLOCK, Block};
use crate::column::Column;
use crate::model::Model;
use crate::output::{Buffers, Outputs};
use crate::part::Part;
use crate::selection::Selection;

/// Tree walks for which another thread is worth its start.
const WALKS_PER_THREAD: usize = 200_000;

/// Explaining a row costs about as much as this many walks of the same trees.
const WALKS_TO_EXPLAIN: usize = 50;

/// The environment variable with the default of the number of threads.
const THREADS: &str = "EVERGREEN_THREADS";

thread_local! {
    /// Working memory of the calling thread, so that small calls allocate none.
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// The columns of one batch.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Column<'a>>,
}

/// How to score.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Maximum number of threads; `None` for the default.
    pub(crate) threads: Option<usize>,
    /// A row with a cell that cannot be converted has no score; otherwise it is an error.
    pub(crate) skip: bool,
    /// Seconds since the Unix epoch.
    pub(crate) now: f64,
}

/// What every thread reads.
struct Job<'a> {
    model: &'a Model,
    selection: &'a Selection,
    outputs: &'a Outputs<'a>,
    batches: &'a [Batch<'a>],
    rules: Rules,
}

/// Scores the rows of all batches.
///
/// # Errors
/// A cell cannot be converted; the message names the first such row.
pub(crate) fn score(
    model: &Model,
    selection: &Selection,
    outputs: &Outputs<'_>,
    batches: &[Batch<'_>],
    rules: Rules,
) -> Result<RecordBatch, String> {
    let job = Job {
        model,
        selection,
        outputs,
        batches,
        rules,
    };
    let rows = batches.iter().map(|batch| batch.rows).sum();
    let threads = threads(model, outputs, rows, rules.threads);
    // Whole blocks, so that only the last thread has a part of one.
    let share = rows.div_ceil(threads).next_multiple_of(BLOCK);
    let ranges: Vec<Range<usize>> = (0..threads)
        .map(|thread| (thread * share).min(rows)..((thread + 1) * share).min(rows))
        .collect();
    let parts = std::thread::scope(|scope| {
        let (own, others) = ranges
            .split_first()
            .map_or((0..0, &[][..]), |(own, others)| (own.clone(), others));
        let job = &job;
        let others: Vec<_> = others
            .iter()
            .map(|range| scope.spawn(|| job.run(range.clone(), &mut Buffers::default())))
            .collect();
        let own = BUFFERS.with_borrow_mut(|buffers| job.run(own, buffers));
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All threads are awaited, and the error of the first row counts.
        let parts: Vec<Result<Part, String>> = [own].into_iter().chain(others).collect();
        parts.into_iter().collect::<Result<Vec<Part>, String>>()
    })?;
    outputs.table(parts)
}

fn threads(model: &Model, outputs: &Outputs<'_>, rows: usize, most: Option<usize>) -> usize {
    let trees = model.version.forest.summary().trees.max(1);
    let each = if outputs.explains() { WALKS_TO_EXPLAIN } else { 1 };
    let walks = rows.saturating_mul(trees).saturating_mul(each);
    let wanted = (walks / WALKS_PER_THREAD).min(rows / BLOCK);
    if wanted < 2 {
        return 1;
    }
    wanted.min(most.unwrap_or_else(default_threads)).max(1)
}

/// `EVERGREEN_THREADS`, or the number of processors that this process may use.
fn default_threads() -> usize {
    /// Counting the processors reads files.
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    let set = std::env::var(THREADS).ok().and_then(|text| text.parse().ok());
    set.unwrap_or_else(|| {
        *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
    })
}

impl Job<'_> {
    /// Scores the rows at some positions of the table.
    fn run(&self, range: Range<usize>, buffers: &mut Buffers) -> Result<Part, String> {
        let mut part = self.outputs.part(range.len());
        let mut block = Block::new(self.model, self.selection, self.rules.now);
        let mut first = 0;
        for batch in self.batches {
            let start = range.start.clamp(first, first + batch.rows) - first;
            let end = range.end.clamp(first, first + batch.rows) - first;
            let mut at = start;
            while at < end {
                let rows = at..end.min(at + BLOCK);
                at = rows.end;
                self.block(&mut block, batch, rows, first, &mut part, buffers)?;
            }
            first += batch.rows;
        }
        Ok(part)
    }

    /// Scores one block; `first` is the position of the batch's first row in the table.
    fn block(
        &self,
        block: &mut Block<'_>,
        batch: &Batch<'_>,
        rows: Range<usize>,
        first: usize,
        part: &mut Part,
        buffers: &mut Buffers,
    ) -> Result<(), String> {
        let start = first + rows.start;
        block.convert(&batch.columns, rows);
        let mut rejected = Vec::new();
        for (row, failure) in block.take_failures() {
            if failure.is_bad_cell && !self.rules.skip {
                return Err(format!("row {}, {}", start + row, failure.reason));
            }
            rejected.push((row, failure.reason));
        }
        let appended = self
            .outputs
            .append(part, &block.numbers, &block.issues, rejected, buffers);
        appended.map_err(|error| error.to_string())
    }
}
