//! `[server]`: where to listen, how connections are kept, how the server stops.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[server]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// REST and its documentation.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Probes, metrics, administration.
    pub ops: SocketAddr,
    /// Seconds of serving on, unready, after the signal to stop: load balancers need a moment to notice.
    pub drain_seconds: u64,
    /// Seconds after which requests still running are given up when stopping.
    pub grace_seconds: u64,
    /// Most connections that each port holds; more are closed at once.
    pub connections: usize,
    /// Seconds that a client may take for the headers of a request, and for a TLS handshake.
    pub header_seconds: u64,
    /// Seconds that a client may take for the body of a request over REST, bulk excepted.
    pub body_seconds: u64,
    /// Seconds that an HTTP/1.1 connection may wait for its next request. Longer than a load balancer's own.
    pub idle_seconds: u64,
    /// Seconds between two looks at the files of `[tls]` and `[auth]`.
    pub poll_seconds: f64,
    /// Answers of at least so many bytes are compressed for clients that understand it.
    pub compress_bytes: usize,
}

impl Default for ServerSection {
    fn default() -> Self {
        let port = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            http: port(8080),
            grpc: port(8081),
            ops: port(8082),
            drain_seconds: 0,
            grace_seconds: 20,
            connections: 10_000,
            header_seconds: 10,
            body_seconds: 30,
            idle_seconds: 75,
            poll_seconds: 10.0,
            compress_bytes: 8 << 10,
        }
    }
}

impl ServerSection {
    /// The time between two looks at certificates and keys.
    pub fn poll(&self) -> Duration {
        Duration::from_secs_f64(self.poll_seconds)
    }

    /// Checks what the types alone do not say.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, is_zero) in [
            ("server.connections", self.connections == 0),
            ("server.header_seconds", self.header_seconds == 0),
            ("server.body_seconds", self.body_seconds == 0),
            ("server.idle_seconds", self.idle_seconds == 0),
        ] {
            if is_zero {
                return Err(format!(
                    "{key} is 0: nothing could be asked; leave it out for the default"
                ));
            }
        }
        let poll = self.poll_seconds;
        if (0.1..=86_400.0).contains(&poll) {
            Ok(())
        } else {
            Err(format!("server.poll_seconds is {poll}: expected 0.1 to 86400"))
        }
    }
}
