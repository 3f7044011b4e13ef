//! Writes the bundle: the contract, the model file, golden rows and distributions.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::draft::{Draft, DraftFeature};
use super::reference;
use super::sample::{OwnedCell, Sample};
use crate::models::contract::{Contract, FILE_NAME};
use crate::models::input::{EncodedCell, ModelInput};
use crate::values::feature_type::FeatureType;
use evergreen_forest::{Forest, OutputKind, Scratch};

/// Golden rows.
const GOLDEN_ROWS: usize = 200;

const GOLDEN: &str = "golden.jsonl";

/// Writes the bundle into the new folder `folder`.
///
/// # Errors
/// The sample does not fit the model, or a file cannot be written.
#[expect(clippy::too_many_arguments, reason = "what a bundle is made from")]
pub(super) fn write(
    folder: &Path,
    name: &str,
    id: &str,
    model: &Path,
    bytes: &[u8],
    forest: &Forest,
    draft: &Draft,
    sample: &Sample,
) -> Result<(), String> {
    let file = model.file_name().map(|name| name.to_string_lossy().into_owned());
    let file = file.unwrap_or_else(|| "model".to_owned());
    let text = contract(name, id, &file, forest, draft);
    let names = [file.as_str(), GOLDEN, crate::models::reference::FILE_NAME];
    // The checksums are known when the other files are, which the contract itself determines.
    let unknown: String = names.map(|name| checksum(name, &[])).concat();
    let parsed = Contract::parse(Path::new(FILE_NAME), &format!("{text}{unknown}"));
    let parsed = parsed.map_err(|error| error.to_string())?;
    let inputs = parsed
        .features()
        .zip(forest.features())
        .map(|(contract, feature)| {
            ModelInput::bind(contract, feature, forest.summary(), forest.precision())
                .map_err(|message| format!("feature `{}`: {message}", contract.name))
        });
    let inputs: Vec<ModelInput> = inputs.collect::<Result<_, _>>()?;
    let rows = encode(&inputs, sample)?;
    let golden = golden(forest, draft, sample, &rows)?;
    let reference = distributions(forest, draft, sample, &rows)?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut text = text;
    for (name, bytes) in names
        .into_iter()
        .zip([bytes, golden.as_bytes(), reference.as_bytes()])
    {
        text.push_str(&checksum(name, bytes));
        put(&folder.join(name), bytes)?;
    }
    put(&folder.join(FILE_NAME), text.as_bytes())
}

/// The line with the checksum of a file.
fn checksum(name: &str, bytes: &[u8]) -> String {
    let sha256: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{} = \"{sha256}\"\n", quoted(name))
}

pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// A text in TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The contract, up to the checksums.
fn contract(name: &str, id: &str, file: &str, forest: &Forest, draft: &Draft) -> String {
    let summary = forest.summary();
    let library = match &summary.library_version {
        Some(version) => format!("{} {version}", summary.format),
        None => summary.format.to_string(),
    };
    let mut text = format!(
        "# Made by evergreen init. Golden rows and distributions come from the sample and from Evergreen, not from training.\n\
         format = 1\n\n\
         [model]\n\
         name = {}\n\
         file = {}\n\
         entity = {}\n\
         lineage = {{ library = {}, made_by = \"evergreen init\" }}\n\n\
         [output]\n\
         kind = \"{}\"\n",
        quoted(name),
        quoted(file),
        quoted(id),
        quoted(&library),
        draft.output.label()
    );
    if draft.output.label() == "probability" {
        text.push_str("# bands = [{ name = \"low\", from = 0.0 }, { name = \"high\", from = 0.5 }]\n");
    }
    for feature in &draft.features {
        text.push_str(&feature_text(feature));
    }
    text.push_str(&format!(
        "\n[golden]\nfile = \"{GOLDEN}\"\nmargin_ulp = 0\nvalue_ulp = 0\n\n[files]\n"
    ));
    text
}

fn feature_text(feature: &DraftFeature) -> String {
    let mut text = format!(
        "\n[[feature]]\nname = {}\ntype = \"{}\"\n",
        quoted(&feature.name),
        feature.kind.label()
    );
    if !feature.categories.is_empty() {
        let names: Vec<String> = feature.categories.iter().map(|name| quoted(name)).collect();
        text.push_str(&format!("categories = [{}]\n", names.join(", ")));
    }
    if let Some([low, high]) = feature.range {
        text.push_str(&format!("range = [{low:?}, {high:?}]\n"));
    }
    text
}

/// The inputs of the model for every row of the sample, row-major.
fn encode(inputs: &[ModelInput], sample: &Sample) -> Result<Vec<f64>, String> {
    let mut rows = Vec::with_capacity(inputs.len() * sample.rows);
    for row in 0..sample.rows {
        for (input, cells) in inputs.iter().zip(&sample.columns) {
            let name = &input.contract.name;
            let at = |message: String| format!("feature `{name}`, row {}: {message}", row + 1);
            rows.push(match input.encode(cells[row].cell()).map_err(at)? {
                EncodedCell::Value(value) => value,
                EncodedCell::Null => f64::NAN,
                EncodedCell::UnknownCategory => {
                    let known = input.categories().join(", ");
                    return Err(at(format!(
                        "a category that the model does not know; it knows {known}"
                    )));
                }
            });
        }
    }
    Ok(rows)
}

fn predict(forest: &Forest, kind: OutputKind, rows: &[f64]) -> Result<(usize, Vec<f64>), String> {
    let width = forest.width(kind).map_err(|error| error.to_string())?;
    let count = rows.len() / forest.features().len().max(1);
    let mut out = vec![0.0; count * width];
    forest
        .predict(kind, rows, &mut out, &mut Scratch::default())
        .map_err(|error| error.to_string())?;
    Ok((width, out))
}

/// The golden rows: the first of the sample, with the outputs that Evergreen computes.
fn golden(forest: &Forest, draft: &Draft, sample: &Sample, rows: &[f64]) -> Result<String, String> {
    let width = draft.features.len();
    let count = sample.rows.min(GOLDEN_ROWS);
    let rows = &rows[..count * width];
    let (margins, margin) = predict(forest, OutputKind::Margin, rows)?;
    let (values, value) = predict(forest, OutputKind::Value, rows)?;
    let mut text = String::new();
    for row in 0..count {
        let cells = draft.features.iter().zip(&sample.columns);
        let features =
            cells.map(|(feature, cells)| Some((feature.name.clone(), json_cell(&cells[row], feature.kind)?)));
        // A number that JSON does not have, such as infinity.
        let Some(features) = features.collect::<Option<Map<String, Value>>>() else {
            continue;
        };
        let line = json!({
            "features": features,
            "margin": margin[row * margins..(row + 1) * margins],
            "value": value[row * values..(row + 1) * values],
        });
        text.push_str(&format!("{line}\n"));
    }
    Ok(text)
}

/// A cell in JSON; `None` if JSON has no such number.
fn json_cell(cell: &OwnedCell, kind: FeatureType) -> Option<Value> {
    let number = |value: f64| Some(json!(value)).filter(|_| value.is_finite());
    match cell {
        OwnedCell::Null => Some(Value::Null),
        OwnedCell::Bool(value) => Some(json!(value)),
        OwnedCell::Int(value) => Some(json!(value)),
        OwnedCell::Float(value) if value.is_nan() => Some(Value::Null),
        OwnedCell::Float(value) => number(*value),
        OwnedCell::Text(text) => Some(json!(text)),
        OwnedCell::Time(micros) => {
            let time = jiff::Timestamp::from_microsecond(*micros).ok()?;
            Some(json!(time.to_string()))
        }
        OwnedCell::Untyped(text) if matches!(kind, FeatureType::Category | FeatureType::Timestamp) => {
            Some(json!(text))
                .filter(|_| !text.is_empty())
                .or(Some(Value::Null))
        }
        OwnedCell::Untyped(_) => match (cell.cell().number(kind).ok()?, kind) {
            (None, _) => Some(Value::Null),
            (Some(value), FeatureType::Bool) => Some(json!(value == 1.0)),
            (Some(value), _) => number(value),
        },
    }
}

fn distributions(forest: &Forest, draft: &Draft, sample: &Sample, rows: &[f64]) -> Result<String, String> {
    let width = draft.features.len();
    let features = draft.features.iter().enumerate();
    let features: Map<String, Value> = features
        .map(|(position, feature)| {
            let values: Vec<f64> = rows.iter().skip(position).step_by(width).copied().collect();
            let distribution = match feature.kind {
                FeatureType::Category => {
                    let cells = sample.columns[position].iter();
                    let found: Vec<Option<usize>> =
                        cells.map(|cell| place(cell, &feature.categories)).collect();
                    reference::categories(&feature.categories, &found)
                }
                _ => reference::numeric(&values, forest.precision()),
            };
            (feature.name.clone(), distribution)
        })
        .collect();
    let mut all = json!({"rows": sample.rows, "features": features});
    let (numbers, values) = predict(forest, OutputKind::Value, rows)?;
    if let (1, Some(all)) = (numbers, all.as_object_mut()) {
        all.insert("score".to_owned(), reference::scores(&values));
    }
    Ok(format!("{all}\n"))
}

/// The position of a cell's category.
fn place(cell: &OwnedCell, names: &[String]) -> Option<usize> {
    let mut digits = String::new();
    let text = match cell.cell().category(&mut digits) {
        Ok(text) => text?.to_owned(),
        Err(_) => return None,
    };
    let whole = crate::values::category::shortest(&text);
    let found = |wanted: &str| names.iter().position(|name| name == wanted);
    found(&text).or_else(|| found(&whole)).or_else(|| {
        let spellings = crate::values::category::booleans(&text);
        spellings.iter().find_map(|spelling| found(spelling))
    })
}
