//! The gate: everything that stands between files on disk and going live, in order. `evergreen check` and the
//! server run the same code.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ModelVersion;
use super::bundle::{Bundle, Files};
use super::contract::{Contract, ScoreKind};
use super::derived::{Derived, Operand};
use super::golden;
use super::input::Input;
use super::reference::{self, Reference};
use super::version::output_of;
use crate::forest::{Forest, LoadOptions, OutputKind, Scratch};

/// A step of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// There is a bundle or a model file, and its contract can be read.
    Files,
    /// Every file is the one the contract was written for.
    Checksums,
    /// The model file is read exactly.
    Parse,
    /// The contract agrees with the model.
    Contract,
    /// The golden rows give the training library's outputs.
    Golden,
    /// The training-time distributions can be read and agree with the contract.
    Reference,
    /// The forest has been run, so that its memory is warm.
    WarmUp,
    /// The feature source has what the contract asks for (at start-up, not in `evergreen check`).
    Features,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// There was nothing to check.
    Skipped,
    /// It does not hold: the version may not go live.
    Failed,
}

/// One step with its result.
#[derive(Clone, Debug, Serialize)]
pub struct StepResult {
    /// Which one.
    pub step: Step,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, for people.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub milliseconds: f64,
}

/// All steps that were taken; the first failure is the last one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In order.
    pub steps: Vec<StepResult>,
}

impl Report {
    /// The step that failed.
    pub fn failure(&self) -> Option<&StepResult> {
        self.steps.iter().find(|step| step.outcome == Outcome::Failed)
    }

    /// Adds a failure found elsewhere.
    pub(super) fn fail(&mut self, step: Step, detail: String) {
        let outcome = Outcome::Failed;
        self.steps.push(StepResult {
            step,
            outcome,
            detail,
            milliseconds: 0.0,
        });
    }

    /// Takes a step; its value if it passed.
    fn take<T>(
        &mut self,
        step: Step,
        work: impl FnOnce() -> Result<(T, Outcome, String), String>,
    ) -> Option<T> {
        let start = Instant::now();
        let result = work();
        let milliseconds = milliseconds(start.elapsed());
        let (value, outcome, detail) = match result {
            Ok((value, outcome, detail)) => (Some(value), outcome, detail),
            Err(reason) => (None, Outcome::Failed, reason),
        };
        self.steps.push(StepResult {
            step,
            outcome,
            detail,
            milliseconds,
        });
        value
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

type Judged<T> = Result<(T, Outcome, String), String>;

/// Judges the files at `path` as version `version` of the model `name`.
///
/// # Errors
/// The report whose last step failed.
pub fn admit(path: &Path, name: &str, version: u64) -> Result<ModelVersion, Report> {
    let mut report = Report::default();
    match steps(path, name, version, &mut report) {
        Some(mut model) => {
            model.report = report;
            Ok(model)
        }
        None => Err(report),
    }
}

fn steps(path: &Path, name: &str, version: u64, report: &mut Report) -> Option<ModelVersion> {
    let (bundle, contract) = report.take(Step::Files, || find(path))?;
    let files = report.take(Step::Checksums, || checksums(&bundle, contract.as_ref()))?;
    let forest = report.take(Step::Parse, || parse(&files, contract.as_ref()))?;
    let (inputs, operands, derived) = report.take(Step::Contract, || agree(&forest, contract.as_ref()))?;
    report.take(Step::Golden, || {
        replay(&files, &forest, contract.as_ref(), &inputs)
    })?;
    report.take(Step::Reference, || distributions(&files, contract.as_ref()))?;
    report.take(Step::WarmUp, || warm_up(&forest))?;
    let sha256 = files.sha256;
    Some(ModelVersion {
        name: name.to_owned(),
        version,
        sha256,
        forest,
        contract,
        inputs,
        operands,
        derived,
        report: Report::default(),
    })
}

fn find(path: &Path) -> Judged<(Bundle, Option<Contract>)> {
    let bundle = Bundle::find(path)?;
    let contract = bundle.contract()?;
    let detail = match &contract {
        Some(contract) => format!("contract with {} features", contract.features().len()),
        None => "a bare model: it answers tensors, not customers".to_owned(),
    };
    Ok(((bundle, contract), Outcome::Passed, detail))
}

fn checksums(bundle: &Bundle, contract: Option<&Contract>) -> Judged<Files> {
    let files = bundle.read(contract)?;
    Ok(match contract {
        Some(contract) => (
            files,
            Outcome::Passed,
            format!("{} files match", contract.files.len()),
        ),
        None => (files, Outcome::Skipped, "no contract".to_owned()),
    })
}

fn parse(files: &Files, contract: Option<&Contract>) -> Judged<Forest> {
    let options = contract.map_or_else(LoadOptions::default, Contract::load_options);
    let forest = Forest::from_bytes(&files.model, &options).map_err(|error| error.to_string())?;
    let summary = forest.summary();
    let detail = format!(
        "{:?}, {}, {} trees",
        summary.format, summary.objective, summary.trees
    );
    Ok((forest, Outcome::Passed, detail))
}

/// The inputs of a model, the other values that it rests on, and how inputs are worked out from them.
type Inputs = (Vec<Input>, Vec<Operand>, Vec<Option<Derived>>);

fn agree(forest: &Forest, contract: Option<&Contract>) -> Judged<Inputs> {
    let Some(contract) = contract else {
        return Ok((Inputs::default(), Outcome::Skipped, "no contract".to_owned()));
    };
    let features = forest.features();
    if contract.features().len() != features.len() {
        let (promised, taken) = (contract.features().len(), features.len());
        return Err(format!(
            "the contract lists {promised} features, the model takes {taken}"
        ));
    }
    let mut inputs = Vec::with_capacity(features.len());
    for (promised, feature) in contract.features().zip(features) {
        let input = Input::bind(promised, feature, forest.summary().named, forest.precision());
        inputs.push(input.map_err(|message| format!("feature `{}`: {message}", promised.name))?);
    }
    score_is_one_number(forest, contract)?;
    let operands = Operand::of(contract);
    let derived = inputs.iter().map(|input| {
        let derived = Derived::bind(input, &inputs, &operands);
        derived.map_err(|message| format!("feature `{}`: {message}", input.contract.name))
    });
    let derived = derived.collect::<Result<_, _>>()?;
    Ok((
        (inputs, operands, derived),
        Outcome::Passed,
        format!("{} features and the output agree", features.len()),
    ))
}

fn score_is_one_number(forest: &Forest, contract: &Contract) -> Result<(), String> {
    let kind = contract.output.kind;
    if kind == ScoreKind::Probability && !forest.gives_probabilities() {
        let objective = &forest.summary().objective;
        return Err(format!(
            "[output] kind = \"probability\", but {objective} gives none; use \"value\", \"margin\" or \"class\""
        ));
    }
    match forest.width(output_of(kind)) {
        Ok(1) => Ok(()),
        Ok(width) => Err(format!(
            "[output] a score is one number, the model gives {width}; use kind = \"class\""
        )),
        Err(error) => Err(format!("[output] {error}")),
    }
}

fn replay(files: &Files, forest: &Forest, contract: Option<&Contract>, inputs: &[Input]) -> Judged<()> {
    let Some(contract) = contract else {
        return Ok(((), Outcome::Skipped, "no contract".to_owned()));
    };
    let golden = &contract.golden;
    let Some(text) = files.others.get(&golden.file) else {
        return Err(format!("{}: no such file", golden.file));
    };
    let allowed = (golden.margin_ulp, golden.value_ulp);
    let found =
        golden::replay(text, forest, inputs, allowed).map_err(|error| format!("{}, {error}", golden.file))?;
    let distance = |ulp: u64| {
        if ulp == 0 {
            "bit-equal".to_owned()
        } else {
            format!("within {ulp} ulp")
        }
    };
    let (margins, values) = (distance(found.margin_ulp), distance(found.value_ulp));
    Ok((
        (),
        Outcome::Passed,
        format!("{} rows: margins {margins}, values {values}", found.rows),
    ))
}

fn distributions(files: &Files, contract: Option<&Contract>) -> Judged<()> {
    let name = reference::FILE_NAME;
    let (Some(contract), Some(text)) = (contract, files.others.get(name)) else {
        return Ok(((), Outcome::Skipped, format!("no {name}")));
    };
    let found = Reference::parse(text, contract).map_err(|error| format!("{name}: {error}"))?;
    let detail = format!("{} distributions over {} rows", found.features.len(), found.rows);
    Ok(((), Outcome::Passed, detail))
}

/// Rows evaluated to bring a forest into the caches.
const WARM_UP_ROWS: usize = 64;

fn warm_up(forest: &Forest) -> Judged<()> {
    let features = forest.features().len();
    let row = vec![0.5f64; features];
    let mut out = vec![
        0.0;
        forest
            .width(OutputKind::Margin)
            .map_err(|error| error.to_string())?
    ];
    let mut scratch = Scratch::default();
    for _ in 0..WARM_UP_ROWS {
        forest
            .predict(OutputKind::Margin, &row, &mut out, &mut scratch)
            .map_err(|error| error.to_string())?;
    }
    Ok(((), Outcome::Passed, format!("{WARM_UP_ROWS} rows scored")))
}
