//! Options of all gRPC services: message size limits and compression.

use prost::Message;
use tonic::Response;
use tonic::codec::CompressionEncoding;

/// Encodings that the server accepts and sends.
pub(super) const ENCODINGS: [CompressionEncoding; 3] = [
    CompressionEncoding::Zstd,
    CompressionEncoding::Gzip,
    CompressionEncoding::Deflate,
];

/// Applies the size limit and the encodings to a service. A macro, as the generated types share no trait with these
/// methods.
macro_rules! with_options {
    ($service:expr, $config:expr) => {{
        let limit = $config.limits.body_bytes;
        let service = $service.max_decoding_message_size(limit);
        $crate::api::grpc::options::ENCODINGS
            .into_iter()
            .fold(service, |service, encoding| {
                service.accept_compressed(encoding).send_compressed(encoding)
            })
    }};
}
pub(super) use with_options;

/// Builds a response that is compressed from `compress_bytes` on.
pub(super) fn respond<T: Message>(message: T, compress_bytes: usize) -> Response<T> {
    let small = message.encoded_len() < compress_bytes;
    let mut response = Response::new(message);
    if small {
        response.disable_compression();
    }
    response
}
