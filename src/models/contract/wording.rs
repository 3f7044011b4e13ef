//! The words for a feature in reasons: short templates of the contract.

use serde::Deserialize;

use crate::suggest::unknown;
use crate::values::feature_type::FeatureType;

/// Most characters of a template.
const LONGEST: usize = 200;

/// The words for a feature; everything is optional. Without a template a reason says "LABEL: VALUE".
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wording {
    /// Features of one group are given as one reason, and their contributions add up.
    pub group: Option<Template>,
    /// Unit of the value, such as `EUR` or `%`.
    pub unit: Option<Template>,
    /// What to say of a value: `{value} visits in 30 days`.
    pub text: Option<Template>,
    /// Instead of `text` for the number 1.
    pub one: Option<Template>,
    /// Instead of `text` for 0 or false.
    pub none: Option<Template>,
    /// Instead of `text` for numbers below 0; the value is written without its sign.
    pub negative: Option<Template>,
    /// Instead of `text` if there is no value.
    pub missing: Option<Template>,
    /// Words for the customer.
    #[serde(default)]
    pub say: ByDirection,
    /// What the caller should know, and may not mention.
    #[serde(default)]
    pub advice: ByDirection,
    /// The lowest and highest value for which `say` and `advice` are right, both included; without it every value.
    pub range: Option<[f64; 2]>,
}

impl Wording {
    /// Whether `say` and `advice` are right for a value. With a range they are not for a missing one.
    pub fn is_right_for(&self, value: f64) -> bool {
        self.range.is_none_or(|[low, high]| (low..=high).contains(&value))
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// A key does not fit the type of the feature, or its value is not valid.
    pub(super) fn validate(&self, kind: FeatureType) -> Result<(), String> {
        let is_number = matches!(kind, FeatureType::Int | FeatureType::Float);
        for (key, text) in [("group", &self.group), ("unit", &self.unit)] {
            if text.as_ref().is_some_and(|text| !text.is_plain()) {
                return Err(format!("reason: {key}: expected a text without placeholders"));
            }
        }
        if self.unit.is_some() && !is_number {
            return Err(format!(
                "reason: unit: only valid with type = \"int\" or \"float\", found type = \"{}\"",
                kind.label()
            ));
        }
        if self.range.is_some() && kind == FeatureType::Category {
            return Err("reason: range: not valid for a category".to_owned());
        }
        match self.range {
            Some([low, high]) if low.is_nan() || high.is_nan() || low > high => Err(format!(
                "reason: range: expected [low, high] such as [1, inf], found [{low}, {high}]"
            )),
            _ => Ok(()),
        }
    }
}

/// Templates by what the feature does to the score.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByDirection {
    /// If it raises the score.
    pub raises: Option<Template>,
    /// If it lowers the score.
    pub lowers: Option<Template>,
}

/// A short text with placeholders: `{value}` and `{label}`. It is safe to show as HTML and as a cell of a table: it has no
/// `<`, `>`, quotation marks of code and control characters, and does not start as a formula.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value,
    Label,
}

/// The placeholders by name.
const PLACEHOLDERS: [(&str, Part); 2] = [("value", Part::Value), ("label", Part::Label)];

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        let length = source.chars().count();
        if source.trim().is_empty() || length > LONGEST {
            return Err(format!("expected 1 to {LONGEST} characters, found {length}"));
        }
        if let Some(letter) = source.chars().find(|letter| is_unsafe(*letter)) {
            return Err(format!(
                "expected text that is safe in HTML and tables, found {letter:?}; use “ ” for quotation marks and ’ for an \
                 apostrophe"
            ));
        }
        if source.starts_with(is_formula) {
            return Err(format!(
                "expected a text that no spreadsheet takes for a formula, found {source:?}; start with a letter or a placeholder"
            ));
        }
        let parts = parts(&source)?;
        Ok(Self { source, parts })
    }
}

/// Whether a character may not be in a text that is shown as HTML or in a table.
fn is_unsafe(letter: char) -> bool {
    let reorders = matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || reorders || matches!(letter, '<' | '>' | '"' | '\'')
}

/// Whether a spreadsheet takes a cell that starts with this character for a formula.
fn is_formula(letter: char) -> bool {
    matches!(letter, '=' | '+' | '-' | '@')
}

fn parts(source: &str) -> Result<Vec<Part>, String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(open) = rest.find(['{', '}']) {
        let (text, after) = rest.split_at(open);
        let inner = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = inner else {
            return Err(format!(
                "expected placeholders such as {{value}}, found a single brace in {source:?}"
            ));
        };
        if !text.is_empty() {
            found.push(Part::Text(text.to_owned()));
        }
        let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
        let names = PLACEHOLDERS.iter().map(|(name, _)| *name);
        found.push(
            known
                .ok_or_else(|| unknown("placeholder", name, names))?
                .1
                .clone(),
        );
        rest = after;
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest.to_owned()));
    }
    Ok(found)
}

impl Template {
    /// The text as in the contract.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it has no placeholder.
    pub(super) fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Fills the placeholders in.
    pub fn fill(&self, label: &str, value: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value => value.to_owned(),
            Part::Label => label.to_owned(),
        };
        let text: String = self.parts.iter().map(text).collect();
        safe(&text)
    }
}

/// Replaces what is not safe in HTML and tables by a similar character; `text` is what a cell would hold.
pub fn safe(text: &str) -> String {
    // Nearly all texts are safe. A control character beyond ASCII begins with the byte C2, and one that reorders with E2, as
    // quotation marks and dashes do.
    let is_plain = |byte: u8| !matches!(byte, ..0x20 | 0x7f | b'<' | b'>' | b'"' | b'\'');
    let starts_plain = text.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    let is_mark = |at: usize| text[at..].chars().next().is_some_and(|letter| !is_unsafe(letter));
    if starts_plain
        && text.bytes().all(is_plain)
        && memchr::memchr2_iter(0xc2, 0xe2, text.as_bytes()).all(is_mark)
    {
        return text.to_owned();
    }
    let safe = |letter: char| match letter {
        '<' => '‹',
        '>' => '›',
        '"' => '”',
        '\'' => '’',
        letter if is_unsafe(letter) => ' ',
        letter => letter,
    };
    let text: String = text.trim_start().chars().map(safe).collect();
    match text.starts_with(is_formula) {
        true => format!("’{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Template, String> {
        Template::try_from(text.to_owned())
    }

    #[test]
    fn placeholders_are_filled_in() {
        let filled = template("{label}: {value} visits").unwrap().fill("Visits", "3");
        assert_eq!(filled, "Visits: 3 visits");
        assert_eq!(template("plain").unwrap().fill("a", "b"), "plain");
    }

    #[test]
    fn what_is_inserted_is_safe() {
        let filled = template("{value}").unwrap();
        assert_eq!(filled.fill("", "<b>\"x\"\n"), "‹b›”x” ");
        assert_eq!(filled.fill("", " =HYPERLINK(1)"), "’=HYPERLINK(1)");
        assert_eq!(template("In {value}").unwrap().fill("", "+49's"), "In +49’s");
        assert_eq!(
            safe("A price of 5 € – high\u{85}\u{202e}\u{7f}"),
            "A price of 5 € – high   "
        );
        let kept = "The “usual” price – 5 £, or 6 €";
        assert_eq!(safe(kept), kept);
        for letter in (0..=0x3000)
            .filter_map(char::from_u32)
            .filter(|letter| is_unsafe(*letter))
        {
            let text = safe(&format!("a{letter}b"));
            assert!(
                !text.contains(is_unsafe) && text.chars().count() == 3,
                "{letter:?}"
            );
        }
    }

    #[test]
    fn a_bad_template_is_refused_with_a_reason() {
        for (text, expected) in [
            ("", "expected 1 to 200 characters, found 0"),
            (&"x".repeat(201), "found 201"),
            (
                "{vaule} calls",
                "no placeholder `vaule`; expected one of value, label; did you mean `value`?",
            ),
            ("{value calls", "single brace"),
            ("value} calls", "single brace"),
            ("<b>{value}</b>", "found '<'"),
            ("say \"hello\"", "use “ ” for quotation marks"),
            ("=1+1", "takes for a formula"),
        ] {
            let error = template(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
