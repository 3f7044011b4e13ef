#![no_main]
//! The headers of proxies, and the networks of `clients.trusted_proxies`.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use evergreen::api::auth::fuzzing::client_address;
use evergreen::values::network::Network;
use evergreen_fuzz::{Input, quick};
use libfuzzer_sys::fuzz_target;

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"]
        .map(|text| text.parse().expect("a network"))
        .into();
    let choice = input.below(4);
    let mut headers = HeaderMap::new();
    for line in input.0.split(|&byte| byte == b'\n') {
        let name = if choice < 2 {
            "x-forwarded-for"
        } else {
            "forwarded"
        };
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let found = quick(bytes, || client_address(PROXY, &headers, &trusted));
    assert_eq!(found, found.to_canonical());
    // Nobody is believed who is not trusted.
    let stranger = IpAddr::from([203, 0, 113, 9]);
    assert_eq!(client_address(stranger, &headers, &trusted), stranger);
    if let Ok(text) = str::from_utf8(input.0)
        && let Ok(network) = text.parse::<Network>()
    {
        let written = network.to_string();
        assert_eq!(
            written.parse::<Network>().expect("as written").to_string(),
            written
        );
    }
});
