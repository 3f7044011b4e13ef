//! What all services of the gRPC port have in common: sizes, compression, the life of a connection.

use std::time::Duration;

use prost::Message;
use tonic::Response;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;

use crate::config::{Config, GrpcSection};

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

/// Bytes that a client may have on their way in one stream, and in one connection, before the server has read them:
/// a large request should not wait for the server's word every 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A server with the settings' keep-alive and age of connections.
pub(crate) fn server(config: &Config) -> Server {
    let GrpcSection {
        keepalive_seconds,
        keepalive_timeout_seconds,
        max_connection_age_seconds,
    } = config.grpc;
    let on = |seconds| Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero());
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(on(keepalive_seconds))
        .http2_keepalive_timeout(on(keepalive_timeout_seconds));
    // No grace: with one, tonic 0.14.9 asks nothing of the client, but cuts the connection when age and grace are over.
    match on(max_connection_age_seconds) {
        Some(age) => server.max_connection_age(age),
        None => server,
    }
}
