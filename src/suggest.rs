//! Suggestions for names that are unknown: "did you mean …?".

use crate::words::plain;

/// The known name that is most similar to `wrong` in any case of its letters, if one is similar enough.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            (
                strsim::normalized_damerau_levenshtein(&wrong, &name.to_lowercase()),
                name,
            )
        })
        .filter(|&(similarity, _)| similarity >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Returns "; did you mean `x`?", or nothing, to append to an error message.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known)
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// Returns "no model `x`; expected one of a, b; did you mean `a`?" for a `what` that is unknown.
pub(crate) fn unknown<'a>(what: &str, wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = hint(wrong, known.clone());
    let known: Vec<&str> = known.collect();
    match known.as_slice() {
        [] => format!("no {what} `{wrong}`; there is none"),
        known => format!("no {what} `{wrong}`; expected one of {}{hint}", known.join(", ")),
    }
}

/// Rewrites a message of serde in plain words, and adds the nearest known name to those for an unknown field or value,
/// which quote the wrong name first and then the known ones.
pub(crate) fn with_hint(message: &str) -> String {
    let message = plain(message);
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(wrong) if message.contains("unknown field") || message.contains("unknown value") => {
            format!("{message}{}", hint(wrong, quoted))
        }
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_comes_with_the_known_ones_and_the_nearest() {
        let known = ["churn", "upsell"];
        let message = |wrong| unknown("model", wrong, known.into_iter());
        let nearest = "no model `chrun`; expected one of churn, upsell; did you mean `churn`?";
        assert_eq!(message("chrun"), nearest);
        assert_eq!(message("x"), "no model `x`; expected one of churn, upsell");
        assert_eq!(
            unknown("model", "x", [].into_iter()),
            "no model `x`; there is none"
        );
    }
}
