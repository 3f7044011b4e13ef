//! The readers of the key file and of proxies' headers, for the fuzz targets.

use std::net::IpAddr;
use std::path::Path;

use axum::http::HeaderMap;

use super::forwarded;
use super::keys::ApiKeys;
use crate::values::network::Network;

/// Parses the text of a key file; returns the number of keys.
///
/// # Errors
/// It is not valid.
pub fn keys(text: &str) -> Result<usize, String> {
    ApiKeys::parse(Path::new("keys.toml"), text).map(|keys| keys.len())
}

/// Returns the address of the client of a request that came from `peer`.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    forwarded::client_address(peer, headers, trusted)
}
