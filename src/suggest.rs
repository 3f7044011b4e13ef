//! Suggestions for names that are unknown: "did you mean …?".

use std::cell::Cell;

use crate::words::plain;

/// Maximum length of a name that gets a suggestion, in characters. A longer one is no typing error, and the time to compare
/// two names grows with the product of their lengths.
const MOST_CHARS: usize = 64;

/// Maximum number of compared pairs of characters, for all suggestions of one request: less than a millisecond.
const MOST_PAIRS: usize = 1 << 18;

/// Known names that a message lists.
const LISTED: usize = 40;

/// Makes the suggestions of one request, within a bound of work for all of them.
#[derive(Debug)]
pub(crate) struct Suggestions {
    pairs_left: Cell<usize>,
}

impl Default for Suggestions {
    fn default() -> Self {
        Self {
            pairs_left: Cell::new(MOST_PAIRS),
        }
    }
}

impl Suggestions {
    /// The known name that is most similar to `wrong` in any case of its letters, if one is similar enough.
    fn nearest<'a>(&self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let length = wrong.chars().take(MOST_CHARS + 1).count();
        if length > MOST_CHARS {
            return None;
        }
        let wrong = wrong.to_lowercase();
        let mut best: Option<(f64, &str)> = None;
        for name in known {
            let own = name.chars().take(2 * length + 1).count();
            // Below half of the length, or above twice, no name is similar enough.
            if own > 2 * length || 2 * own < length {
                continue;
            }
            let Some(left) = self.pairs_left.get().checked_sub(own * length) else {
                break;
            };
            self.pairs_left.set(left);
            let similarity = similarity(&wrong, &name.to_lowercase());
            if similarity >= 0.5 && best.is_none_or(|(known, _)| similarity >= known) {
                best = Some((similarity, name));
            }
        }
        best.map(|(_, name)| name)
    }

    /// Returns "; did you mean `x`?", or nothing, to append to an error message.
    pub(crate) fn hint<'a>(&self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        self.nearest(wrong, known)
            .map(|name| format!("; did you mean `{name}`?"))
            .unwrap_or_default()
    }
}

/// The similarity of two texts, from 0 to 1: one minus the share of characters to change (optimal string alignment).
fn similarity(one: &str, other: &str) -> f64 {
    let longest = one.chars().count().max(other.chars().count()).max(1);
    #[expect(clippy::cast_precision_loss, reason = "at most twice 64 characters")]
    let changed = strsim::osa_distance(one, other) as f64 / longest as f64;
    1.0 - changed
}

/// The known name that is most similar to `wrong` in any case of its letters, if one is similar enough.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    Suggestions::default().nearest(wrong, known)
}

/// Returns "; did you mean `x`?", or nothing, to append to an error message.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    Suggestions::default().hint(wrong, known)
}

/// Returns "no model `x`; expected one of a, b; did you mean `a`?" for a `what` that is unknown.
pub(crate) fn unknown<'a>(what: &str, wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = hint(wrong, known.clone());
    let listed: Vec<&str> = known.clone().take(LISTED).collect();
    if listed.is_empty() {
        return format!("no {what} `{wrong}`; there is none");
    }
    let more = match known.skip(LISTED).count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "no {what} `{wrong}`; expected one of {}{more}{hint}",
        listed.join(", ")
    )
}

/// Between the wrong name and the known ones in a message of serde.
const EXPECTED: &str = "`, expected ";

/// Rewrites a message of serde in plain words, and adds the nearest known name to those for an unknown field or value,
/// which quote the wrong name first and then the known ones. The wrong name is a client's and may contain anything; the
/// known ones come from code, so they stand behind the last [`EXPECTED`].
pub(crate) fn with_hint(message: &str) -> String {
    let message = plain(message);
    if !(message.contains("unknown field") || message.contains("unknown value")) {
        return message;
    }
    let wrong = message.split_once('`').map(|(_, rest)| rest);
    let parts = wrong.and_then(|rest| rest.rsplit_once(EXPECTED));
    match parts {
        Some((wrong, known)) => {
            let hint = hint(wrong, known.split('`').skip(1).step_by(2));
            format!("{message}{hint}")
        }
        None => message,
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

    #[test]
    fn a_hint_comes_from_the_known_names_only() {
        let message = "unknown field `a`, expected `model`, expected one of `model`, `entities` at line 1";
        let hinted = with_hint("unknown field `entites`, expected one of `model`, `entities`");
        assert!(hinted.ends_with("did you mean `entities`?"), "{hinted}");
        assert!(!with_hint(message).contains("did you mean `a`"));
        let long = "x".repeat(400_000);
        let start = std::time::Instant::now();
        let message = format!(
            "unknown field `{long}`{}, expected one of `model`, `{long}`",
            "`a`".repeat(1000)
        );
        assert!(!with_hint(&message).contains("did you mean"));
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn the_work_for_one_request_is_bounded() {
        let suggestions = Suggestions::default();
        let known: Vec<String> = (0..2000)
            .map(|number| format!("feature_number_{number}"))
            .collect();
        let hint = || suggestions.hint("feature_nomber_7", known.iter().map(String::as_str));
        assert!(hint().contains("feature_number_7`"));
        for _ in 0..10_000 {
            hint();
        }
        assert!(suggestions.pairs_left.get() < 1000);
        assert!(hint().is_empty());
    }
}
