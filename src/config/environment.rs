//! `EVERGREEN_<SECTION>__<KEY>`: a variable for each value of the settings. A list is a JSON array, or texts with commas
//! between them.

use toml::{Table, Value};

use super::Config;
use crate::suggest::{hint, with_hint};

const PREFIX: &str = "EVERGREEN_";

/// Variables with that prefix that are not settings: the command line reads them.
const COMMAND_LINE: [&str; 2] = ["EVERGREEN_CONFIG", "EVERGREEN_API_KEY"];

/// Parts of the variables that Kubernetes sets in every pod for a Service named `evergreen…`.
const SERVICE_LINKS: [&str; 2] = ["_SERVICE_", "_PORT"];

/// Whether a variable is meant as a setting.
fn is_setting(name: &str) -> bool {
    let link = !name.contains("__") && SERVICE_LINKS.iter().any(|part| name.contains(part));
    name.starts_with(PREFIX) && !COMMAND_LINE.contains(&name) && !link
}

/// Applies the variables to `config`.
///
/// # Errors
/// A variable is not a setting, or its value is not valid; the message names it.
pub(super) fn apply(
    config: &mut Config,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), String> {
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(PREFIX).filter(|_| is_setting(&name)) else {
            continue;
        };
        let mut table = Table::try_from(&*config).map_err(|error| error.to_string())?;
        let slot = slot(&mut table, path).ok_or_else(|| unknown(&name))?;
        *slot =
            value(slot, &text).map_err(|expected| format!("{name}: expected {expected}, found {text:?}"))?;
        // Through text, because a second deserializer would add to every build.
        let text = toml::to_string(&table).map_err(|error| error.to_string())?;
        *config = toml::from_str(&text).map_err(|error| format!("{name}: {}", with_hint(error.message())))?;
    }
    Ok(())
}

/// Finds the value of `SECTION__KEY`, or of a deeper key.
fn slot<'a>(table: &'a mut Table, path: &str) -> Option<&'a mut Value> {
    let (section, rest) = path.split_once("__")?;
    let mut slot = table.get_mut(&section.to_ascii_lowercase())?;
    for key in rest.split("__") {
        slot = slot.get_mut(key.to_ascii_lowercase())?;
    }
    (!slot.is_table()).then_some(slot)
}

/// Reads `text` as a value of the same type as the present one.
fn value(now: &Value, text: &str) -> Result<Value, &'static str> {
    match now {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| "a whole number"),
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| "a number"),
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| "true or false"),
        Value::Array(_) => list(text),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Reads a list: a JSON array, which can have any elements, or texts with commas between them.
fn list(text: &str) -> Result<Value, &'static str> {
    let text = text.trim();
    if text.starts_with('[') {
        let elements: Vec<serde_json::Value> = serde_json::from_str(text)
            .map_err(|_| r#"a JSON array such as ["one", "two"], or texts such as one,two"#)?;
        return Value::try_from(elements).map_err(|_| "a JSON array without null");
    }
    let elements = text
        .split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty());
    Ok(Value::Array(elements.map(Value::from).collect()))
}

fn unknown(name: &str) -> String {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let known: Vec<String> = defaults
        .iter()
        .filter_map(|(section, keys)| Some((section, keys.as_table()?)))
        .flat_map(|(section, keys)| {
            keys.keys()
                .map(move |key| format!("{section}__{key}").to_ascii_uppercase())
        })
        .map(|path| format!("{PREFIX}{path}"))
        .collect();
    format!(
        "{name}: unknown setting{}",
        hint(name, known.iter().map(String::as_str))
    )
}
