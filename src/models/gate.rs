//! The gate: the steps that a version must pass before it goes live, in order. `evergreen check` and the server run the
//! same code.

mod budget;
mod output;

use std::path::Path;

use super::ModelVersion;
use super::bundle::{Bundle, BundleFiles, Manifest, sha256};
use super::contract::Contract;
use super::derived::{DerivedInput, Operand};
use super::golden;
use super::input::ModelInput;
use super::known::KnownShare;
use super::reference::{self, Reference};
use super::report::{GateReport, GateStep, StepOutcome};
use super::signature::TrustedKeys;
use super::usual;
use super::version::{SlotNames, groups};
use crate::config::models::FILE_BYTES;
use crate::words::counted;
use evergreen_forest::{Forest, KernelName, LoadOptions, OutputKind, Scratch};

type StepVerdict<T> = Result<(T, StepOutcome, String), String>;

/// What a version is checked against besides its own files; nothing by default.
#[derive(Default)]
pub struct GateContext<'a> {
    /// The live version.
    pub live: Option<&'a ModelVersion>,
    /// Checks that the feature sources have what the version needs.
    pub check_features: Option<&'a mut FeatureCheck<'a>>,
    /// The keys whose signature a version needs; without keys it needs none.
    pub trusted: Option<&'a TrustedKeys>,
    /// The kernel to force.
    pub kernel: Option<KernelName>,
    /// Maximum size of each file in bytes; `None` for the default of the settings.
    pub file_bytes: Option<u64>,
}

/// Checks that the feature sources have what a version needs: returns what was found, or what is missing.
pub type FeatureCheck<'a> = dyn FnMut(&ModelVersion) -> Result<String, String> + 'a;

/// Validates the files at `path` as version `version` of the model `name`.
///
/// # Errors
/// The report whose last step failed.
pub fn validate(path: &Path, name: &str, version: u64) -> Result<ModelVersion, GateReport> {
    validate_with(path, name, version, &mut GateContext::default())
}

/// Validates the files at `path` as version `version` of the model `name`, in the context of a server.
///
/// # Errors
/// The report whose last step failed.
pub fn validate_with(
    path: &Path,
    name: &str,
    version: u64,
    context: &mut GateContext<'_>,
) -> Result<ModelVersion, GateReport> {
    let mut report = GateReport::default();
    match steps(path, name, version, context, &mut report) {
        Some(mut model) => {
            model.report = report;
            Ok(model)
        }
        None => Err(report),
    }
}

fn steps(
    path: &Path,
    name: &str,
    version: u64,
    context: &mut GateContext<'_>,
    report: &mut GateReport,
) -> Option<ModelVersion> {
    let (bundle, manifest) = report.take(GateStep::Settle, || find(path))?;
    report.take(GateStep::Signature, || {
        signed(&bundle, manifest.as_ref(), name, context.trusted)
    })?;
    // The text that the signature is of is the one that was parsed, and the checksums in it are of the bytes that are
    // used: a file that is swapped meanwhile changes nothing.
    let manifest_sha256 = manifest.as_ref().map(|manifest| sha256(manifest.text.as_bytes()));
    let contract = manifest.map(|manifest| manifest.contract);
    let files = report.take(GateStep::Checksums, || {
        let limit = context.file_bytes.unwrap_or(FILE_BYTES);
        checksums(&bundle, contract.as_ref(), limit)
    })?;
    let mut forest = report.take(GateStep::Parse, || {
        parse(&files, contract.as_ref(), context.kernel)
    })?;
    let (inputs, operands, derived) = report.take(GateStep::Contract, || {
        keeps_promises(contract.as_ref(), context.live)?;
        agree(&forest, contract.as_ref())
    })?;
    let rows = report.take(GateStep::Golden, || {
        replay(&files, &forest, contract.as_ref(), &inputs)
    })?;
    let reference = report.take(GateStep::Reference, || distributions(&files, contract.as_ref()))?;
    let known = contract
        .as_ref()
        .map(|contract| KnownShare::new(&forest, &rows, contract, reference.as_ref()));
    // Measuring it has explained some rows. A model that nobody wants reasons of holds no memory for them.
    forest.release_explanations();
    let groups = groups(&inputs);
    let usual = usual::of_inputs(&inputs, reference.as_ref());
    let model = ModelVersion {
        known: known.unwrap_or_default(),
        name: name.to_owned(),
        version,
        bundle_sha256: manifest_sha256.unwrap_or_else(|| files.sha256.clone()),
        sha256: files.sha256,
        forest,
        contract,
        names: SlotNames::of(&inputs, &operands),
        inputs,
        operands,
        derived,
        usual,
        groups,
        reference,
        report: GateReport::default(),
    };
    report.take(GateStep::Features, || check_features(&model, context))?;
    report.take(GateStep::Budget, || within_budget(&model, &rows))?;
    report.take(GateStep::WarmUp, || warm_up(&model.forest))?;
    Some(model)
}

/// Checks that a version without a contract does not replace one that scores entities.
fn keeps_promises(contract: Option<&Contract>, live: Option<&ModelVersion>) -> Result<(), String> {
    match (contract, live.filter(|live| live.contract.is_some())) {
        (None, Some(live)) => Err(format!(
            "no {}, but the live version {} has one: entities could no longer be scored",
            super::contract::FILE_NAME,
            live.version
        )),
        _ => Ok(()),
    }
}

fn check_features(model: &ModelVersion, context: &mut GateContext<'_>) -> StepVerdict<()> {
    let Some(check) = &mut context.check_features else {
        return Ok(((), StepOutcome::Skipped, "checked by the server only".to_owned()));
    };
    if model.contract.is_none() {
        return Ok(((), StepOutcome::Skipped, "no contract".to_owned()));
    }
    check(model).map(|detail| ((), StepOutcome::Passed, detail))
}

fn within_budget(model: &ModelVersion, rows: &[f64]) -> StepVerdict<()> {
    let budget = model
        .contract
        .as_ref()
        .and_then(|contract| contract.budget.as_ref());
    let Some(most) = budget.map(|budget| budget.row_p99_us) else {
        return Ok(((), StepOutcome::Skipped, "no [budget] in the contract".to_owned()));
    };
    let found = budget::row_p99(&model.forest, model.score_output(), rows, most)?;
    let summary = format!("{found:.1} µs per row (99th percentile), the budget is {most} µs");
    if found <= most {
        Ok(((), StepOutcome::Passed, summary))
    } else {
        Err(summary)
    }
}

fn find(path: &Path) -> StepVerdict<(Bundle, Option<Manifest>)> {
    let bundle = Bundle::find(path)?;
    let manifest = bundle.manifest()?;
    let detail = match &manifest {
        Some(Manifest { contract, .. }) => {
            format!("contract with {}", counted(contract.features().len(), "feature"))
        }
        None => "a bare model: it scores tensors, not entities".to_owned(),
    };
    Ok(((bundle, manifest), StepOutcome::Passed, detail))
}

fn signed(
    bundle: &Bundle,
    manifest: Option<&Manifest>,
    name: &str,
    trusted: Option<&TrustedKeys>,
) -> StepVerdict<()> {
    let Some(trusted) = trusted.filter(|trusted| trusted.is_on()) else {
        return Ok((
            (),
            StepOutcome::Skipped,
            "models.trusted_keys is not set".to_owned(),
        ));
    };
    let Some(manifest) = manifest else {
        return Err(
            "a bare model cannot be signed, and models.trusted_keys asks for a signature; publish it as a bundle with \
             a contract"
                .to_owned(),
        );
    };
    let key = trusted.verify(&bundle.path, name, manifest.text.as_bytes())?;
    Ok(((), StepOutcome::Passed, format!("signed by {key}")))
}

fn checksums(bundle: &Bundle, contract: Option<&Contract>, limit: u64) -> StepVerdict<BundleFiles> {
    let files = bundle.read(contract, limit)?;
    Ok(match contract {
        Some(contract) => (
            files,
            StepOutcome::Passed,
            format!("{} files match", contract.files.len()),
        ),
        None => (files, StepOutcome::Skipped, "no contract".to_owned()),
    })
}

fn parse(
    files: &BundleFiles,
    contract: Option<&Contract>,
    kernel: Option<KernelName>,
) -> StepVerdict<Forest> {
    let options = LoadOptions {
        kernel,
        ..contract.map_or_else(LoadOptions::default, Contract::load_options)
    };
    let forest = Forest::from_bytes(&files.model, &options).map_err(|error| error.to_string())?;
    let summary = forest.summary();
    let detail = format!(
        "{}, {}, {}, kernel {}",
        summary.format,
        summary.objective,
        counted(summary.trees, "tree"),
        forest.kernels()
    );
    Ok((forest, StepOutcome::Passed, detail))
}

/// The inputs of a model, the operands of derived ones, and the derivations.
type BoundInputs = (Vec<ModelInput>, Vec<Operand>, Vec<Option<DerivedInput>>);

fn agree(forest: &Forest, contract: Option<&Contract>) -> StepVerdict<BoundInputs> {
    let Some(contract) = contract else {
        return Ok((
            BoundInputs::default(),
            StepOutcome::Skipped,
            "no contract".to_owned(),
        ));
    };
    let features = forest.features();
    if contract.features().len() != features.len() {
        let (promised, taken) = (contract.features().len(), features.len());
        return Err(format!(
            "the contract lists {}, the model has {taken}",
            counted(promised, "feature")
        ));
    }
    let mut inputs = Vec::with_capacity(features.len());
    for (promised, feature) in contract.features().zip(features) {
        let input = ModelInput::bind(promised, feature, forest.summary(), forest.precision());
        inputs.push(input.map_err(|message| format!("feature `{}`: {message}", promised.name))?);
    }
    output::score_is_one_number(forest, contract)?;
    let operands = Operand::of(contract);
    let derived = inputs.iter().map(|input| {
        let derived = DerivedInput::bind(input, &inputs, &operands);
        derived.map_err(|message| format!("feature `{}`: {message}", input.contract.name))
    });
    let derived = derived.collect::<Result<_, _>>()?;
    Ok((
        (inputs, operands, derived),
        StepOutcome::Passed,
        format!("{} and the output agree", counted(features.len(), "feature")),
    ))
}

/// Replays the golden rows. Returns their inputs, row-major, for later steps.
fn replay(
    files: &BundleFiles,
    forest: &Forest,
    contract: Option<&Contract>,
    inputs: &[ModelInput],
) -> StepVerdict<Vec<f64>> {
    let Some(contract) = contract else {
        return Ok((Vec::new(), StepOutcome::Skipped, "no contract".to_owned()));
    };
    let golden = &contract.golden;
    let Some(text) = files.others.get(&golden.file) else {
        return Err(format!("{}: no such file", golden.file));
    };
    let (found, rows) = golden::replay(text, forest, inputs, &contract.output, golden)
        .map_err(|error| format!("{}, {error}", golden.file))?;
    let detail = found.summary(contract.output.calibration.is_some());
    Ok((rows, StepOutcome::Passed, detail))
}

/// Fewer rows than these fill ten bins too unevenly to compare distributions.
const FEW_ROWS: u64 = 100;

fn distributions(files: &BundleFiles, contract: Option<&Contract>) -> StepVerdict<Option<Reference>> {
    let name = reference::FILE_NAME;
    let (Some(contract), Some(text)) = (contract, files.others.get(name)) else {
        return Ok((None, StepOutcome::Skipped, format!("no {name}")));
    };
    let found = Reference::parse(text, contract).map_err(|error| format!("{name}: {error}"))?;
    let mut detail = format!(
        "{} over {} rows",
        counted(found.features.len(), "distribution"),
        found.rows
    );
    if found.rows < FEW_ROWS {
        detail.push_str(&format!(
            "; warning: too few to recognise drift, expected at least {FEW_ROWS}"
        ));
    }
    Ok((Some(found), StepOutcome::Passed, detail))
}

/// Rows to evaluate so that the caches hold the forest.
const WARM_UP_ROWS: usize = 64;

fn warm_up(forest: &Forest) -> StepVerdict<()> {
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
    Ok(((), StepOutcome::Passed, format!("{WARM_UP_ROWS} rows scored")))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::models::sample;

    /// Changes a file of a bundle, and writes its new checksum into the contract if `consistent`.
    fn change(folder: &Path, name: &str, from: &str, to: &str, consistent: bool) {
        let path = folder.join(name);
        let old = std::fs::read(&path).unwrap();
        let text = String::from_utf8(old.clone()).unwrap();
        assert!(text.contains(from), "{name} does not contain {from}");
        let new = text.replacen(from, to, 1);
        std::fs::write(&path, &new).unwrap();
        if consistent {
            let hex = |bytes: &[u8]| {
                let digest = Sha256::digest(bytes);
                digest
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            };
            let contract = folder.join("bundle.toml");
            let text = std::fs::read_to_string(&contract).unwrap();
            let text = text.replace(&hex(&old), &hex(new.as_bytes()));
            std::fs::write(&contract, text).unwrap();
        }
    }

    fn failure(folder: &Path, context: &mut GateContext<'_>) -> (GateStep, String) {
        let report = validate_with(folder, "churn", 1, context).unwrap_err();
        let failure = report.failure().unwrap();
        assert_eq!(
            report.steps.last().unwrap().step,
            failure.step,
            "a failure ends the gate"
        );
        (failure.step, failure.detail.clone())
    }

    #[test]
    fn the_sample_passes_every_step_in_order() {
        let steps: Vec<GateStep> = sample::version(1)
            .report
            .steps
            .iter()
            .map(|step| step.step)
            .collect();
        use GateStep::*;
        let expected = [
            Settle, Signature, Checksums, Parse, Contract, Golden, Reference, Features, Budget, WarmUp,
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn each_fault_fails_its_own_step() {
        let empty = tempfile::tempdir().unwrap();
        let (step, detail) = failure(empty.path(), &mut GateContext::default());
        assert_eq!(step, GateStep::Settle, "{detail}");
        for (name, from, to, consistent, step) in [
            ("bundle.toml", "[output]", "[outputs]", false, GateStep::Settle),
            ("golden.jsonl", "0.", "1.", false, GateStep::Checksums),
            (
                "bundle.toml",
                "name = \"support_calls_30d\"",
                "name = \"calls\"",
                false,
                GateStep::Contract,
            ),
            (
                "golden.jsonl",
                "\"margin\": ",
                "\"margin\": 1",
                true,
                GateStep::Golden,
            ),
            ("reference.json", "{", "[", true, GateStep::Reference),
        ] {
            let bundle = sample::copy();
            change(bundle.path(), name, from, to, consistent);
            let (failed, detail) = failure(bundle.path(), &mut GateContext::default());
            assert_eq!(failed, step, "{name}: {detail}");
        }
    }

    #[test]
    fn a_model_file_that_is_cut_fails_to_parse() {
        let bundle = sample::copy();
        let model = std::fs::read(bundle.path().join("model.ubj")).unwrap();
        let bare = tempfile::tempdir().unwrap();
        std::fs::write(bare.path().join("model.ubj"), &model[..model.len() / 2]).unwrap();
        assert_eq!(
            failure(bare.path(), &mut GateContext::default()).0,
            GateStep::Parse
        );
    }

    #[test]
    fn a_bare_model_must_not_replace_one_with_a_contract() {
        let live = sample::version(1);
        let bare = tempfile::tempdir().unwrap();
        let model = sample::bundle().join("model.ubj");
        std::fs::copy(model, bare.path().join("model.ubj")).unwrap();
        assert!(validate(bare.path(), "churn", 2).is_ok());
        let mut context = GateContext {
            live: Some(&live),
            ..GateContext::default()
        };
        assert_eq!(failure(bare.path(), &mut context).0, GateStep::Contract);
    }

    #[test]
    fn missing_features_fail_their_step() {
        let mut check = |_: &ModelVersion| Err("no column `nps`".to_owned());
        let mut context = GateContext {
            check_features: Some(&mut check),
            ..GateContext::default()
        };
        let (step, detail) = failure(&sample::bundle(), &mut context);
        assert_eq!((step, detail.as_str()), (GateStep::Features, "no column `nps`"));
    }
}
