//! `evergreen score`: scores a table offline, with the same engine and contract as the server.

mod checkpoint;
mod compute;
mod details;
mod error;
mod input;
mod job;
mod kind;
mod options;
mod output;
mod pipeline;
mod place;
mod store;
mod summary;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::offline::OfflineModel;
use super::{CommandError, RED, YELLOW, load_config, print_error};
use crate::config::Config;
use crate::config::location::is_remote;
use crate::lifecycle::number_for_servers;
use crate::models::contract::FILE_NAME;
use crate::models::repository::Repository;
use crate::models::signature::TrustedKeys;
use crate::storage::Storage;
use checkpoint::{CHECKPOINT, Checkpoint, JobIdentity};
use compute::Scoring;
use error::JobError;
pub(super) use input::check_complete;
use input::{Input, STANDARD};
use job::Work;
use kind::Prediction;
pub(super) use options::ScoreCommand;
use output::{Output, OutputFile, prepare_folder, split};
use place::Place;
use store::Store;

/// Exit code of a job that failed although its input is right: to try again may help.
const FAILED: u8 = 1;

/// Exit code of a complete job that left too many rows without a score.
const WITH_REJECTS: u8 = 3;

impl ScoreCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let start = Instant::now();
        self.check()?;
        let config = load_config(self.config.as_deref())?;
        self.reach_repository(&config).map_err(command_error)?;
        let model = OfflineModel::load_from(&self.model, &self.models, &config)?;
        self.say_version(&model, &config);
        let prediction = Prediction::new(&model, self.kind)?;
        if self.write.is_some() && prediction.width != 1 {
            let width = prediction.width;
            return Err(format!("--write: expected a model with one score per row, found {width}").into());
        }
        let columns = self.detail_columns();
        if self.explain > 0 && model.version.contract.is_none() {
            return Err(
                "--explain: expected a bundle, whose contract words the reasons; use --kind contributions \
                        for a model file"
                    .to_owned()
                    .into(),
            );
        }
        self.check_explain(model.version.inputs.len())?;
        let input = Input::open(
            &self.input,
            self.input_format(),
            !self.no_success_file,
            &config.storage,
        )
        .map_err(command_error)?;
        // An entity that cannot be read is an error below: without it, rows would have other ids or none.
        let contract = model.version.contract.as_ref();
        let entity = contract.map(|contract| contract.model.entity.as_str());
        let entity = entity.filter(|name| input.table.has_unreadable(name));
        let selection = model.select(&input.table, self.id.as_deref().or(entity));
        if self.write.is_some() && selection.id.is_none() {
            let found = input.table.columns().join(", ");
            let expected = "--write: expected an id column; name it with --id";
            return Err(format!("{expected}; found the columns {found}").into());
        }
        // Missing columns are an error before anything is written.
        let missing = input.table.batches(&selection.columns).map(drop);
        missing.map_err(|error| input.shown(&error.to_string()))?;
        let mut scoring = Scoring {
            skip: self.skips(),
            needs_id: self.write.is_some(),
            explain: self.explain,
            selection,
            prediction,
            columns,
            model,
        };
        scoring.header().check()?;
        self.say_ids(&scoring);
        let work = self.work(&config, &mut scoring, &input);
        let mut work = work.map_err(command_error)?;
        if work.checkpoint.complete {
            print_error!("already complete; --restart starts over");
        }
        let before = work.checkpoint.counts.rows;
        let done = job::run(&scoring, &input, self.threads(), &mut work);
        self.report(&scoring, work, done, start, before)
    }

    /// Checks that a row can have so many reasons: each one is several columns of the output.
    fn check_explain(&self, features: usize) -> Result<(), String> {
        match self.explain {
            found if found > features => Err(format!(
                "--explain: expected at most {features} reasons, as many as the model has features, found {found}"
            )),
            _ => Ok(()),
        }
    }

    /// Opens the outputs, and finds out how far an earlier run has come.
    fn work(&self, config: &Config, scoring: &mut Scoring, input: &Input) -> Result<Work, JobError> {
        let storage = &config.storage;
        let rejects = self.rejects.as_deref();
        let rejects = rejects.map(|path| OutputFile::new(path, storage)).transpose()?;
        let output = Output::open(self.output.as_deref(), self.output_format(), storage)?;
        let checkpoint_file = match &self.checkpoint {
            Some(path) => {
                let (folder, name) = split(path)?;
                let place = Place::open(&folder, storage)?;
                place.check()?;
                Some((place, name))
            }
            None => None,
        };
        let version = &scoring.model.version;
        let job = JobIdentity {
            model: version.name.clone(),
            version: version.version,
            sha256: version.sha256.clone(),
            bundle_sha256: version.bundle_sha256.clone(),
            options: self.identity(scoring, output.format()),
            input: input.identity(),
        };
        let begun = Checkpoint::new(job, scoring.model.now);
        if let Output::Parts(place, _) = &output {
            prepare_folder(place, self.restart.then_some(&begun))?;
        }
        if let Some((place, name)) = checkpoint_file.as_ref().filter(|_| self.restart) {
            Checkpoint::check_replaceable(place, name)?;
        }
        let state = match (&output, &checkpoint_file) {
            (Output::Parts(place, _), _) => Some((place, CHECKPOINT)),
            (_, Some((place, name))) => Some((place, name.as_str())),
            (_, None) => None,
        };
        let found = match state {
            Some((place, name)) if !self.restart => Checkpoint::read(place, name, &begun.job)?,
            _ => None,
        };
        let checkpoint = found.unwrap_or(begun);
        scoring.model.now = checkpoint.as_of;
        let mut work = Work {
            header: scoring.header(),
            output,
            store: None,
            rejects,
            checkpoint_file,
            checkpoint,
            part_rows: self.part_rows.get(),
            part: None,
        };
        work.check_parts()?;
        if let Some(options) = self.store_options().filter(|_| !work.checkpoint.complete) {
            work.store = Some(Store::open(&options, config, &scoring.model.version)?);
        }
        Ok(work)
    }

    /// Reaches the repository, if it is in object storage: a failure there may pass, unlike that of a model.
    fn reach_repository(&self, config: &Config) -> Result<(), JobError> {
        if !is_remote(&self.models) || Path::new(&self.model).exists() {
            return Ok(());
        }
        let storage = Storage::open(&self.models, &config.storage)?;
        storage.folders("").map(drop).map_err(JobError::Output)
    }

    /// Says which version scores, and which one servers use, if that can be told.
    fn say_version(&self, model: &OfflineModel, config: &Config) {
        let version = &model.version;
        let (name, number) = (&version.name, version.version);
        let given = Path::new(&self.model);
        let path = match given.exists() {
            true => given.to_owned(),
            false => self.models.join(given),
        };
        if !given.exists() && !path.join(FILE_NAME).exists() {
            let shown = self.models.display();
            print_error!("scoring with version {number} of {name}, which servers of {shown} use");
            return;
        }
        // The folder of a version in its repository: <repository>/<model>/<version>.
        let path = std::path::absolute(&path).unwrap_or(path);
        let Some(repository) = path.parent().and_then(Path::parent).filter(|_| number > 0) else {
            return;
        };
        let serving = Repository::open(repository, &config.storage).and_then(|repository| {
            let trusted = TrustedKeys::read(&config.models.trusted_keys)?;
            number_for_servers(&repository, name, &trusted, number)
        });
        let shown = repository.display();
        match serving {
            Ok(serving) if serving == number => {
                print_error!("scoring with version {number} of {name}, which servers of {shown} use");
            }
            Ok(serving) => print_error!(
                "scoring with version {number} of {name}; servers of {shown} use version {serving}"
            ),
            // A bundle that is in no repository.
            Err(_) => {}
        }
    }

    /// Says if rows have no ids, or those of another column than the contract names.
    fn say_ids(&self, scoring: &Scoring) {
        if self.id.is_some() {
            return;
        }
        let contract = scoring.model.version.contract.as_ref();
        let entity = contract.map(|contract| contract.model.entity.as_str());
        let missing = entity.map(|name| format!("the input has no column `{name}`, the contract's entity; "));
        match (&scoring.selection.id, entity) {
            (Some(id), Some(entity)) if id != entity => print_error!(
                "{YELLOW}{}the ids are those of `{id}`{YELLOW:#}; --id names another column",
                missing.unwrap_or_default()
            ),
            (None, _) => print_error!(
                "{YELLOW}{}the output has no ids{YELLOW:#}; name their column with --id",
                missing.unwrap_or_default()
            ),
            (Some(_), _) => {}
        }
    }

    /// Prints the summary, and turns the result into an exit code.
    fn report(
        &self,
        scoring: &Scoring,
        work: Work,
        done: Result<(), JobError>,
        start: Instant,
        before: u64,
    ) -> Result<(), CommandError> {
        done.map_err(command_error)?;
        let rejects = self.rejects.as_ref().map(|path| path.display().to_string());
        let counts = &work.checkpoint.counts;
        counts.print(
            &scoring.model,
            &self.shown_output(),
            start,
            before,
            rejects.as_deref(),
        );
        if let Some(store) = &work.store {
            print_error!(
                "{} scores written to the store",
                super::thousands(store.written())
            );
        }
        let too_many = counts.rejected_share() > self.allow_rejects;
        if let Output::Parts(place, _) = work.output {
            place.unlock();
        }
        match too_many {
            true => Err(CommandError::Logged(WITH_REJECTS)),
            false => Ok(()),
        }
    }
}

/// The exit code of an error.
fn command_error(error: JobError) -> CommandError {
    match error {
        JobError::Input(error) => error.into(),
        JobError::Output(error) => {
            print_error!("{RED}error:{RED:#} {error}");
            CommandError::Logged(FAILED)
        }
    }
}

/// Checks that what `option` names neither replaces the input nor is in its folder, where the next run would read it.
fn check_output_path(input: &Path, output: &Path, option: &str) -> Result<(), String> {
    let is_elsewhere = |path: &Path| path.as_os_str() == STANDARD || is_remote(path);
    if is_elsewhere(input) != is_elsewhere(output) || input.as_os_str() == STANDARD {
        return Ok(());
    }
    let message = |output: &Path| {
        format!(
            "{}: the output would overwrite the input or become part of it; choose another {option}",
            output.display()
        )
    };
    if is_remote(input) {
        let input = input.to_string_lossy();
        let inside = output.to_string_lossy().trim_end_matches('/') == input.trim_end_matches('/')
            || output
                .to_string_lossy()
                .starts_with(&format!("{}/", input.trim_end_matches('/')));
        return if inside { Err(message(output)) } else { Ok(()) };
    }
    match resolve(input).zip(resolve(output)) {
        Some((input, output)) if output.starts_with(&input) => Err(message(&output)),
        _ => Ok(()),
    }
}

/// Checks that two options do not name the same file: one would replace the other.
fn check_different(first: (&str, &Path), second: (&str, &Path)) -> Result<(), String> {
    let (first_option, first) = first;
    let (second_option, second) = second;
    let is_local = |path: &Path| path.as_os_str() != STANDARD && !is_remote(path);
    let resolved = || resolve(first).zip(resolve(second));
    let same = first == second
        || is_local(first) && is_local(second) && resolved().is_some_and(|(first, second)| first == second);
    match same {
        true => Err(format!(
            "{}: expected different files for {first_option} and {second_option}",
            second.display()
        )),
        false => Ok(()),
    }
}

/// A path without links, as far as it exists.
fn resolve(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|existing| {
        let rest = path.strip_prefix(existing).ok()?;
        // Of a path that exists there is no rest, and a slash at its end would stay.
        Some(existing.canonicalize().ok()?.join(rest).components().collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_in_the_input_is_refused_before_its_folders_exist() {
        let root = tempfile::tempdir().unwrap();
        let input = root.path().join("rows");
        std::fs::create_dir(&input).unwrap();
        std::os::unix::fs::symlink(&input, root.path().join("link")).unwrap();
        for output in [
            "rows",
            "rows/x.csv",
            "rows/new/deep/x.csv",
            "link/new/x.csv",
            "rows/new/",
        ] {
            let refused = check_output_path(&input, &root.path().join(output), "--output");
            assert!(refused.is_err(), "{output}");
        }
        for output in ["x.csv", "rows.csv", "new/rows/x.csv"] {
            let allowed = check_output_path(&input, &root.path().join(output), "--output");
            assert_eq!(allowed, Ok(()), "{output}");
        }
    }

    #[test]
    fn two_options_for_one_file_are_refused_by_any_path_to_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("job.json");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, root.path().join("link")).unwrap();
        let check = |other: &Path| check_different(("--rejects", &file), ("--checkpoint", other));
        for same in ["job.json", "./job.json", "link"] {
            let error = check(&root.path().join(same)).unwrap_err();
            assert!(
                error.contains("different files for --rejects and --checkpoint"),
                "{error}"
            );
        }
        assert_eq!(check(&root.path().join("other.json")), Ok(()));
        assert_eq!(check(Path::new("s3://bucket/job.json")), Ok(()));
    }
}
