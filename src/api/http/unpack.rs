//! Unpacks request bodies with a `content-encoding`. A small body may unpack to a very large one, so the unpacked bytes are
//! bounded by the packed ones, the window of zstd is bounded, and the work gives way in between.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use futures_util::{Stream, TryStreamExt as _};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::problem::unknown_encoding;
use crate::api::incoming::{BodyEnded, MOST_RATIO};
use crate::memory::{self, RequestMemory};
use crate::work::INLINE_BYTES;

/// Maximum window of zstd, as RFC 9659 sets it for HTTP: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Memory of a decoder in bytes, by encoding: its window and its buffers.
const ZSTD_BYTES: usize = (1 << ZSTD_WINDOW_LOG) + (256 << 10);
const DEFLATE_BYTES: usize = 64 << 10;

/// Unpacked bytes that any body may have, beside those that [`MOST_RATIO`] allows.
const ALLOWED: usize = 1 << 20;

/// Replaces the body of a request that has an encoding by the unpacked one. Answers a request whose encoding is unknown.
pub(super) fn check(request: &mut Request) -> Option<Response> {
    let encoding = request.headers_mut().remove(header::CONTENT_ENCODING)?;
    let Some(decoder) = Decoder::named(encoding.as_bytes()) else {
        return Some(unknown_encoding(Some(&encoding)));
    };
    if let Decoder::None = decoder {
        return None;
    }
    request.headers_mut().remove(header::CONTENT_LENGTH);
    let memory = memory::current();
    let packed = std::mem::take(request.body_mut());
    *request.body_mut() = decoder.body(packed, memory);
    None
}

/// The known encodings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decoder {
    None,
    Gzip,
    Deflate,
    Zstd,
}

impl Decoder {
    pub(super) fn named(encoding: &[u8]) -> Option<Self> {
        Some(match encoding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Self::None,
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"zstd" => Self::Zstd,
            _ => return None,
        })
    }

    pub(super) fn body(self, body: Body, memory: Option<RequestMemory>) -> Body {
        let packed = Arc::new(AtomicUsize::new(0));
        let count = packed.clone();
        let wire = body.into_data_stream().map_err(io::Error::other);
        let wire = wire.inspect_ok(move |bytes| {
            count.fetch_add(bytes.len(), Ordering::Relaxed);
        });
        let wire = StreamReader::new(wire);
        let window = if let Self::Zstd = self {
            ZSTD_BYTES
        } else {
            DEFLATE_BYTES
        };
        let reader: Pin<Box<dyn AsyncRead + Send>> = match self {
            Self::None => Box::pin(wire),
            // A body may be several members or frames after each other (RFC 1952, RFC 8878).
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(wire);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Self::Deflate => Box::pin(ZlibDecoder::new(wire)),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                let mut decoder = ZstdDecoder::with_params(wire, &[window]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        Body::from_stream(Unpacked {
            unpacked: ReaderStream::with_capacity(reader, 16 << 10),
            packed,
            bytes: 0,
            since_pause: 0,
            window,
            memory,
            started: false,
        })
    }
}

/// Bytes of an unpacked body.
struct Unpacked {
    unpacked: ReaderStream<Pin<Box<dyn AsyncRead + Send>>>,
    packed: Arc<AtomicUsize>,
    /// Unpacked so far.
    bytes: usize,
    since_pause: usize,
    /// Memory of the decoder, counted from the first byte to the end.
    window: usize,
    memory: Option<RequestMemory>,
    started: bool,
}

impl Stream for Unpacked {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let this = &mut *self;
        if !this.started {
            if let Some(memory) = &this.memory
                && let Err(error) = memory.hold_decoder(this.window)
            {
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
            this.started = true;
        }
        if this.since_pause >= INLINE_BYTES {
            // Unpacking never waits while packed bytes are there, so it has to give way by itself.
            this.since_pause = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = Pin::new(&mut this.unpacked).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &next {
            this.bytes += bytes.len();
            this.since_pause += bytes.len();
            let allowed = ALLOWED + MOST_RATIO * this.packed.load(Ordering::Relaxed);
            if this.bytes > allowed {
                return Poll::Ready(Some(Err(io::Error::other(BodyEnded::TooDense))));
            }
        }
        next
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.as_ref().filter(|_| self.started) {
            memory.drop_decoder(self.window);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::BodyExt as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn unpacked(encoding: &str, packed: Vec<u8>) -> Result<Bytes, axum::Error> {
        let decoder = Decoder::named(encoding.as_bytes()).unwrap();
        let body = decoder.body(Body::from(packed), None).collect().await;
        body.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn a_body_is_unpacked_unless_it_is_too_dense() {
        let text = br#"{"model": "churn"}"#.repeat(100);
        assert_eq!(unpacked("GZIP", gzip(&text)).await.unwrap(), text);
        let dense = gzip(&vec![b'\n'; 8 << 20]);
        let error = unpacked("gzip", dense).await.unwrap_err();
        assert!(error.to_string().contains("100 times"), "{error}");
        let members = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(unpacked("gzip", members).await.unwrap(), "one two");
        assert!(Decoder::named(b"br").is_none());
        assert!(unpacked("gzip", b"no gzip".to_vec()).await.is_err());
    }
}
