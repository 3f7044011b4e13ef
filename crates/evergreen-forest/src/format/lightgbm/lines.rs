//! The lines of a text, and where one is.

use crate::FormatError;
use crate::document::Fault;

/// Goes through a text line by line.
pub(super) struct LineReader<'a> {
    rest: &'a str,
    /// Of the line that was handed out last, from 1.
    number: usize,
}

impl<'a> LineReader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            number: 0,
        }
    }

    /// The next line without its end, not passed over; `None` at the end.
    pub(super) fn peek(&self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.rest.split_once('\n').map_or(self.rest, |(line, _)| line);
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let line = self.peek()?;
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.number += 1;
        Some(line)
    }

    /// A fault at the line that was handed out last.
    pub(super) fn fault(&self, reason: impl Into<String>) -> FormatError {
        FormatError {
            at: format!("line {}", self.number),
            reason: reason.into(),
        }
    }

    /// A fault inside that line.
    pub(super) fn within(&self, fault: Fault) -> FormatError {
        let inner = FormatError::from(fault);
        FormatError {
            at: format!("line {}, {}", self.number, inner.at),
            reason: inner.reason,
        }
    }
}

/// Replaces `into` by the numbers of a value.
pub(super) fn numbers<N: std::str::FromStr>(value: &str, into: &mut Vec<N>) -> Result<(), String> {
    into.clear();
    for word in value.split_ascii_whitespace() {
        into.push(number(word)?);
    }
    Ok(())
}

/// One number.
pub(super) fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| {
        let word: String = word.chars().take(32).collect();
        format!("`{word}` is not a number that belongs here")
    })
}
