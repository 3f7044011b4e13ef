//! Reads a text line by line and locates errors.

use crate::FormatError;
use crate::document::Fault;

/// Reads a text line by line.
pub(super) struct LineReader<'a> {
    rest: &'a str,
    /// The number of the last line returned, from 1.
    number: usize,
}

impl<'a> LineReader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            number: 0,
        }
    }

    /// Returns the next line without its end and without consuming it, or `None` at the end.
    pub(super) fn peek(&self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.rest.split_once('\n').map_or(self.rest, |(line, _)| line);
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// Returns the next line and consumes it.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let line = self.peek()?;
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.number += 1;
        Some(line)
    }

    /// Creates an error at the last line returned.
    pub(super) fn fault(&self, reason: impl Into<String>) -> FormatError {
        FormatError {
            at: format!("line {}", self.number),
            reason: reason.into(),
        }
    }

    /// Creates an error inside the last line returned.
    pub(super) fn within(&self, fault: Fault) -> FormatError {
        let inner = FormatError::from(fault);
        FormatError {
            at: format!("line {}, {}", self.number, inner.at),
            reason: inner.reason,
        }
    }
}

/// Replaces `into` with the numbers of a value.
pub(super) fn numbers<N: std::str::FromStr>(value: &str, into: &mut Vec<N>) -> Result<(), String> {
    into.clear();
    for word in value.split_ascii_whitespace() {
        into.push(number(word)?);
    }
    Ok(())
}

/// Parses one number.
pub(super) fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| {
        let word: String = word.chars().take(32).collect();
        format!("`{word}` is not a valid number here")
    })
}
