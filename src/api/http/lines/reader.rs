//! Splits a body into lines. It buffers at most one line and the chunk that it arrived with. What it buffers and returns
//! draws on the memory budget.

use axum::body::{Body, BodyDataStream};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};

use super::super::body::failed;
use crate::error::{Error, ErrorKind};
use crate::memory::RequestMemory;

/// Bytes of lines from which a batch is full.
const BATCH_BYTES: usize = 1 << 20;

/// One line, with its number from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api::http) struct BodyLine {
    pub(in crate::api::http) number: u64,
    pub(in crate::api::http) text: LineText,
}

impl BodyLine {
    /// Bytes of the text.
    pub(super) fn bytes(&self) -> usize {
        match &self.text {
            LineText::Whole(text) => text.len(),
            LineText::TooLong => 0,
        }
    }
}

/// The content of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api::http) enum LineText {
    Whole(Bytes),
    /// Skipped, as it is longer than allowed.
    TooLong,
}

/// Reads a body line by line. Empty lines are counted and skipped.
#[derive(Debug)]
pub(in crate::api::http) struct BodyLines {
    body: BodyDataStream,
    memory: Option<RequestMemory>,
    buffer: BytesMut,
    /// Leading bytes of the buffer without a line feed.
    searched: usize,
    max_bytes: usize,
    number: u64,
    /// Inside a line that is too long.
    skipping: bool,
    ended: bool,
    /// The error that ended the body; returned after the lines before it.
    error: Option<Error>,
}

impl BodyLines {
    pub(in crate::api::http) fn new(body: Body, max_bytes: usize, memory: Option<RequestMemory>) -> Self {
        Self {
            memory,
            body: body.into_data_stream(),
            buffer: BytesMut::new(),
            searched: 0,
            max_bytes,
            number: 0,
            skipping: false,
            ended: false,
            error: None,
        }
    }

    /// Waits for the first bytes of the body and keeps them for [`Self::batch`].
    pub(super) async fn fill(&mut self) {
        if self.buffer.is_empty() && !self.ended && self.error.is_none() {
            let next = self.body.next().await;
            self.keep(next);
        }
    }

    /// Keeps the next part of the body: bytes, an error or the end.
    fn keep(&mut self, next: Option<Result<Bytes, axum::Error>>) {
        match next {
            Some(Ok(bytes)) => {
                let taken = self.memory.as_ref().map_or(Ok(()), |memory| {
                    memory.decoding(bytes.len());
                    memory.take_body(bytes.len())
                });
                match taken {
                    Ok(()) => self.buffer.extend_from_slice(&bytes),
                    Err(error) => self.error = Some(error.into()),
                }
            }
            Some(Err(error)) => {
                let error = failed(&error);
                self.error = Some(match error.kind() {
                    ErrorKind::Invalid => Error::invalid(format!("the body ended early: {error}")),
                    _ => error,
                });
            }
            None => self.ended = true,
        }
    }

    /// Returns the memory of lines that [`Self::batch`] returned: they are answered.
    pub(super) fn release(&self) {
        if let Some(memory) = &self.memory {
            memory.keep_body(self.buffer.len());
        }
    }

    /// Returns the number of the last line read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Waits for a line, then adds the lines that have already arrived, up to `most` and about [`BATCH_BYTES`]. Returns
    /// none at the end.
    ///
    /// Cancel safe: while it waits it holds no lines.
    ///
    /// # Errors
    /// The body ended early, or there is no memory for it; the lines before were returned.
    pub(in crate::api::http) async fn batch(&mut self, most: usize) -> Result<Vec<BodyLine>, Error> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < most && bytes < BATCH_BYTES {
            if let Some(line) = self.buffered_line() {
                bytes += line.bytes();
                lines.push(line);
                continue;
            }
            if lines.is_empty() {
                // Lines that are passed are not held, and must not hold up the worker.
                self.release();
                tokio::task::consume_budget().await;
            }
            if self.ended || !lines.is_empty() && self.error.is_some() {
                break;
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let next = if lines.is_empty() {
                self.body.next().await
            } else {
                match self.body.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            self.keep(next);
        }
        Ok(lines)
    }

    /// Returns the next complete line in the buffer.
    fn buffered_line(&mut self) -> Option<BodyLine> {
        loop {
            self.skip_line_feeds();
            let Some(length) = self.line_length() else {
                self.skip_long_line();
                return None;
            };
            let too_long = std::mem::take(&mut self.skipping) || length > self.max_bytes;
            let text = if too_long || self.buffer[..length].iter().all(u8::is_ascii_whitespace) {
                self.buffer.advance(length);
                too_long.then_some(LineText::TooLong)
            } else {
                Some(LineText::Whole(self.buffer.split_to(length).freeze()))
            };
            // The line feed, unless the body ends without one.
            self.buffer.advance(1.min(self.buffer.len()));
            self.searched = 0;
            self.number += 1;
            if let Some(text) = text {
                return Some(BodyLine {
                    number: self.number,
                    text,
                });
            }
        }
    }

    /// Passes lines that end where they begin, of which a body may have millions, all at once.
    fn skip_line_feeds(&mut self) {
        if self.skipping {
            return;
        }
        for end in [b"\r\n".as_slice(), b"\n"] {
            let empty = self
                .buffer
                .chunks_exact(end.len())
                .take_while(|&line| line == end)
                .count();
            self.buffer.advance(empty * end.len());
            self.number += empty as u64;
            // They are what was searched, if they are first.
            self.searched = self.searched.saturating_sub(empty * end.len());
        }
    }

    /// Returns the bytes up to the end of the line; at the end of the body, all bytes left.
    fn line_length(&mut self) -> Option<usize> {
        let line_feed = memchr::memchr(b'\n', &self.buffer[self.searched..]);
        let line_feed = line_feed.map(|position| self.searched + position);
        self.searched = self.buffer.len();
        let rest = || self.ended && (self.skipping || !self.buffer.is_empty());
        line_feed.or_else(|| rest().then_some(self.buffer.len()))
    }

    fn skip_long_line(&mut self) {
        if self.skipping || self.buffer.len() > self.max_bytes {
            self.skipping = true;
            self.buffer.clear();
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{ConnectionMemory, MemoryBudget};

    async fn lines(chunks: &[&'static str], max_bytes: usize) -> Vec<(u64, Option<String>)> {
        let chunks: Vec<Result<_, std::io::Error>> = chunks.iter().map(|&chunk| Ok(chunk)).collect();
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let mut reader = BodyLines::new(body, max_bytes, None);
        let mut lines = Vec::new();
        loop {
            let batch = reader.batch(2).await.unwrap();
            if batch.is_empty() {
                return lines;
            }
            assert!(batch.len() <= 2);
            lines.extend(batch.into_iter().map(|line| match line.text {
                LineText::Whole(text) => (line.number, Some(String::from_utf8(text.to_vec()).unwrap())),
                LineText::TooLong => (line.number, None),
            }));
        }
    }

    fn line(number: u64, text: &str) -> (u64, Option<String>) {
        (number, Some(text.to_owned()))
    }

    #[tokio::test]
    async fn chunk_boundaries_do_not_change_lines() {
        let whole = vec![line(1, "a"), line(3, "bc"), line(4, "d")];
        assert_eq!(lines(&["a\n\nbc\nd"], 9).await, whole);
        assert_eq!(lines(&["a", "\n", " \nb", "c\n", "d\n"], 9).await, whole);
        assert_eq!(lines(&["a\r\n", "\r\n", "bc\nd\n\n"], 9).await.len(), 3);
        assert_eq!(lines(&[""], 9).await, []);
        assert_eq!(lines(&["\n\n"], 9).await, []);
        assert_eq!(lines(&["\n\r", "\n\r\n\n\r\na"], 9).await, [line(6, "a")]);
        assert_eq!(lines(&["\r\r\na\n"], 9).await, [line(2, "a")]);
    }

    #[tokio::test]
    async fn lines_that_are_passed_are_not_held() {
        let budget = MemoryBudget::new(1 << 20);
        for passed in ["\n", "\r\n", " \n", "x"] {
            let memory = RequestMemory::new(ConnectionMemory::new(budget.clone()));
            let chunks = std::iter::repeat_n(passed.repeat(32 << 10), 100);
            let chunks = chunks.chain(["\nlast".to_owned()]).map(Ok::<_, std::io::Error>);
            let body = Body::from_stream(futures_util::stream::iter(chunks));
            let mut reader = BodyLines::new(body, 9, Some(memory));
            let batch = reader.batch(2).await.unwrap();
            assert!(budget.used() <= 64 << 10, "{passed:?}: {}", budget.used());
            assert_eq!(batch.last().unwrap().text, LineText::Whole("last".into()));
        }
    }

    #[tokio::test]
    async fn skips_a_line_that_is_too_long() {
        let expected = vec![line(1, "ab"), (2, None), line(3, "c")];
        assert_eq!(lines(&["ab\nabcd\nc"], 3).await, expected);
        assert_eq!(
            lines(&["ab\nab", "cd", "efghijklmn", "op\nc\n"], 3).await,
            expected
        );
        assert_eq!(lines(&["ab\nabc", "defg"], 3).await, [line(1, "ab"), (2, None)]);
        assert_eq!(lines(&["abcd", "\nc"], 3).await, [(1, None), line(2, "c")]);
    }
}
