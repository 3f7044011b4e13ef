//! `[grpc]` and `[streams]`.

use serde::{Deserialize, Serialize};

/// `[grpc]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcSection {
    /// Seconds of silence after which a connection is asked whether it still lives; 0 never asks.
    pub keepalive_seconds: u64,
    /// Seconds after which a connection that does not answer is closed.
    pub keepalive_timeout_seconds: u64,
    /// Seconds after which a client is asked to connect again, so that it finds new servers; 0 never asks. What runs on
    /// the old connection is finished there.
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

/// `[streams]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamsSection {
    /// Batches of one stream that are worked on at the same time; a client that sends more waits.
    pub batches: usize,
    /// Longest line of a bulk request, in bytes.
    pub line_bytes: usize,
    /// Seconds that a stream or a bulk request may take.
    pub seconds: u64,
    /// Seconds that a bulk request waits for its client: for the next line, or until an answer is taken.
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
    /// Checks that something can be asked.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, is_zero) in [
            ("streams.batches", self.batches == 0),
            ("streams.line_bytes", self.line_bytes == 0),
            ("streams.seconds", self.seconds == 0),
            ("streams.idle_seconds", self.idle_seconds == 0),
        ] {
            if is_zero {
                return Err(format!(
                    "{key} is 0: nothing could be asked; leave it out for the default"
                ));
            }
        }
        Ok(())
    }
}
