//! The files that nobody has named.

use std::path::{Path, PathBuf};

use crate::features::table::FileKind;

/// Endings of model files.
const MODEL_ENDINGS: [&str; 4] = ["ubj", "json", "txt", "model"];

/// The model file: the given one, or the only one in this folder.
///
/// # Errors
/// There is none, or more than one.
pub(super) fn model(given: Option<&Path>) -> Result<PathBuf, String> {
    let is_model = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| MODEL_ENDINGS.contains(&ending))
    };
    only(given, "--model", "a model file (.ubj, .json or .txt)", &is_model)
}

/// The sample rows: the given file, or the only table in this folder.
///
/// # Errors
/// There is none, or more than one.
pub(super) fn rows(given: Option<&Path>, model: &Path) -> Result<PathBuf, String> {
    let is_table = |path: &Path| path != model && FileKind::of(path).is_ok();
    only(
        given,
        "--rows",
        "sample rows (.parquet, .csv or .jsonl)",
        &is_table,
    )
}

fn only(
    given: Option<&Path>,
    option: &str,
    what: &str,
    is_one: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let entries = Path::new(".")
        .read_dir()
        .map_err(|error| format!("{option}: {error}"))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|path| path.is_file() && is_one(path))
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!(
            "{option}: expected {what}, and there is none in this folder; name it"
        )),
        several => {
            let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(format!(
                "{option}: expected one {what}, found {}; name one",
                names.join(", ")
            ))
        }
    }
}

/// A name for the model, from its file: `churn` from `churn.ubj`.
pub(super) fn model_name(model: &Path) -> String {
    let stem = model.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name: String = stem
        .unwrap_or_default()
        .chars()
        .map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() || "-_.".contains(letter) => letter,
            _ => '_',
        })
        .collect();
    let name = name.trim_start_matches('.');
    match name {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}
