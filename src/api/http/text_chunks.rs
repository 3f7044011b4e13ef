//! A long text in chunks: it does not move while it grows, and the memory of a chunk is free once the client has taken it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::memory::PIECE as CHUNK;

/// Takes a text as it is written.
#[derive(Debug)]
pub(super) struct TextChunks {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl TextChunks {
    /// For a text of about this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            full: Vec::with_capacity(bytes / CHUNK),
            last: Vec::with_capacity(bytes.min(CHUNK)),
        }
    }

    /// The bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.last.len()
    }

    /// The text as a body of known length.
    pub(super) fn into_body(self) -> Body {
        if self.full.is_empty() {
            return Body::from(self.last);
        }
        let left = self.len();
        let mut chunks = self.full;
        chunks.push(self.last.into());
        Body::new(ChunkedBody {
            chunks: chunks.into_iter(),
            left,
        })
    }

    /// Writes what does not fit into the last chunk.
    #[cold]
    fn overflow(&mut self, mut text: &[u8]) {
        while self.last.len() + text.len() > CHUNK {
            let (fits, rest) = text.split_at(CHUNK - self.last.len());
            self.last.extend_from_slice(fits);
            self.full
                .push(std::mem::replace(&mut self.last, Vec::with_capacity(CHUNK)).into());
            text = rest;
        }
        self.last.extend_from_slice(text);
    }
}

impl io::Write for TextChunks {
    #[inline]
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.last.len() + text.len() <= CHUNK {
            self.last.extend_from_slice(text);
        } else {
            self.overflow(text);
        }
        Ok(text.len())
    }

    #[inline]
    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        self.write(text).map(|_| ())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that gives its chunks away one by one.
struct ChunkedBody {
    chunks: std::vec::IntoIter<Bytes>,
    left: usize,
}

impl HttpBody for ChunkedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.next();
        self.left -= chunk.as_ref().map_or(0, Bytes::len);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_text_arrives_as_it_was_written() {
        // Lengths around the limits of chunks, written in parts of several sizes.
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5] {
            let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            for part in [1, 7, CHUNK, 2 * CHUNK + 3, length.max(1)] {
                let mut written = TextChunks::new(length / 2);
                for bytes in text.chunks(part) {
                    written.write_all(bytes).unwrap();
                }
                assert_eq!(written.len(), length);
                let mut body = written.into_body();
                assert_eq!(body.size_hint().exact(), Some(length as u64));
                let mut read = Vec::new();
                while let Some(frame) = body.frame().await {
                    let bytes = frame.unwrap().into_data().unwrap();
                    assert!(bytes.len() <= CHUNK);
                    read.extend_from_slice(&bytes);
                    assert_eq!(body.size_hint().exact(), Some((length - read.len()) as u64));
                }
                assert!(body.is_end_stream() && read == text);
            }
        }
    }
}
