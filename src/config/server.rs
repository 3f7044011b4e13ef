//! `[server]`: ports, connections and shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// The three ports, and how long connections and shutdown may take.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// Address of REST, its documentation (`/docs`) and `/openapi.json`.
    #[serde(deserialize_with = "address")]
    pub http: SocketAddr,
    /// Address of gRPC: scoring, health and reflection.
    #[serde(deserialize_with = "address")]
    pub grpc: SocketAddr,
    /// Address of the operations port: `/livez`, `/readyz`, `/metrics` and administration. Keep it off the public
    /// network.
    #[serde(deserialize_with = "address")]
    pub ops: SocketAddr,
    /// Seconds to keep serving after SIGTERM while `/readyz` fails, so that load balancers notice. In Kubernetes: 5.
    pub drain_seconds: u64,
    /// Seconds to finish running requests when stopping; those left are cut off.
    pub grace_seconds: u64,
    /// Maximum connections per port; more are closed.
    pub connections: usize,
    /// Seconds a client may take for the headers of a request, or for a TLS handshake.
    pub header_seconds: u64,
    /// Seconds a client may take for the body of a REST request; bulk requests have `[streams]`.
    pub body_seconds: u64,
    /// Seconds an HTTP/1.1 connection may wait for its next request. Set it above the load balancer's own limit, or
    /// it may use a connection that is being closed.
    pub idle_seconds: u64,
    /// Seconds a client may take to receive 32 KiB of an answer. Then its HTTP/2 stream is reset, or its HTTP/1.1
    /// connection closed. While memory is short (`limits.memory`) it has 2 seconds.
    pub response_seconds: u64,
    /// Seconds between two checks of the files of `[tls]` and `[auth]`. Valid changes take effect; an invalid file is
    /// logged, and the previous one stays in use.
    pub poll_seconds: f64,
    /// Minimum size in bytes of a response to be compressed, for clients that accept gzip or zstd (over REST also
    /// deflate). Smaller ones are not worth the time: gRPC clients often offer gzip by default.
    pub compress_bytes: usize,
}

/// Reads an address, with an error that shows an example.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "expected an address such as \"127.0.0.1:8080\", found {text:?}"
        ))
    })
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
            response_seconds: 30,
            poll_seconds: 10.0,
            compress_bytes: 8 << 10,
        }
    }
}

impl ServerSection {
    /// The interval between two checks of certificates and keys.
    pub fn poll(&self) -> Duration {
        Duration::from_secs_f64(self.poll_seconds)
    }

    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, is_zero) in [
            ("server.connections", self.connections == 0),
            ("server.header_seconds", self.header_seconds == 0),
            ("server.body_seconds", self.body_seconds == 0),
            ("server.idle_seconds", self.idle_seconds == 0),
            ("server.response_seconds", self.response_seconds == 0),
        ] {
            if is_zero {
                return Err(format!(
                    "{key}: expected at least 1, found 0; remove it to use the default"
                ));
            }
        }
        let poll = self.poll_seconds;
        if (0.1..=86_400.0).contains(&poll) {
            Ok(())
        } else {
            Err(format!(
                "server.poll_seconds: expected 0.1 to 86400, found {poll}"
            ))
        }
    }
}
