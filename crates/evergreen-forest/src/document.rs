//! Reads a tree-shaped document value by value; what the JSON and the UBJSON reader have in common.
//!
//! Each format's parser is written once against [`Document`] and reads both encodings. Values that the parser
//! does not request are not stored, so loading takes the memory of the model, not of the text.
//!
//! The readers accept untrusted files. Nesting is limited. Every announced count is compared with the
//! remaining bytes before memory is allocated. Errors name the byte offset and the path, which is collected
//! on the way up.

mod json;
mod ubjson;

pub(crate) use json::Json;
pub(crate) use ubjson::Ubjson;

use std::borrow::Cow;

use crate::load::FormatError;

/// Greatest nesting of arrays and objects.
///
/// XGBoost's files nest 8 deep, CatBoost's by the depth of their trees (at most 64 leaves or 16 levels).
pub(crate) const MAX_NESTING: usize = 256;

/// An error at a position in a document.
#[derive(Debug)]
pub(crate) struct Fault {
    offset: usize,
    path: String,
    reason: String,
}

impl Fault {
    /// Creates an error at a byte offset.
    pub(crate) fn new(offset: usize, reason: impl Into<String>) -> Self {
        Self {
            offset,
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// Prepends the key of the object member that contains the error.
    pub(crate) fn under_key(mut self, key: &str) -> Self {
        /// Keys come from the file: limit their length in messages.
        const LONGEST: usize = 64;
        let short: String = key.chars().take(LONGEST).collect();
        let dot = match self.path.chars().next() {
            None | Some('[') => "",
            Some(_) => ".",
        };
        self.path = format!("{short}{dot}{}", self.path);
        self
    }

    /// Prepends the index of the array element that contains the error.
    pub(crate) fn under_index(mut self, index: usize) -> Self {
        let dot = match self.path.chars().next() {
            None | Some('[') => "",
            Some(_) => ".",
        };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl From<Fault> for FormatError {
    fn from(fault: Fault) -> Self {
        let at = if fault.path.is_empty() {
            format!("byte {}", fault.offset)
        } else {
            format!("byte {}, {}", fault.offset, fault.path)
        };
        Self {
            at,
            reason: fault.reason,
        }
    }
}

/// The kind of the next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// A string.
    Text,
    /// A number, or a boolean.
    Scalar,
    /// `null`.
    Null,
}

/// A document that is read from start to end.
pub(crate) trait Document<'a> {
    /// Returns the current byte offset.
    fn offset(&self) -> usize;

    /// Returns the kind of the next value without consuming it.
    fn shape(&mut self) -> Result<ValueKind, Fault>;

    /// Reads an object. `member` must consume exactly the value of each key.
    fn object<F>(&mut self, member: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, &str) -> Result<(), Fault>;

    /// Reads an array. `element` must consume exactly one value.
    fn array<F>(&mut self, element: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, usize) -> Result<(), Fault>;

    /// Reads a string.
    fn text(&mut self) -> Result<Cow<'a, str>, Fault>;

    /// Reads a number, rounded once, directly to `f32`.
    fn f32(&mut self) -> Result<f32, Fault>;

    /// Reads a number as `f64`.
    fn f64(&mut self) -> Result<f64, Fault>;

    /// Reads an integer; `true` and `false` count as 1 and 0.
    fn integer(&mut self) -> Result<i64, Fault>;

    /// Skips one value.
    fn skip(&mut self) -> Result<(), Fault>;

    /// Checks that only padding follows.
    fn end(&mut self) -> Result<(), Fault>;

    /// Creates an error at the current offset.
    fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.offset(), reason)
    }

    /// Replaces `into` with an array of `f32`.
    fn f32s(&mut self, into: &mut Vec<f32>) -> Result<(), Fault> {
        into.clear();
        self.array(|doc, _| {
            into.push(doc.f32()?);
            Ok(())
        })
    }

    /// Replaces `into` with an array of `f64`.
    fn f64s(&mut self, into: &mut Vec<f64>) -> Result<(), Fault> {
        into.clear();
        self.array(|doc, _| {
            into.push(doc.f64()?);
            Ok(())
        })
    }

    /// Replaces `into` with an array of integers that must fit `I`.
    fn integers<I: TryFrom<i64>>(&mut self, into: &mut Vec<I>) -> Result<(), Fault> {
        into.clear();
        self.array(|doc, _| {
            let value = doc.integer()?;
            into.push(fit(value, doc.offset())?);
            Ok(())
        })
    }

    /// Reads an array of strings.
    fn texts(&mut self) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        self.array(|doc, _| {
            all.push(doc.text()?.into_owned());
            Ok(())
        })?;
        Ok(all)
    }
}

/// Converts an integer to a narrower type.
fn fit<I: TryFrom<i64>>(value: i64, offset: usize) -> Result<I, Fault> {
    I::try_from(value).map_err(|_| Fault::new(offset, format!("{value} is out of range")))
}
