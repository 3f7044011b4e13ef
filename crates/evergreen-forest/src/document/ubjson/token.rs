//! The tokens of UBJSON: markers, lengths, integers and array headers.

use std::borrow::Cow;

use super::Ubjson;
use crate::document::{Document, Fault, MAX_NESTING};

/// The header of an array.
pub(super) enum ArrayHead {
    /// `[$t#n`: `n` numbers of type `t`, without markers.
    Typed(u8, usize),
    /// `[#n`: `n` values.
    Counted(usize),
    /// `[ … ]`.
    Open,
}

/// Returns the bytes of a number with this type marker, or `None` if the marker is not of a number.
pub(super) fn width(mark: u8) -> Option<usize> {
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

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Skips `N` (no operation) and returns the next byte without consuming it.
    pub(super) fn peek(&mut self) -> Result<u8, Fault> {
        while self.bytes.get(self.at) == Some(&b'N') {
            self.at += 1;
        }
        self.bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| self.fault("unexpected end of the file"))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let bytes = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| {
                self.fault(format!(
                    "announces {count} bytes, but only {} remain; the file is truncated or corrupt",
                    self.remaining()
                ))
            })?;
        self.at += count;
        Ok(bytes)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| self.fault("unexpected end of the file"))
    }

    /// Returns the marker of the next value. Consumes it unless the enclosing array implies it.
    pub(super) fn mark(&mut self) -> Result<u8, Fault> {
        if let Some(mark) = self.element {
            return Ok(mark);
        }
        let mark = self.peek()?;
        self.at += 1;
        Ok(mark)
    }

    pub(super) fn unexpected(&self, wanted: &str, found: u8) -> Fault {
        let at = self.at.saturating_sub(1);
        Fault::new(at, format!("expected {wanted}, found {}", name(found)))
    }

    /// Reads the payload of an integer.
    pub(super) fn whole(&mut self, mark: u8) -> Result<i64, Fault> {
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
                i64::try_from(value).map_err(|_| self.fault(format!("{value} is out of range")))?
            }
            b'T' => 1,
            b'F' => 0,
            _ => return Err(self.unexpected("an integer", mark)),
        })
    }

    /// Reads a length: bytes of a string or elements of an array. Each takes at least one of the remaining
    /// bytes.
    pub(super) fn length(&mut self) -> Result<usize, Fault> {
        let mark = self.peek()?;
        self.at += 1;
        let value = self.whole(mark)?;
        match usize::try_from(value) {
            Ok(length) if length <= self.remaining() => Ok(length),
            _ => Err(self.fault(format!(
                "announces {value} elements, but only {} bytes remain; the file is truncated or corrupt",
                self.remaining()
            ))),
        }
    }

    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        let length = self.length()?;
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| Fault::new(start, "string is not valid UTF-8"))
    }

    pub(super) fn head(&mut self) -> Result<ArrayHead, Fault> {
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
                Some(_) => Err(self.fault("typed array without a count; expected `#`")),
            };
        }
        self.at += 1;
        let count = self.length()?;
        let Some(mark) = typed else {
            return Ok(ArrayHead::Counted(count));
        };
        let Some(width) = width(mark) else {
            return Err(self.fault(format!(
                "unsupported array type {}; expected a number type such as `d` or `l`",
                name(mark)
            )));
        };
        if count > self.remaining() / width {
            return Err(self.fault(format!(
                "announces {count} numbers of {width} bytes, but only {} bytes remain; the file is truncated or corrupt",
                self.remaining()
            )));
        }
        Ok(ArrayHead::Typed(mark, count))
    }

    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.fault(format!(
                "nested too deeply: at most {MAX_NESTING} levels are supported"
            )));
        }
        Ok(())
    }
}

/// Formats a marker for messages.
pub(super) fn name(mark: u8) -> String {
    if mark.is_ascii_graphic() {
        format!("`{}`", char::from(mark))
    } else {
        format!("byte {mark:#04x}")
    }
}
