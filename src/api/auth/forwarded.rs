//! The address of a client behind proxies. Only proxies that the settings trust are believed: each adds the address that
//! it was called from at the right, so that the right-most address outside of them is the first that nobody can forge.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

use crate::values::network::Network;

/// The header of most proxies: a list of addresses.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the address of the client of a request that came from `peer`.
///
/// A client could send the header that its proxy does not set, so if both headers are there and name different clients,
/// the proxy's own address counts.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let listed = headers.contains_key(X_FORWARDED_FOR);
    let listed = listed.then(|| right_most(peer, hops(headers, X_FORWARDED_FOR, listed_address), trusted));
    let standard = headers.contains_key(header::FORWARDED);
    let standard = standard.then(|| {
        right_most(
            peer,
            hops(headers, header::FORWARDED.as_str(), forwarded_for),
            trusted,
        )
    });
    match (listed, standard) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => peer,
    }
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The addresses in a header from right to left; `None` for what is not an address.
fn hops<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
    read: impl Fn(&str) -> Option<IpAddr> + 'a,
) -> impl Iterator<Item = Option<IpAddr>> + 'a {
    let lines = headers.get_all(name).iter().rev();
    let parts = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    parts.map(move |part| read(part.trim()))
}

/// Returns the first untrusted address from the right. What is not an address ends the search, and the trusted proxy
/// before it counts.
fn right_most(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[Network]) -> IpAddr {
    let mut last = peer;
    for hop in hops {
        let Some(address) = hop else { break };
        last = address.to_canonical();
        if !is_trusted(last, trusted) {
            break;
        }
    }
    last
}

/// Reads an address with or without a port.
fn listed_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Reads `for=ADDRESS` of an element of RFC 7239's header.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    })?;
    listed_address(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(headers: &[(&'static str, &str)], peer: &str) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn the_right_most_untrusted_address_counts() {
        for (peer, list, expected) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.7", "198.51.100.1"),
            ("10.0.0.1", "1.1.1.1,198.51.100.1:4711", "198.51.100.1"),
            ("fd00::1", "[2001:db8::1]:443", "2001:db8::1"),
            ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, unknown, 10.0.0.7", "10.0.0.7"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.8, 10.0.0.7", "10.0.0.8"),
        ] {
            assert_eq!(
                address(&[(X_FORWARDED_FOR, list)], peer),
                expected,
                "{peer} {list}"
            );
        }
        let lines = [(X_FORWARDED_FOR, "1.1.1.1"), (X_FORWARDED_FOR, "198.51.100.1")];
        assert_eq!(address(&lines, "10.0.0.1"), "198.51.100.1");
    }

    #[test]
    fn the_standard_header_counts_too_but_not_against_the_other() {
        for (value, expected) in [
            ("for=198.51.100.1;proto=https", "198.51.100.1"),
            ("for=1.1.1.1, For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=1.1.1.1, proto=https", "10.0.0.1"),
            ("for=_hidden", "10.0.0.1"),
        ] {
            assert_eq!(address(&[("forwarded", value)], "10.0.0.1"), expected, "{value}");
        }
        let both = |value| {
            address(
                &[("forwarded", value), (X_FORWARDED_FOR, "198.51.100.1")],
                "10.0.0.1",
            )
        };
        assert_eq!(both("for=198.51.100.1"), "198.51.100.1");
        assert_eq!(both("for=192.0.2.5"), "10.0.0.1");
    }
}
