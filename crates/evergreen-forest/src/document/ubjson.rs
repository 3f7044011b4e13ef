//! UBJSON, the subset that XGBoost writes: big-endian, with typed and counted arrays.
//!
//! A counted array has no closing marker. Objects are not counted. Lengths may have any integer type.

use std::borrow::Cow;

use crate::document::{Document, Fault, MAX_NESTING, ValueKind, fit};

/// A reader of UBJSON bytes.
pub(crate) struct Ubjson<'a> {
    bytes: &'a [u8],
    at: usize,
    nesting: usize,
    /// The type marker of the enclosing typed array: its elements carry none.
    element: Option<u8>,
}

/// The header of an array.
enum ArrayHead {
    /// `[$t#n`: `n` numbers of type `t`, without markers.
    Typed(u8, usize),
    /// `[#n`: `n` values.
    Counted(usize),
    /// `[ … ]`.
    Open,
}

/// Returns the bytes of a number with this type marker, or `None` if the marker is not of a number.
fn width(mark: u8) -> Option<usize> {
    match mark {
        b'i' | b'U' => Some(1),
        b'I' | b'u' => Some(2),
        b'l' | b'm' | b'd' => Some(4),
        b'L' | b'M' | b'D' => Some(8),
        _ => None,
    }
}

impl<'a> Ubjson<'a> {
    /// Creates a reader at the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            nesting: 0,
            element: None,
        }
    }

    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Skips `N` (no operation) and returns the next byte without consuming it.
    fn peek(&mut self) -> Result<u8, Fault> {
        while self.bytes.get(self.at) == Some(&b'N') {
            self.at += 1;
        }
        self.bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| self.fault("the file ends here, too early"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let bytes = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| {
                self.fault(format!(
                    "announces {count} bytes, but only {} remain",
                    self.remaining()
                ))
            })?;
        self.at += count;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| self.fault("the file ends here, too early"))
    }

    /// Returns the marker of the next value. Consumes it unless the enclosing array implies it.
    fn mark(&mut self) -> Result<u8, Fault> {
        if let Some(mark) = self.element {
            return Ok(mark);
        }
        let mark = self.peek()?;
        self.at += 1;
        Ok(mark)
    }

    fn unexpected(&self, wanted: &str, found: u8) -> Fault {
        let at = self.at.saturating_sub(1);
        Fault::new(at, format!("expected {wanted}, found {}", name(found)))
    }

    /// Reads the payload of an integer.
    fn whole(&mut self, mark: u8) -> Result<i64, Fault> {
        Ok(match mark {
            b'i' => i64::from(i8::from_be_bytes(self.fixed()?)),
            b'U' => i64::from(u8::from_be_bytes(self.fixed()?)),
            b'I' => i64::from(i16::from_be_bytes(self.fixed()?)),
            b'u' => i64::from(u16::from_be_bytes(self.fixed()?)),
            b'l' => i64::from(i32::from_be_bytes(self.fixed()?)),
            b'm' => i64::from(u32::from_be_bytes(self.fixed()?)),
            b'L' => i64::from_be_bytes(self.fixed()?),
            b'M' => {
                let value = u64::from_be_bytes(self.fixed()?);
                i64::try_from(value).map_err(|_| self.fault(format!("{value} is out of range here")))?
            }
            b'T' => 1,
            b'F' => 0,
            _ => return Err(self.unexpected("a whole number", mark)),
        })
    }

    /// Reads a length: bytes of a string or elements of an array. Each takes at least one of the remaining
    /// bytes.
    fn length(&mut self) -> Result<usize, Fault> {
        let mark = self.peek()?;
        self.at += 1;
        let value = self.whole(mark)?;
        match usize::try_from(value) {
            Ok(length) if length <= self.remaining() => Ok(length),
            _ => Err(self.fault(format!(
                "announces {value} elements, but only {} bytes remain",
                self.remaining()
            ))),
        }
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        let length = self.length()?;
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| Fault::new(start, "this text is not valid UTF-8"))
    }

    fn head(&mut self) -> Result<ArrayHead, Fault> {
        let mark = self.mark()?;
        if mark != b'[' {
            return Err(self.unexpected("an array", mark));
        }
        let typed = if self.peek()? == b'$' {
            self.at += 1;
            let mark = self.peek()?;
            self.at += 1;
            Some(mark)
        } else {
            None
        };
        if self.peek()? != b'#' {
            return match typed {
                None => Ok(ArrayHead::Open),
                Some(_) => Err(self.fault("a typed array must be counted")),
            };
        }
        self.at += 1;
        let count = self.length()?;
        let Some(mark) = typed else {
            return Ok(ArrayHead::Counted(count));
        };
        let Some(width) = width(mark) else {
            return Err(self.fault(format!("an array of {} is not supported", name(mark))));
        };
        if count > self.remaining() / width {
            return Err(self.fault(format!(
                "announces {count} numbers of {width} bytes, but only {} bytes remain",
                self.remaining()
            )));
        }
        Ok(ArrayHead::Typed(mark, count))
    }

    fn enter(&mut self) -> Result<(), Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.fault(format!("nested more than {MAX_NESTING} deep")));
        }
        Ok(())
    }
}

/// Formats a marker for messages.
fn name(mark: u8) -> String {
    if mark.is_ascii_graphic() {
        format!("`{}`", char::from(mark))
    } else {
        format!("byte {mark:#04x}")
    }
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
            mark => Err(self.unexpected("a text", mark)),
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
                "{} more bytes after the end of the model",
                self.remaining()
            )));
        }
        Ok(())
    }
}
