//! UBJSON, the subset that XGBoost writes: big-endian, with typed and counted arrays.
//!
//! A counted array has no closing marker. Objects are not counted. Lengths may have any integer type.

mod token;

use std::borrow::Cow;

use crate::document::{Document, Fault, ValueKind, fit};
use token::{ArrayHead, width};

/// A reader of UBJSON bytes.
pub(crate) struct Ubjson<'a> {
    bytes: &'a [u8],
    at: usize,
    nesting: usize,
    /// The type marker of the enclosing typed array: its elements carry none.
    element: Option<u8>,
}

impl<'a> Document<'a> for Ubjson<'a> {
    fn offset(&self) -> usize {
        self.at
    }

    fn shape(&mut self) -> Result<ValueKind, Fault> {
        if self.element.is_some() {
            return Ok(ValueKind::Scalar);
        }
        match self.peek()? {
            b'{' => Ok(ValueKind::Object),
            b'[' => Ok(ValueKind::Array),
            b'S' | b'C' => Ok(ValueKind::Text),
            b'Z' => Ok(ValueKind::Null),
            b'T' | b'F' => Ok(ValueKind::Scalar),
            mark if width(mark).is_some() => Ok(ValueKind::Scalar),
            mark => {
                self.at += 1;
                Err(self.unexpected("a value", mark))
            }
        }
    }

    fn object<F>(&mut self, mut member: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, &str) -> Result<(), Fault>,
    {
        let mark = self.mark()?;
        if mark != b'{' {
            return Err(self.unexpected("an object", mark));
        }
        self.enter()?;
        while self.peek()? != b'}' {
            let key = self.key()?;
            member(self, &key).map_err(|fault| fault.under_key(&key))?;
        }
        self.at += 1;
        self.nesting -= 1;
        Ok(())
    }

    fn array<F>(&mut self, mut element: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, usize) -> Result<(), Fault>,
    {
        let head = self.head()?;
        self.enter()?;
        match head {
            ArrayHead::Open => {
                let mut index = 0;
                while self.peek()? != b']' {
                    element(self, index).map_err(|fault| fault.under_index(index))?;
                    index += 1;
                }
                self.at += 1;
            }
            ArrayHead::Counted(count) => {
                for index in 0..count {
                    element(self, index).map_err(|fault| fault.under_index(index))?;
                }
            }
            ArrayHead::Typed(mark, count) => {
                self.element = Some(mark);
                for index in 0..count {
                    element(self, index).map_err(|fault| fault.under_index(index))?;
                }
                self.element = None;
            }
        }
        self.nesting -= 1;
        Ok(())
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        match self.mark()? {
            b'S' => self.key(),
            mark => Err(self.unexpected("a string", mark)),
        }
    }

    fn f32(&mut self) -> Result<f32, Fault> {
        match self.mark()? {
            b'd' => Ok(f32::from_be_bytes(self.fixed()?)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the library rounds such a number just so"
            )]
            b'D' => Ok(f64::from_be_bytes(self.fixed()?) as f32),
            #[expect(
                clippy::cast_precision_loss,
                reason = "the library rounds such a number just so"
            )]
            mark => Ok(self.whole(mark)? as f32),
        }
    }

    fn f64(&mut self) -> Result<f64, Fault> {
        match self.mark()? {
            b'd' => Ok(f64::from(f32::from_be_bytes(self.fixed()?))),
            b'D' => Ok(f64::from_be_bytes(self.fixed()?)),
            #[expect(
                clippy::cast_precision_loss,
                reason = "the library rounds such a number just so"
            )]
            mark => Ok(self.whole(mark)? as f64),
        }
    }

    fn integer(&mut self) -> Result<i64, Fault> {
        let mark = self.mark()?;
        self.whole(mark)
    }

    fn f32s(&mut self, into: &mut Vec<f32>) -> Result<(), Fault> {
        into.clear();
        // Most of a large model is arrays of this kind. They are converted without a check per number.
        let start = self.at;
        if let ArrayHead::Typed(b'd', count) = self.head()? {
            let (numbers, _) = self.take(count * 4)?.as_chunks();
            into.extend(numbers.iter().map(|bytes| f32::from_be_bytes(*bytes)));
            return Ok(());
        }
        self.at = start;
        self.array(|document, _| {
            into.push(document.f32()?);
            Ok(())
        })
    }

    fn integers<I: TryFrom<i64>>(&mut self, into: &mut Vec<I>) -> Result<(), Fault> {
        into.clear();
        let start = self.at;
        if let ArrayHead::Typed(b'l', count) = self.head()? {
            let (numbers, _) = self.take(count * 4)?.as_chunks();
            into.reserve(count);
            for bytes in numbers {
                let number = i64::from(i32::from_be_bytes(*bytes));
                into.push(fit(number, self.at)?);
            }
            return Ok(());
        }
        self.at = start;
        self.array(|document, _| {
            let number = document.integer()?;
            into.push(fit(number, document.at)?);
            Ok(())
        })
    }

    fn skip(&mut self) -> Result<(), Fault> {
        match self.shape()? {
            ValueKind::Object => self.object(|doc, _| doc.skip()),
            ValueKind::Array => match self.head()? {
                // The header was checked against the remaining bytes.
                ArrayHead::Typed(mark, count) => self.take(count * width(mark).unwrap_or(0)).map(drop),
                ArrayHead::Counted(count) => {
                    self.enter()?;
                    for _ in 0..count {
                        self.skip()?;
                    }
                    self.nesting -= 1;
                    Ok(())
                }
                ArrayHead::Open => {
                    self.enter()?;
                    while self.peek()? != b']' {
                        self.skip()?;
                    }
                    self.at += 1;
                    self.nesting -= 1;
                    Ok(())
                }
            },
            ValueKind::Text => match self.mark()? {
                b'C' => self.take(1).map(drop),
                _ => self.key().map(drop),
            },
            ValueKind::Null => {
                self.at += 1;
                Ok(())
            }
            ValueKind::Scalar => {
                let mark = self.mark()?;
                self.take(width(mark).unwrap_or(0)).map(drop)
            }
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        while matches!(self.bytes.get(self.at), Some(b'N' | 0)) {
            self.at += 1;
        }
        if self.at < self.bytes.len() {
            return Err(self.fault(format!(
                "{} unexpected bytes after the end of the model",
                self.remaining()
            )));
        }
        Ok(())
    }
}
