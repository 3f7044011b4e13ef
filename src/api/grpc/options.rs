//! What all services of the gRPC port have in common: sizes and compression.

use prost::Message;
use tonic::Response;
use tonic::codec::CompressionEncoding;

/// The encodings that are understood, and offered.
pub(super) const ENCODINGS: [CompressionEncoding; 3] = [
    CompressionEncoding::Zstd,
    CompressionEncoding::Gzip,
    CompressionEncoding::Deflate,
];

/// Applies the limits and encodings to a service: each generated type has these methods, but no trait names them.
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

/// The response, compressed only where it is worth the time.
pub(super) fn respond<T: Message>(message: T, compress_bytes: usize) -> Response<T> {
    let small = message.encoded_len() < compress_bytes;
    let mut response = Response::new(message);
    if small {
        response.disable_compression();
    }
    response
}
