//! JSON input: numbers are exact or refused, a bare `NaN` is a missing value, and a duplicate key is an error.

use std::borrow::Cow;
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

/// The description of a whole number that does not fit in `i64`.
pub(crate) const BEYOND: &str = "a whole number beyond 2^63";

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
        Ok(i64::try_from(value).map_or(Scalar::Other(BEYOND), Scalar::Int))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
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
                let mut seen = rustc_hash::FxHashSet::default();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    if !seen.insert(name.clone()) {
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

/// Parses one object of scalars.
///
/// # Errors
/// The text is not one JSON object. The message has no line number; the caller knows it.
pub fn object_of_scalars(text: &str) -> Result<Vec<(String, Scalar)>, String> {
    let text = without_nan(text.as_bytes());
    let scalars: Scalars = serde_json::from_slice(&text).map_err(|error| sentence(&error))?;
    Ok(scalars.0)
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

/// Replaces each bare `NaN`, which is not JSON but which clients send, by `null`. Borrows if there is none. Bytes outside
/// the tokens stay, so that error positions are off by at most one byte per token.
pub fn without_nan(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.windows(3).any(|window| window == b"NaN") {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut in_string = false;
    let mut position = 0;
    while let Some(&byte) = text.get(position) {
        let bare = !in_string && text[position..].starts_with(b"NaN") && stands_alone(text, position);
        if bare {
            out.extend_from_slice(b"null");
            position += 3;
            continue;
        }
        out.push(byte);
        position += 1;
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                out.extend(text.get(position));
                position += 1;
            }
            _ => {}
        }
    }
    Cow::Owned(out)
}

fn stands_alone(text: &[u8], position: usize) -> bool {
    let joins =
        |byte: Option<&u8>| byte.is_some_and(|&byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte));
    let before = position.checked_sub(1).and_then(|before| text.get(before));
    !joins(before) && !joins(text.get(position + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_nan_is_null_and_nothing_else_changes() {
        let cases: [(&str, &str); 4] = [
            (
                r#"{"a": NaN, "b": [NaN,NaN]}"#,
                r#"{"a": null, "b": [null,null]}"#,
            ),
            (r#"{"NaN": "x NaN \" NaN"}"#, r#"{"NaN": "x NaN \" NaN"}"#),
            (r#"{"a": -NaN}"#, r#"{"a": -NaN}"#),
            (r#"{"a": "\\", "b": NaN}"#, r#"{"a": "\\", "b": null}"#),
        ];
        for (from, to) in cases {
            assert_eq!(without_nan(from.as_bytes()), to.as_bytes());
        }
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
        assert!(
            object_of_scalars(r#"{"a": 1, "a": 2}"#)
                .unwrap_err()
                .contains("duplicate key `a`")
        );
        assert!(
            object_of_scalars(r#"{"a": 1e999}"#)
                .unwrap_err()
                .contains("out of range")
        );
    }
}
