//! Words for people: counted nouns, and the messages of parsers without the names of Rust types.

pub(crate) mod shorten;

/// Returns a number with its noun: `1 tree`, `5 trees`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// A number with commas: `12,345,678`.
pub(crate) fn thousands(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rewrites a message of serde, `serde_json` or a number parser: what was expected, what was found, and where.
pub(crate) fn plain(message: &str) -> String {
    let message = message.trim_end();
    let (what, place) = match message.rsplit_once(" at line ") {
        Some((what, place)) => (what, place.replace(" column ", ", column ")),
        None => (message, String::new()),
    };
    let text = mismatch(what)
        .or_else(|| syntax(what).map(str::to_owned))
        .unwrap_or_else(|| what.replace("unknown variant", "unknown value"));
    match place.split_once(", column ") {
        // serde_json knows no place in a value that is parsed already.
        None | Some(("0", _)) => text,
        Some(("1", column)) => format!("{text} (at character {column})"),
        Some(_) => format!("{text} (line {place})"),
    }
}

/// Rewrites `invalid type: string "x", expected usize` and its relatives.
fn mismatch(message: &str) -> Option<String> {
    let kinds = ["invalid type: ", "invalid value: "];
    if let Some(rest) = kinds.iter().find_map(|kind| message.strip_prefix(kind)) {
        let (found, expected) = rest.rsplit_once(", expected ")?;
        return Some(format!(
            "expected {}, found {}",
            expected_word(expected),
            found_word(found)
        ));
    }
    let rest = message.strip_prefix("invalid length ")?;
    let (length, expected) = rest.split_once(", expected ")?;
    let count = length
        .parse()
        .map_or_else(|_| length.to_owned(), |length| counted(length, "element"));
    Some(format!("expected {}, found {count}", expected_word(expected)))
}

/// The plain word for what serde expected.
fn expected_word(word: &str) -> String {
    let plain = match word {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number from 0",
        "i64" | "i32" | "isize" => "a whole number",
        "f64" | "f32" => "a number",
        "a string" | "borrowed string" | "string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object or table",
        "socket address" => "an address such as 127.0.0.1:8080",
        "path string" => "a path",
        "unit" | "null" => "null",
        _ if word.starts_with("struct ") => "an object or table of named fields",
        _ if word.starts_with("enum ") || word == "string or map" => "the name of a choice",
        _ => return word.replace("an array of length ", "a list of the length "),
    };
    plain.to_owned()
}

/// The plain word for what serde found.
fn found_word(word: &str) -> String {
    let quoted = |kind: &str| word.strip_prefix(kind).map(|value| value.trim_matches('`'));
    if let Some(text) = word.strip_prefix("string ") {
        return format!("the text {text}");
    }
    for kind in ["integer ", "floating point ", "boolean ", "character "] {
        if let Some(value) = quoted(kind) {
            return value.to_owned();
        }
    }
    match word {
        "sequence" => "a list".to_owned(),
        "map" => "an object or table".to_owned(),
        "unit value" | "Option value" => "null".to_owned(),
        other => other.to_owned(),
    }
}

/// The plain sentence for a syntax error of `serde_json`.
fn syntax(message: &str) -> Option<&'static str> {
    Some(match message {
        "EOF while parsing a value" => "the text ends where a value is expected",
        "EOF while parsing a list" => "the text ends inside a list: expected `]`",
        "EOF while parsing an object" => "the text ends inside an object: expected `}`",
        "EOF while parsing a string" => "the text ends inside a quoted text: expected `\"`",
        "expected ident" => "expected true, false or null",
        "expected value" => {
            "expected a JSON value: an object, a list, a quoted text, a number, true, false or null"
        }
        "expected `:`" => "expected `:` after a key",
        "key must be a string" => "expected a key in double quotes, such as \"id\"",
        "trailing comma" => "expected another element after the comma",
        "trailing characters" => "expected nothing after the end of the JSON value",
        "invalid number" => "expected a number such as 12.5 or 1e3",
        "number out of range" => "the number is out of range: expected one within ±1.8e308",
        "invalid escape" => "expected an escape such as \\n or \\u00e9 after a backslash",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "expected a line break or tab in a text as an escape such as \\n"
        }
        "recursion limit exceeded" => "expected at most 127 levels of nesting",
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number such as 3"
        }
        "wanted string or table" => "expected the name of a choice in quotes, or a table with one choice",
        "invalid socket address syntax" => "expected an address such as 127.0.0.1:8080",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a text as a type with every kind of field, and returns the rewritten error.
    fn error(text: &str) -> String {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only the errors matter")]
        struct Sample {
            count: Option<usize>,
            offset: Option<i64>,
            share: Option<f64>,
            name: Option<String>,
            on: Option<bool>,
            list: Option<Vec<u8>>,
            pair: Option<[f64; 2]>,
            address: Option<std::net::SocketAddr>,
            inner: Option<Box<Sample>>,
        }
        plain(&serde_json::from_str::<Sample>(text).unwrap_err().to_string())
    }

    #[test]
    fn messages_say_what_was_expected_and_found_and_where() {
        for (text, expected) in [
            (
                r#"{"count": "x"}"#,
                "expected a whole number from 0, found the text \"x\" (at character 13)",
            ),
            (
                r#"{"count": -1}"#,
                "expected a whole number from 0, found -1 (at character 12)",
            ),
            (
                r#"{"offset": 1.5}"#,
                "expected a whole number, found 1.5 (at character 14)",
            ),
            (
                r#"{"name": true}"#,
                "expected a text, found true (at character 13)",
            ),
            (
                r#"{"list": {}}"#,
                "expected a list, found an object or table (at character 9)",
            ),
            (
                r#"{"pair": [1]}"#,
                "expected a list of the length 2, found 1 element (at character 12)",
            ),
            (
                r#"{"inner": 5}"#,
                "expected an object or table of named fields, found 5 (at character 11)",
            ),
            (
                "{\n  \"count\": true}",
                "expected a whole number from 0, found true (line 2, column 15)",
            ),
            ("nix", "expected true, false or null (at character 2)"),
            (
                "{",
                "the text ends inside an object: expected `}` (at character 1)",
            ),
            (
                "{} x",
                "expected nothing after the end of the JSON value (at character 4)",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn no_word_of_the_parser_or_of_rust_is_left() {
        let texts = [
            "",
            "[",
            "{\"",
            "{\"count\"",
            "{\"count\":",
            "{\"count\": 1",
            "{\"count\": 1,}",
            "{count: 1}",
            "{\"count\" 1}",
            "{\"name\": \"\\q\"}",
            "{\"name\": \"\t\"}",
            "{\"share\": 1e999}",
            "{\"share\": 1.}",
            "{\"share\": [1}",
            "tru",
            "{\"on\": 1}",
            "{\"address\": \"x\"}",
            "{\"address\": 5}",
            "{\"list\": [300]}",
            "{\"list\": [null]}",
            "[1]",
            "5",
            "{\"name\": {}}",
            "{\"inner\": {\"inner\": []}}",
            "{\"list\": [1 2]}",
            "{\"share\": \"x\"}",
        ];
        for text in texts {
            let message = error(text);
            for word in [
                "EOF",
                "ident",
                "struct",
                "usize",
                "u64",
                "u8",
                "i64",
                "f64",
                "variant",
                "sequence",
                "unit",
                "trailing",
                "invalid type",
                "invalid value",
                "floating point",
                "parsing",
                "syntax",
            ] {
                assert!(!message.contains(word), "{text}: {message}");
            }
        }
    }

    #[test]
    fn one_of_a_thing_is_singular() {
        assert_eq!(
            (counted(1, "tree").as_str(), counted(5, "row").as_str()),
            ("1 tree", "5 rows")
        );
    }
}
