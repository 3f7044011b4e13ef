//! `[grpc]` and `[streams]`.

use serde::{Deserialize, Serialize};

/// Connections of gRPC.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcSection {
    /// Seconds without traffic after which the server sends an HTTP/2 ping; 0: never.
    pub keepalive_seconds: u64,
    /// Seconds after which a connection without an answer to a ping is closed.
    pub keepalive_timeout_seconds: u64,
    /// Seconds after which a client is asked to reconnect (GOAWAY), so that it finds new servers; 0: never. Running
    /// calls finish on the old connection; `streams.seconds` bounds them.
    pub max_connection_age_seconds: u64,
}

impl Default for GrpcSection {
    fn default() -> Self {
        Self {
            keepalive_seconds: 60,
            keepalive_timeout_seconds: 20,
            max_connection_age_seconds: 1800,
        }
    }
}

/// Streams over gRPC and bulk requests over REST (`application/x-ndjson`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamsSection {
    /// Batches of one stream scored at the same time; a client that sends more waits.
    pub batches: usize,
    /// Maximum length of a line of a bulk request, in bytes. The whole request may have any size.
    pub line_bytes: usize,
    /// Maximum duration of a stream or bulk request, in seconds.
    pub seconds: u64,
    /// Seconds a bulk request waits for its client: for the next line, or for a response to be read.
    pub idle_seconds: u64,
}

impl Default for StreamsSection {
    fn default() -> Self {
        Self {
            batches: 4,
            line_bytes: 64 << 10,
            seconds: 3600,
            idle_seconds: 30,
        }
    }
}

impl StreamsSection {
    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, is_zero) in [
            ("streams.batches", self.batches == 0),
            ("streams.line_bytes", self.line_bytes == 0),
            ("streams.seconds", self.seconds == 0),
            ("streams.idle_seconds", self.idle_seconds == 0),
        ] {
            if is_zero {
                return Err(format!(
                    "{key}: expected at least 1, found 0; remove it to use the default"
                ));
            }
        }
        Ok(())
    }
}
