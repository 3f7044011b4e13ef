//! Carries a job out: takes the scored batches in order, writes them, and notes how far it has come.

use std::collections::HashSet;

use super::checkpoint::{CHECKPOINT, Checkpoint};
use super::compute::{ScoredBatch, Scoring};
use super::error::JobError;
use super::input::{Input, SUCCESS};
use super::output::{Output, OutputFile, PARTS_OF_REJECTS, join_rejects, part_name};
use super::pipeline::{self, Done, Position};
use super::place::Place;
use super::store::Store;
use crate::cli::rejects::Rejects;
use crate::cli::sink::{OutputHeader, Sink};
use crate::cli::{progress_bar, thousands};

/// Scores the rows of `input` after the checkpoint, and completes the output.
///
/// # Errors
/// See [`JobError`]. What is complete stays, and the checkpoint says so.
pub(super) fn run(scoring: &Scoring, input: &Input, threads: usize, work: &mut Work) -> Result<(), JobError> {
    if work.checkpoint.complete {
        return Ok(());
    }
    if work.checkpoint.parts == 0 {
        // From now on the folder is known as this job's.
        work.note().map_err(JobError::Output)?;
        // An empty input gives an output too.
        work.begin().map_err(JobError::Output)?;
    }
    let bar = progress_bar(input.table.bytes(), "scoring");
    let start = work.checkpoint.end;
    let scored = pipeline::run(&input.table, scoring, start, threads, JobError::Input, |done| {
        bar.set_position(done.bytes);
        work.take(done, input)
    });
    bar.finish_and_clear();
    scored.map_err(|error| match error {
        JobError::Input(error) => JobError::Input(input.shown(&error)),
        JobError::Output(error) => JobError::Output(work.with_progress(&error)),
    })?;
    // Before one output file gets its name, and before _SUCCESS.
    input
        .check_unchanged()
        .map_err(|error| work.input_changed(&error))?;
    let ended = match work.commit() {
        Ok(()) => work.end(),
        Err(error) => Err(JobError::Output(error)),
    };
    ended.map_err(|error| match error {
        JobError::Input(error) => JobError::Input(error),
        JobError::Output(error) => JobError::Output(work.with_progress(&error)),
    })
}

/// What a job writes.
pub(super) struct Work {
    pub(super) header: OutputHeader,
    pub(super) output: Output,
    pub(super) store: Option<Store>,
    pub(super) rejects: Option<OutputFile>,
    /// The folder and the name of the checkpoint, if it is not in the folder of the output.
    pub(super) checkpoint_file: Option<(Place, String)>,
    pub(super) checkpoint: Checkpoint,
    /// Rows from which a part is complete.
    pub(super) part_rows: u64,
    pub(super) part: Option<OpenPart>,
}

/// The part that is being written.
pub(super) struct OpenPart {
    rows: u64,
    end: Position,
    /// What is in this part and those before.
    counts: super::summary::Counts,
    sink: Option<Sink>,
    rejects: Option<Rejects>,
}

impl Work {
    /// The folder and the name of the checkpoint; `None` for a job that cannot be continued.
    fn state(&self) -> Option<(&Place, &str)> {
        match (&self.output, &self.checkpoint_file) {
            (Output::Parts(place, _), _) => Some((place, CHECKPOINT)),
            (_, Some((place, name))) => Some((place, name)),
            (_, None) => None,
        }
    }

    /// The beginning of the names of the parts of the rejects.
    fn rejects_prefix(&self) -> String {
        match &self.checkpoint_file {
            Some((_, name)) => format!("{name}.rejects-"),
            None => PARTS_OF_REJECTS.to_owned(),
        }
    }

    fn rejects_part(&self, part: u32) -> String {
        format!("{}{part:05}.csv", self.rejects_prefix())
    }

    /// Begins the next part.
    fn begin(&mut self) -> Result<(), String> {
        let number = self.checkpoint.parts;
        let sink = match self.output.target(number)?.zip(self.output.format()) {
            Some((target, format)) => Some(Sink::new(
                format,
                target,
                self.header.clone(),
                self.checkpoint.ids,
            )?),
            None => None,
        };
        let rejects = match (&self.rejects, self.state()) {
            (None, _) => None,
            (Some(_), Some((place, _))) => {
                Some(Rejects::without_header(place.target(&self.rejects_part(number))?))
            }
            (Some(file), None) => Some(Rejects::new(file.target()?)?),
        };
        self.part = Some(OpenPart {
            rows: 0,
            end: self.checkpoint.end,
            counts: self.checkpoint.counts.clone(),
            sink,
            rejects,
        });
        Ok(())
    }

    /// Writes a batch, and completes the part if it is full.
    fn take(&mut self, done: Done, input: &Input) -> Result<(), JobError> {
        if self.part.is_none() {
            self.begin().map_err(JobError::Output)?;
        }
        let Some(part) = &mut self.part else { return Ok(()) };
        let batch = done.batch;
        part.counts.add(&batch);
        part.rows += batch.output.rows as u64;
        part.end = done.end;
        if let Some(rejects) = &mut part.rejects {
            add_rejects(rejects, &batch, input).map_err(JobError::Output)?;
        }
        if let Some(store) = &mut self.store {
            store.write(&batch)?;
        }
        if let Some(sink) = &mut part.sink {
            sink.write(batch.output)?;
        }
        match part.rows >= self.part_rows && self.state().is_some() {
            true => self.commit().map_err(JobError::Output),
            false => Ok(()),
        }
    }

    /// Completes the part, and notes where the next one begins.
    fn commit(&mut self) -> Result<(), String> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let number = self.checkpoint.parts;
        if let Some(sink) = part.sink {
            let ids = sink.finish()?;
            self.checkpoint.ids = self.checkpoint.ids.or(ids);
            self.output.publish(number)?;
        }
        if let Some(rejects) = part.rejects {
            rejects.finish()?;
            match (&self.rejects, self.state()) {
                (_, Some((place, _))) => place.publish(&self.rejects_part(number))?,
                (Some(file), None) => file.publish()?,
                (None, None) => {}
            }
        }
        self.checkpoint.parts += 1;
        self.checkpoint.end = part.end;
        self.checkpoint.counts = part.counts;
        self.note()
    }

    fn note(&self) -> Result<(), String> {
        match self.state() {
            Some((place, name)) => self.checkpoint.write(place, name),
            None => Ok(()),
        }
    }

    /// Completes the output as a whole.
    fn end(&mut self) -> Result<(), JobError> {
        if let Some(store) = &mut self.store {
            store.end()?;
        }
        self.complete().map_err(JobError::Output)
    }

    /// Makes what is written known as complete.
    fn complete(&mut self) -> Result<(), String> {
        let parts: Vec<String> = (0..self.checkpoint.parts)
            .map(|part| self.rejects_part(part))
            .collect();
        if let (Some(file), Some((place, _))) = (&self.rejects, self.state()) {
            join_rejects(file, place, &parts)?;
        }
        if let Output::Parts(place, _) = &self.output {
            place.write(SUCCESS, b"")?;
        }
        self.checkpoint.complete = true;
        self.checkpoint.rejects = self.rejects.as_ref().map(OutputFile::location);
        match &self.checkpoint_file {
            // Stored scores expire, so that the next run writes all of them again. A checkpoint is for what is not complete.
            Some((place, name)) => place.remove(name)?,
            None => self.note()?,
        }
        match (&self.rejects, self.state()) {
            (Some(_), Some((place, _))) => parts.iter().try_for_each(|part| place.remove(part)),
            _ => Ok(()),
        }
    }

    /// Checks that everything is there that an earlier run has completed.
    ///
    /// # Errors
    /// A part is missing, or the storage cannot be read.
    pub(super) fn check_parts(&self) -> Result<(), JobError> {
        let parts = 0..self.checkpoint.parts;
        let complete = self.checkpoint.complete;
        if let Output::Parts(place, format) = &self.output {
            let names = parts.clone().map(|part| part_name(part, *format));
            require(place, names.chain(complete.then(|| SUCCESS.to_owned())))?;
        }
        match (&self.rejects, self.state()) {
            // At the end they become one file.
            (Some(file), _) if complete => self.check_rejects(file),
            (Some(_), Some((place, _))) => require(place, parts.map(|part| self.rejects_part(part))),
            _ => Ok(()),
        }
    }

    /// Checks that the rejects of a complete job are in the file that is named now: whoever started the job will read it.
    ///
    /// # Errors
    /// They are in another file, or gone; or the storage cannot be read.
    fn check_rejects(&self, file: &OutputFile) -> Result<(), JobError> {
        let location = file.location();
        let written = self.checkpoint.rejects.as_ref();
        if let Some(written) = written.filter(|written| **written != location) {
            return Err(format!(
                "--rejects {location}: the job is complete, and its rejects are in {written}; name that file, or start over with \
                 --restart"
            )
            .into());
        }
        match file.exists().map_err(JobError::Output)? {
            true => Ok(()),
            false => Err(format!(
                "--rejects {location}: missing, although the job is complete; --restart starts over"
            )
            .into()),
        }
    }

    fn input_changed(&self, error: &str) -> JobError {
        match self.state() {
            // The checkpoint is of the old input.
            Some(_) => JobError::Input(format!("{error}; --restart starts over")),
            None => JobError::Output(error.to_owned()),
        }
    }

    /// The message of an error, with what is complete.
    fn with_progress(&self, error: &str) -> String {
        let rows = thousands(self.checkpoint.counts.rows);
        match self.state() {
            Some(_) => {
                format!("{error}; {rows} rows are complete, and the same command continues after them")
            }
            None => error.to_owned(),
        }
    }
}

fn require(place: &Place, mut names: impl Iterator<Item = String>) -> Result<(), JobError> {
    let found: HashSet<String> = place.names().map_err(JobError::Output)?.into_iter().collect();
    match names.find(|name| !found.contains(name)) {
        Some(name) => {
            let reason = "missing, although an earlier run has completed it; --restart starts over";
            Err(format!("{}: {reason}", place.shown(&name)).into())
        }
        None => Ok(()),
    }
}

fn add_rejects(rejects: &mut Rejects, batch: &ScoredBatch, input: &Input) -> Result<(), String> {
    let file = input.shown(&batch.path.display().to_string());
    let mut rows = batch.rejected.iter();
    rows.try_for_each(|row| rejects.add(&file, row.number, row.id.as_deref(), &row.reasons))
}
