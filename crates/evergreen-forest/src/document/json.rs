//! JSON as the training libraries write it: the standard, plus bare `NaN`, `Infinity` and `-Infinity`.
//!
//! Numbers are parsed directly from decimal text to the requested type. Reading an `f32` through `f64` would
//! round twice, and could change a threshold.

use std::borrow::Cow;

use crate::document::{Document, Fault, MAX_NESTING, ValueKind};

/// A reader of JSON text.
pub(crate) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    nesting: usize,
}

impl<'a> Json<'a> {
    /// Creates a reader at the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            nesting: 0,
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// Returns the next byte that is not white space, or 0 at the end.
    fn peek(&mut self) -> u8 {
        self.space();
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match self.bytes.get(self.at) {
            None => "the end of the file".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", char::from(*byte)),
            Some(byte) => format!("byte {byte:#04x}"),
        };
        self.fault(format!("expected {wanted}, found {found}"))
    }

    fn expect(&mut self, byte: u8, wanted: &str) -> Result<(), Fault> {
        if self.peek() == byte {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected(wanted))
        }
    }

    fn enter(&mut self) -> Result<(), Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.fault(format!(
                "nested too deeply: at most {MAX_NESTING} levels are supported"
            )));
        }
        Ok(())
    }

    /// Consumes `,` or `close` after a value. Returns true if another value follows.
    fn more(&mut self, close: u8, wanted: &str) -> Result<bool, Fault> {
        let next = self.peek();
        if next != b',' && next != close {
            return Err(self.unexpected(wanted));
        }
        self.at += 1;
        Ok(next == b',')
    }

    /// Reads the next number or bare word.
    fn token(&mut self, wanted: &str) -> Result<&'a str, Fault> {
        self.space();
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let length = rest
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
            .unwrap_or(rest.len());
        let token = rest
            .get(..length)
            .and_then(|token| std::str::from_utf8(token).ok());
        match token {
            Some(token) if !token.is_empty() => {
                self.at += length;
                Ok(token)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// Reads a number of type `N`.
    fn number<N: std::str::FromStr>(&mut self) -> Result<N, Fault> {
        let start = self.at;
        let token = self.token("a number")?;
        token.parse().map_err(|_| Fault::new(start, "not a number"))
    }

    /// Reads a string's content, not yet unescaped. The flag tells whether it contains escapes.
    fn span(&mut self) -> Result<(&'a [u8], bool), Fault> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(Fault::new(start, "unterminated string; expected `\"`")),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
        let inside = self.bytes.get(start..self.at).unwrap_or(&[]);
        self.at += 1;
        Ok((inside, escaped))
    }
}

impl<'a> Document<'a> for Json<'a> {
    fn offset(&self) -> usize {
        self.at
    }

    fn shape(&mut self) -> Result<ValueKind, Fault> {
        match self.peek() {
            b'{' => Ok(ValueKind::Object),
            b'[' => Ok(ValueKind::Array),
            b'"' => Ok(ValueKind::Text),
            b'n' if self.bytes.get(self.at + 1) == Some(&b'u') => Ok(ValueKind::Null),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.') => {
                Ok(ValueKind::Scalar)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn object<F>(&mut self, mut member: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, &str) -> Result<(), Fault>,
    {
        self.expect(b'{', "an object")?;
        self.enter()?;
        if self.peek() == b'}' {
            self.at += 1;
        } else {
            loop {
                let key = self.text()?;
                self.expect(b':', "`:`")?;
                member(self, &key).map_err(|fault| fault.under_key(&key))?;
                if !self.more(b'}', "`,` or `}`")? {
                    break;
                }
            }
        }
        self.nesting -= 1;
        Ok(())
    }

    fn array<F>(&mut self, mut element: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, usize) -> Result<(), Fault>,
    {
        self.expect(b'[', "an array")?;
        self.enter()?;
        if self.peek() == b']' {
            self.at += 1;
        } else {
            let mut index = 0;
            loop {
                element(self, index).map_err(|fault| fault.under_index(index))?;
                index += 1;
                if !self.more(b']', "`,` or `]`")? {
                    break;
                }
            }
        }
        self.nesting -= 1;
        Ok(())
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        let start = self.at;
        let (inside, escaped) = self.span()?;
        let text = std::str::from_utf8(inside).map_err(|_| Fault::new(start, "string is not valid UTF-8"))?;
        if escaped {
            unescape(text)
                .map(Cow::Owned)
                .map_err(|reason| Fault::new(start, reason))
        } else {
            Ok(Cow::Borrowed(text))
        }
    }

    fn f32(&mut self) -> Result<f32, Fault> {
        self.number()
    }

    fn f64(&mut self) -> Result<f64, Fault> {
        self.number()
    }

    fn integer(&mut self) -> Result<i64, Fault> {
        let start = self.at;
        match self.token("an integer")? {
            "true" => Ok(1),
            "false" => Ok(0),
            digits => digits.parse().map_err(|_| Fault::new(start, "not an integer")),
        }
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let outside = self.nesting;
        loop {
            match self.peek() {
                b'{' | b'[' => {
                    self.at += 1;
                    self.enter()?;
                }
                b'}' | b']' if self.nesting > outside => {
                    self.at += 1;
                    self.nesting -= 1;
                }
                b',' | b':' if self.nesting > outside => self.at += 1,
                b'"' => {
                    self.span()?;
                }
                _ => {
                    self.token("a value")?;
                }
            }
            if self.nesting == outside {
                return Ok(());
            }
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        // Some writers end the text with a NUL byte, as a C string.
        while self.peek() == 0 && self.at < self.bytes.len() {
            self.at += 1;
        }
        if self.at < self.bytes.len() {
            return Err(self.unexpected("the end of the file"));
        }
        Ok(())
    }
}

/// Resolves the escapes of a string.
fn unescape(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => out.push(code_point(&mut rest)?),
            Some(same @ ('"' | '\\' | '/')) => out.push(same),
            _ => return Err("unknown escape in a string"),
        }
    }
    Ok(out)
}

/// Reads the character after `\u`, which may be a surrogate pair.
fn code_point(rest: &mut std::str::Chars<'_>) -> Result<char, &'static str> {
    const BAD: &str = "invalid \\u escape in a string";
    let unit = |rest: &mut std::str::Chars<'_>| -> Result<u32, &'static str> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = rest.next().and_then(|c| c.to_digit(16)).ok_or(BAD)?;
            value = value * 16 + digit;
        }
        Ok(value)
    };
    let first = unit(rest)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first).ok_or(BAD);
    }
    if (rest.next(), rest.next()) != (Some('\\'), Some('u')) {
        return Err(BAD);
    }
    let second = unit(rest)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(BAD);
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or(BAD)
}
