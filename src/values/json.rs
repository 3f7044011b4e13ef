//! JSON input, the same for files, stores and requests: numbers are exact or refused, a bare `NaN` is a missing value, and a
//! duplicate key is an error.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::words::plain;

/// A value of a feature in JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `null`, or a bare `NaN`.
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without a fraction that fits in 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A whole number from 2^63 to 2^64, as digits: a float could not hold all of them.
    Digits(String),
    /// A string.
    Text(String),
    /// Something else; the text says what.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false or null")
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(value).map_or_else(|_| Scalar::Digits(value.to_string()), Scalar::Int))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(rewritten(value).unwrap_or_else(|| Scalar::Text(value.to_owned())))
    }
    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(rewritten(&value).unwrap_or(Scalar::Text(value)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("a list"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}

/// A JSON object whose values are scalars, in their order. A duplicate key is an error, because one of its values would
/// be lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scalars(pub Vec<(String, Scalar)>);

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarsVisitor;
        impl<'de> Visitor<'de> for ScalarsVisitor {
            type Value = Scalars;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of feature names and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalars, A::Error> {
                let mut pairs: Vec<(String, Scalar)> = Vec::new();
                let mut names = Names::default();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    if names.is_known(&name, &pairs) {
                        return Err(de::Error::custom(format!("duplicate key `{name}`")));
                    }
                    pairs.push((name, value));
                }
                Ok(Scalars(pairs))
            }
        }
        deserializer.deserialize_map(ScalarsVisitor)
    }
}

/// Finds duplicate keys. A client chooses them, so the hasher has a secret seed: keys that collide would take quadratic time.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// Keys that are compared one by one, which is quicker for a few.
    const FEW: usize = 16;

    /// Whether `name` is one of the keys of `pairs`; it is known from then on.
    fn is_known(&mut self, name: &str, pairs: &[(String, Scalar)]) -> bool {
        if pairs.len() < Self::FEW {
            return pairs.iter().any(|(known, _)| known == name);
        }
        if self.0.is_empty() {
            self.0.extend(pairs.iter().map(|(known, _)| known.clone()));
        }
        !self.0.insert(name.to_owned())
    }
}

/// Parses one object of scalars. Keys may repeat; the caller decides about those that it reads.
///
/// # Errors
/// The text is not one JSON object. The message has no line number; the caller knows it.
pub fn object_of_scalars(text: &str) -> Result<Vec<(String, Scalar)>, String> {
    struct Pairs(Vec<(String, Scalar)>);
    impl<'de> Deserialize<'de> for Pairs {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(PairsVisitor)
        }
    }
    struct PairsVisitor;
    impl<'de> Visitor<'de> for PairsVisitor {
        type Value = Pairs;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of column names and values")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(Pairs(pairs))
        }
    }
    let text = standard(text.as_bytes());
    let pairs: Pairs = serde_json::from_slice(&text).map_err(|error| sentence(&error))?;
    Ok(pairs.0)
}

/// The text of the value of `key` in an object, as it is written there; of the last one if there are several. For messages
/// about an object that [`object_of_scalars`] has parsed.
pub fn raw_value<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let bytes = object.as_bytes();
    let mut found = None;
    let mut position = object.find('{')? + 1;
    while let Some(quote) = object.get(position..)?.find('"') {
        let start = position + quote;
        let end = end_of_string(bytes, start + 1);
        let name: String = serde_json::from_str(object.get(start..end)?).ok()?;
        let value = end + object.get(end..)?.find(':')? + 1;
        position = end_of_value(bytes, value);
        if name == key {
            found = object.get(value..position).map(str::trim);
        }
    }
    found
}

/// The position of the comma or bracket after the value that begins at `position`.
fn end_of_value(text: &[u8], mut position: usize) -> usize {
    let mut depth = 0usize;
    while let Some(&byte) = text.get(position) {
        match byte {
            b'"' => {
                position = end_of_string(text, position + 1);
                continue;
            }
            b',' | b'}' | b']' if depth == 0 => break,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        position += 1;
    }
    position
}

/// The message of serde with the column only, for texts of one line.
fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = plain(text.split(" at line ").next().unwrap_or(&text));
    if error.column() == 0 {
        message
    } else {
        format!("{message} (at character {})", error.column())
    }
}

/// Rewrites what writers send but JSON does not know: a byte order mark is left out, a bare `NaN` becomes `null`, and a bare
/// `Infinity` or a number beyond 64-bit floats becomes a text that [`Scalar`] reads back. So a value that nobody reads does no
/// harm. Borrows if there is nothing to rewrite. Error positions are off by the bytes that a token gains or loses.
pub fn standard(text: &[u8]) -> Cow<'_, [u8]> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut out: Vec<u8> = Vec::new();
    let (mut copied, mut position) = (0, 0);
    while let Some(&byte) = text.get(position) {
        if byte == b'"' {
            position = end_of_string(text, position + 1);
            continue;
        }
        if !is_bare(byte) {
            position += 1;
            continue;
        }
        let length = text[position..].iter().take_while(|&&byte| is_bare(byte)).count();
        if let Some(token) = replacement(&text[position..position + length]) {
            out.extend_from_slice(&text[copied..position]);
            out.extend_from_slice(token.as_bytes());
            copied = position + length;
        }
        position += length;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// The position after the string whose content begins at `position`.
fn end_of_string(text: &[u8], mut position: usize) -> usize {
    while let Some(&byte) = text.get(position) {
        match byte {
            b'"' => return position + 1,
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
    position
}

/// Whether a byte belongs to a number or word outside of strings.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-+._".contains(&byte)
}

/// What a bare token becomes; `None` if it stays.
fn replacement(token: &[u8]) -> Option<&'static str> {
    match token {
        b"NaN" | b"-NaN" => return Some("null"),
        b"Infinity" | b"+Infinity" => return Some(r#""\u0000inf""#),
        b"-Infinity" => return Some(r#""\u0000-inf""#),
        _ => {}
    }
    let first = token.strip_prefix(b"-").unwrap_or(token).first()?;
    // Below 309 digits a number is finite unless it has an exponent.
    let may_exceed =
        first.is_ascii_digit() && (token.len() > 308 || token.iter().any(|byte| b"eE".contains(byte)));
    let number: f64 = std::str::from_utf8(token)
        .ok()
        .filter(|_| may_exceed)?
        .parse()
        .ok()?;
    number.is_infinite().then_some(r#""\u0000beyond""#)
}

/// Reads back a text that [`standard`] wrote for a number; `None` for any other text.
pub fn rewritten(text: &str) -> Option<Scalar> {
    match text.strip_prefix('\0')? {
        "inf" => Some(Scalar::Float(f64::INFINITY)),
        "-inf" => Some(Scalar::Float(f64::NEG_INFINITY)),
        "beyond" => Some(Scalar::Other("a number beyond 64-bit floats")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_does_not_know_is_rewritten_and_nothing_else_changes() {
        let long = format!("1{}", "0".repeat(400));
        for (from, to) in [
            (
                r#"{"a": NaN, "b": [NaN,-NaN]}"#,
                r#"{"a": null, "b": [null,null]}"#,
            ),
            (r#"{"NaN": "x NaN \" NaN"}"#, r#"{"NaN": "x NaN \" NaN"}"#),
            (r#"{"a": "\\", "b": NaN}"#, r#"{"a": "\\", "b": null}"#),
            (r#"{"a": NaNs, "b": 1e5}"#, r#"{"a": NaNs, "b": 1e5}"#),
            ("\u{feff}{}", "{}"),
            ("[Infinity, -Infinity]", r#"["\u0000inf", "\u0000-inf"]"#),
            (
                "[1e999, -1E+400, 1e-999]",
                r#"["\u0000beyond", "\u0000beyond", 1e-999]"#,
            ),
            (&format!("[{long}]"), r#"["\u0000beyond"]"#),
            (r#"{"a": "unfinished"#, r#"{"a": "unfinished"#),
            (r#"{"a": "\"#, r#"{"a": "\"#),
        ] {
            let found = standard(from.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), to, "{from}");
        }
    }

    #[test]
    fn a_value_is_shown_as_it_is_written() {
        let object =
            r#" {"a": [1, {"b": "]}"}] , "b":1e999,"c\u00e4": {"d": "\"}"}, "e":"x,}", "f": NaN, "e": 2} "#;
        for (key, value) in [
            ("a", Some(r#"[1, {"b": "]}"}]"#)),
            ("b", Some("1e999")),
            ("cä", Some(r#"{"d": "\"}"}"#)),
            ("d", None),
            ("e", Some("2")),
            ("f", Some("NaN")),
        ] {
            assert_eq!(raw_value(object, key), value, "{key}");
        }
        assert_eq!(raw_value(r#"{"a": "\"#, "a"), None);
    }

    #[test]
    fn scalars_are_exact_and_no_key_stands_twice() {
        let parsed =
            object_of_scalars(r#"{"a": 0.1, "b": 12, "c": NaN, "d": "x", "e": [1], "f": 1e2}"#).unwrap();
        let values: Vec<Scalar> = parsed.into_iter().map(|(_, value)| value).collect();
        let text = Scalar::Text("x".into());
        let expected = vec![
            Scalar::Float(0.1),
            Scalar::Int(12),
            Scalar::Null,
            text,
            Scalar::Other("a list"),
            Scalar::Float(100.0),
        ];
        assert_eq!(values, expected);
        let twice = serde_json::from_str::<Scalars>(r#"{"a": 1, "a": 2}"#).unwrap_err();
        assert!(twice.to_string().contains("duplicate key `a`"));
        let hash = |names: &Names| std::hash::BuildHasher::hash_one(names.0.hasher(), "a");
        assert_ne!(hash(&Names::default()), hash(&Names::default()), "seeded");
        let many: Vec<String> = (0..40).map(|number| format!("\"k{number}\": 1")).collect();
        let text = |more: &str| format!("{{{}, \"{more}\": 2}}", many.join(", "));
        assert_eq!(serde_json::from_str::<Scalars>(&text("new")).unwrap().0.len(), 41);
        for duplicate in ["k0", "k15", "k16", "k39"] {
            assert!(
                serde_json::from_str::<Scalars>(&text(duplicate)).is_err(),
                "{duplicate}"
            );
        }
        let unusual =
            object_of_scalars(r#"{"a": 1e999, "b": -Infinity, "c": 18446744073709551615}"#).unwrap();
        assert_eq!(unusual[2].1, Scalar::Digits("18446744073709551615".into()));
        assert_eq!(unusual[0].1, Scalar::Other("a number beyond 64-bit floats"));
        assert_eq!(unusual[1].1, Scalar::Float(f64::NEG_INFINITY));
    }
}
