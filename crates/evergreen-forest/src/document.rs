//! A tree-shaped document, pulled value by value: what the JSON and the UBJSON reader have in common.
//!
//! A format's parser is written once against [`Document`] and reads either encoding. Nothing is materialised
//! that the parser did not ask for, so the memory of a load is that of the model built, not of the text.
//!
//! The readers are made for files that may lie: nesting is capped, every announced count is compared with the
//! bytes that remain before anything is allocated, and an error names the byte offset and, gathered while it
//! travels up, the path.

mod json;
mod ubjson;

pub(crate) use json::Json;
pub(crate) use ubjson::Ubjson;

use std::borrow::Cow;

use crate::load::FormatError;

/// Deepest nesting of arrays and objects that is followed.
///
/// XGBoost's own files nest 8 deep, CatBoost's by the depth of their trees (at most 64 leaves or 16 levels).
pub(crate) const MAX_NESTING: usize = 256;

/// Something wrong at a place in a document.
#[derive(Debug)]
pub(crate) struct Fault {
    offset: usize,
    path: String,
    reason: String,
}

impl Fault {
    /// A fault at a byte offset.
    pub(crate) fn new(offset: usize, reason: impl Into<String>) -> Self {
        Self {
            offset,
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// The same fault, seen from the object whose member `key` it is in.
    pub(crate) fn under_key(mut self, key: &str) -> Self {
        /// Keys are the file's; a hostile one must not become a hostile message.
        const LONGEST: usize = 64;
        let short: String = key.chars().take(LONGEST).collect();
        let dot = match self.path.chars().next() {
            None | Some('[') => "",
            Some(_) => ".",
        };
        self.path = format!("{short}{dot}{}", self.path);
        self
    }

    /// The same fault, seen from the array whose element `index` it is in.
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

/// What the next value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// Text.
    Text,
    /// A number, or a boolean.
    Scalar,
    /// Nothing.
    Null,
}

/// A document that is read from front to back.
pub(crate) trait Document<'a> {
    /// Where reading has got to.
    fn offset(&self) -> usize;

    /// What comes next; consumes nothing.
    fn shape(&mut self) -> Result<ValueKind, Fault>;

    /// Reads an object; `member` must consume exactly the value of each key.
    fn object<F>(&mut self, member: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, &str) -> Result<(), Fault>;

    /// Reads an array; `element` must consume exactly one value.
    fn array<F>(&mut self, element: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, usize) -> Result<(), Fault>;

    /// Reads a text.
    fn text(&mut self) -> Result<Cow<'a, str>, Fault>;

    /// Reads a number, rounded once, directly to `f32`.
    fn f32(&mut self) -> Result<f32, Fault>;

    /// Reads a number as `f64`.
    fn f64(&mut self) -> Result<f64, Fault>;

    /// Reads a whole number; `true` and `false` count as 1 and 0.
    fn integer(&mut self) -> Result<i64, Fault>;

    /// Passes over one value.
    fn skip(&mut self) -> Result<(), Fault>;

    /// Checks that nothing but padding follows.
    fn end(&mut self) -> Result<(), Fault>;

    /// A fault here.
    fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.offset(), reason)
    }

    /// Replaces `into` by an array of `f32`.
    fn f32s(&mut self, into: &mut Vec<f32>) -> Result<(), Fault> {
        into.clear();
        self.array(|doc, _| {
            into.push(doc.f32()?);
            Ok(())
        })
    }

    /// Replaces `into` by an array of `f64`.
    fn f64s(&mut self, into: &mut Vec<f64>) -> Result<(), Fault> {
        into.clear();
        self.array(|doc, _| {
            into.push(doc.f64()?);
            Ok(())
        })
    }

    /// Replaces `into` by an array of whole numbers that must fit `I`.
    fn integers<I: TryFrom<i64>>(&mut self, into: &mut Vec<I>) -> Result<(), Fault> {
        into.clear();
        self.array(|doc, _| {
            let value = doc.integer()?;
            into.push(fit(value, doc.offset())?);
            Ok(())
        })
    }

    /// Reads an array of texts.
    fn texts(&mut self) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        self.array(|doc, _| {
            all.push(doc.text()?.into_owned());
            Ok(())
        })?;
        Ok(all)
    }
}

/// A whole number in a narrower type.
fn fit<I: TryFrom<i64>>(value: i64, offset: usize) -> Result<I, Fault> {
    I::try_from(value).map_err(|_| Fault::new(offset, format!("{value} is out of range here")))
}
