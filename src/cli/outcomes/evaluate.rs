//! `evergreen outcomes evaluate`: compares the scores of a file with the outcomes of another one, without a server.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{CommandError, load_config, print_line};
use super::print;
use super::rows::{OutcomeRows, micros, scores};
use crate::config::StorageSection;
use crate::files;
use crate::models::contract::{Contract, FILE_NAME};
use crate::record::outcomes::interface::{CustomerEvent, ScoreVisitor as _};
use crate::record::outcomes::recorder::now;
use crate::record::outcomes::{ScoreRecord, TimeLimits, period};
use crate::record::performance::{Definition, Evaluation};
use crate::record::prediction_log::read::LogFiles;
use crate::scoring::hold_out::HoldOut;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use crate::words::thousands;

const EXAMPLES: &str = "\
Examples:
  evergreen outcomes evaluate --bundle models/churn/3 --scores scores.parquet --outcomes left.csv
  evergreen outcomes evaluate --bundle models/churn/3 --scores scored.csv --at 2026-03-02 --outcomes left.csv
  evergreen outcomes evaluate --bundle models/churn/3 --scores log/ --outcomes left.csv --now 2026-06-01 --json
  evergreen outcomes evaluate --bundle models/churn/3 --scores log/ --outcomes left.csv --config evergreen.toml

Scores have the columns `customer` (or the contract's entity), `at` and `score` (or `probability`), optional `version`, `model`, `hold_out`, `overridden` and `arm`; a \
folder of a prediction log fits. Outcomes have the columns of `evergreen outcomes add`.";

/// Rows of outcomes that are read at once.
const BATCH: usize = 4096;

/// Days: more than a century.
const ANY_AGE: u32 = 40_000;

/// The threshold of a bundle without bands.
const THRESHOLD: f64 = 0.5;

/// Compare the scores of a file with the outcomes of another one, by the rules of a bundle
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EvaluateCommand {
    /// Bundle whose [outcome] and bands hold
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// File or folder with scores
    #[arg(long, value_name = "FILE")]
    scores: PathBuf,
    /// File or folder with outcomes
    #[arg(long, value_name = "FILE")]
    outcomes: PathBuf,
    /// Time of the scores, if no column `at` says it
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Time as of which to judge. Default: now
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// Days for which at most one score of a customer by a version counts, the earliest one
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3650))]
    score_days: u32,
    /// Settings file (TOML) with the section [outcomes]: its hold_out and hold_out_salt say who was held out, if no column
    /// `hold_out` does
    #[arg(long, value_name = "FILE", env = "EVERGREEN_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl EvaluateCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let (contract, definition) = self.rules()?;
        let name = contract.model.name.clone().unwrap_or_else(|| "model".to_owned());
        let entity = contract.model.entity.as_str();
        let now = self
            .now
            .as_deref()
            .map_or_else(|| Ok(now()), |text| time("--now", text))?;
        let at = self.at.as_deref().map(|text| time("--at", text)).transpose()?;
        let config = load_config(self.config.as_deref())?;
        let hold_out = HoldOut::new(config.outcomes.hold_out, &config.outcomes.hold_out_salt);
        let events = self.events(&name, entity, now)?;
        let mut evaluation = Evaluation::new(definition, now);
        for score in self.first_scores(&name, entity, at, now, &hold_out)? {
            let of_customer = events.get(&score.customer);
            let events: Vec<CustomerEvent> = of_customer
                .into_iter()
                .flat_map(HashMap::values)
                .copied()
                .collect();
            evaluation.visit(&score, &events);
        }
        let report = evaluation.report(&name);
        if self.json {
            let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
            print_line!("{text}");
        } else {
            print::report(&report);
        }
        Ok(())
    }

    /// The first score of each customer by a version in each period.
    fn first_scores(
        &self,
        name: &str,
        entity: &str,
        at: Option<i64>,
        now: i64,
        hold_out: &HoldOut,
    ) -> Result<Vec<ScoreRecord>, String> {
        let mut first: Vec<ScoreRecord> = Vec::new();
        let mut places = HashMap::new();
        let mut skipped = 0;
        let mut add = |path: &Path| {
            skipped += scores(path, entity, at, hold_out, |row| {
                if row.at > now || row.model.as_ref().is_some_and(|model| *model != name) {
                    return;
                }
                let key = (row.customer.clone(), row.version, period(row.at, self.score_days));
                let score = ScoreRecord {
                    model: name.to_owned(),
                    version: row.version,
                    customer: row.customer,
                    at: row.at,
                    score: row.score,
                    hold_out: row.hold_out,
                };
                let place = *places.entry(key).or_insert(first.len());
                match first.get_mut(place) {
                    None => first.push(score),
                    // Files of a log are not in the order of time.
                    Some(earliest) if score.at < earliest.at => *earliest = score,
                    Some(_) => {}
                }
            })?;
            Ok::<_, String>(())
        };
        if has_folders(&self.scores) {
            let files = LogFiles::find(&self.scores, &StorageSection::default())?;
            for position in 0..files.len() {
                add(files.fetch(position)?.path())?;
            }
        } else {
            add(&self.scores)?;
        }
        if skipped > 0 {
            anstream::eprintln!(
                "{} of the scores not counted: what-if requests, and scores of a shadow",
                thousands(skipped)
            );
        }
        Ok(first)
    }

    fn rules(&self) -> Result<(Contract, Definition), String> {
        let path = self.bundle.join(FILE_NAME);
        let text =
            files::read_text(&path, files::SMALL).map_err(|error| format!("{}: {error}", path.display()))?;
        let contract = Contract::parse(&path, &text).map_err(|error| error.to_string())?;
        let outcome = contract.outcome.ok_or_else(|| {
            format!(
                "{}: expected a section [outcome] such as `horizon_days = 30`, found none",
                path.display()
            )
        })?;
        let band = contract.output.bands.last();
        let definition = Definition {
            outcome,
            threshold: band.map_or(THRESHOLD, |band| band.from),
            band: band.map(|band| band.name.to_string()),
        };
        Ok((contract, definition))
    }

    /// What happened to each customer, by the key of the record: a later row replaces an earlier one.
    fn events(
        &self,
        model: &str,
        entity: &str,
        now: i64,
    ) -> Result<HashMap<String, HashMap<String, CustomerEvent>>, String> {
        // Files may be of any age; what is after `now` is not known yet.
        let limits = TimeLimits::new(now, ANY_AGE);
        let mut rows = OutcomeRows::open(&self.outcomes, Some(entity))?;
        let mut events: HashMap<String, HashMap<String, CustomerEvent>> = HashMap::new();
        let mut first = 1;
        loop {
            let batch = rows.take(BATCH)?;
            if batch.is_empty() {
                return Ok(events);
            }
            for (position, row) in batch.iter().enumerate() {
                let number = first + position;
                let record = row
                    .record(model, limits)
                    .map_err(|error| format!("{}, row {number}: {error}", rows.path().display()))?;
                if record.model != model || record.at > now {
                    continue;
                }
                let event = CustomerEvent {
                    at: record.at,
                    action: record.action,
                    result: record.result,
                };
                events
                    .entry(record.customer)
                    .or_default()
                    .insert(record.key, event);
            }
            first += batch.len();
        }
    }
}

/// Whether a folder has folders, as a prediction log has.
fn has_folders(path: &Path) -> bool {
    let entries = path.read_dir().into_iter().flatten().flatten();
    let hidden = |name: &OsStr| name.to_string_lossy().starts_with(['.', '_']);
    entries
        .filter(|entry| !hidden(&entry.file_name()))
        .any(|entry| entry.path().is_dir())
}

/// Reads the time of an option, in microseconds since the Unix epoch.
fn time(option: &str, text: &str) -> Result<i64, String> {
    let seconds = Cell::Untyped(text).number(FeatureType::Timestamp);
    let seconds = seconds.map_err(|error| format!("{option}: {error}"))?;
    let seconds =
        seconds.ok_or_else(|| format!("{option}: expected a time such as 2026-06-01, found nothing"))?;
    Ok(micros(seconds))
}
