//! "Did you mean …?": the known name nearest to one that was not found.

/// The known name most like `wrong`, if one is like enough to be what was meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name))
        .filter(|&(likeness, _)| likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `; did you mean `x`?` or nothing, to be put behind an error message.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known)
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// Adds the nearest right name to serde's "unknown field" and "unknown variant" messages, which quote the wrong
/// name first and then the known ones.
pub(crate) fn with_hint(message: &str) -> String {
    let message = message.trim_end();
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(wrong) if message.contains("unknown field") || message.contains("unknown variant") => {
            format!("{message}{}", hint(wrong, quoted))
        }
        _ => message.to_owned(),
    }
}
