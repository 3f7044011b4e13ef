//! A body as lines, of which no more is held than one line and what came with it.

use axum::body::{Body, BodyDataStream};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};

/// One line, with its number from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BodyLine {
    pub(super) number: u64,
    pub(super) text: Text,
}

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text {
    Whole(Bytes),
    /// Longer than allowed: passed over.
    TooLong,
}

/// Reads a body line by line. Empty lines are counted and passed over.
#[derive(Debug)]
pub(super) struct LineReader {
    body: BodyDataStream,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line's end.
    searched: usize,
    longest: usize,
    number: u64,
    /// In the midst of a line that is too long.
    passing_over: bool,
    ended: bool,
    /// What broke the body off, for after the lines before it.
    error: Option<axum::Error>,
}

impl LineReader {
    pub(super) fn new(body: Body, longest: usize) -> Self {
        Self {
            body: body.into_data_stream(),
            buffer: BytesMut::new(),
            searched: 0,
            longest,
            number: 0,
            passing_over: false,
            ended: false,
            error: None,
        }
    }

    /// The number of the last line read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Waits for a line, then takes along the lines that are there already, up to `most`; none at the end.
    ///
    /// Can be dropped while it waits without losing anything but the lines it would have returned: there are none yet.
    pub(super) async fn batch(&mut self, most: usize) -> Result<Vec<BodyLine>, axum::Error> {
        let mut lines = Vec::new();
        while lines.len() < most {
            if let Some(line) = self.buffered_line() {
                lines.push(line);
                continue;
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
            match next {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => self.error = Some(error),
                None => self.ended = true,
            }
        }
        Ok(lines)
    }

    /// The next line in the buffer, if its end is there.
    fn buffered_line(&mut self) -> Option<BodyLine> {
        loop {
            let Some(length) = self.line_length() else {
                self.pass_over_what_is_too_long();
                return None;
            };
            let ends_here = length < self.buffer.len();
            let text = self.buffer.split_to(length).freeze();
            if ends_here {
                self.buffer.advance(1);
            }
            self.searched = 0;
            self.number += 1;
            let too_long = std::mem::take(&mut self.passing_over) || text.len() > self.longest;
            let text = if too_long {
                Text::TooLong
            } else if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            } else {
                Text::Whole(text)
            };
            return Some(BodyLine {
                number: self.number,
                text,
            });
        }
    }

    /// Bytes up to the end of the line; at the end of the body, all that is left.
    fn line_length(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', &self.buffer[self.searched..]);
        let found = found.map(|position| self.searched + position);
        self.searched = self.buffer.len();
        let rest = || self.ended && (self.passing_over || !self.buffer.is_empty());
        found.or_else(|| rest().then_some(self.buffer.len()))
    }

    fn pass_over_what_is_too_long(&mut self) {
        if self.passing_over || self.buffer.len() > self.longest {
            self.passing_over = true;
            self.buffer.clear();
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(chunks: &[&'static str], longest: usize) -> Vec<(u64, Option<String>)> {
        let chunks: Vec<Result<_, std::io::Error>> = chunks.iter().map(|&chunk| Ok(chunk)).collect();
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let mut reader = LineReader::new(body, longest);
        let mut lines = Vec::new();
        loop {
            let batch = reader.batch(2).await.unwrap();
            if batch.is_empty() {
                return lines;
            }
            assert!(batch.len() <= 2);
            lines.extend(batch.into_iter().map(|line| match line.text {
                Text::Whole(text) => (line.number, Some(String::from_utf8(text.to_vec()).unwrap())),
                Text::TooLong => (line.number, None),
            }));
        }
    }

    fn line(number: u64, text: &str) -> (u64, Option<String>) {
        (number, Some(text.to_owned()))
    }

    #[tokio::test]
    async fn lines_are_the_same_however_they_arrive() {
        let whole = vec![line(1, "a"), line(3, "bc"), line(4, "d")];
        assert_eq!(lines(&["a\n\nbc\nd"], 9).await, whole);
        assert_eq!(lines(&["a", "\n", " \nb", "c\n", "d\n"], 9).await, whole);
        assert_eq!(lines(&["a\r\n", "\r\n", "bc\nd\n\n"], 9).await.len(), 3);
        assert_eq!(lines(&[""], 9).await, []);
        assert_eq!(lines(&["\n\n"], 9).await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over() {
        let expected = vec![line(1, "ab"), (2, None), line(3, "c")];
        assert_eq!(lines(&["ab\nabcd\nc"], 3).await, expected);
        assert_eq!(
            lines(&["ab\nab", "cd", "efghijklmn", "op\nc\n"], 3).await,
            expected
        );
        assert_eq!(lines(&["ab\nabc", "defg"], 3).await, [line(1, "ab"), (2, None)]);
    }
}
