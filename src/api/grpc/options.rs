//! Options of all gRPC services: message size limits and compression.

use prost::Message;
use tonic::Response;
use tonic::codec::CompressionEncoding;

use crate::memory;

/// Encodings of requests, those of the gRPC specification. A message in zstd could make the decoder take 128 MiB for its
/// window, which cannot be bounded here.
pub(super) const ACCEPTED: [CompressionEncoding; 2] =
    [CompressionEncoding::Gzip, CompressionEncoding::Deflate];

/// Encodings of responses.
pub(super) const SENT: [CompressionEncoding; 3] = [
    CompressionEncoding::Zstd,
    CompressionEncoding::Gzip,
    CompressionEncoding::Deflate,
];

/// Applies the size limit and the encodings to a service. A macro, as the generated types share no trait with these
/// methods.
macro_rules! with_options {
    ($service:expr, $limit:expr) => {{
        let service = $service.max_decoding_message_size($limit);
        let service = $crate::api::grpc::options::ACCEPTED
            .into_iter()
            .fold(service, |service, encoding| service.accept_compressed(encoding));
        $crate::api::grpc::options::SENT
            .into_iter()
            .fold(service, |service, encoding| service.send_compressed(encoding))
    }};
}
pub(super) use with_options;

/// Builds a response that is compressed from `compress_bytes` on.
pub(super) fn respond<T: Message>(message: T, compress_bytes: usize) -> Response<T> {
    let bytes = message.encoded_len();
    // The message and its encoded form.
    memory::with_current(|memory| memory.hold_answer(2 * bytes));
    let small = bytes < compress_bytes;
    let mut response = Response::new(message);
    if small {
        response.disable_compression();
    }
    response
}
