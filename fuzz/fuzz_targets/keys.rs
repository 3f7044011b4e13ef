#![no_main]
//! Key files.

use evergreen::api::auth::fuzzing::keys;
use evergreen_fuzz::{bounded, most_toml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if bounded(bytes, most_toml(bytes), || keys(text)) == Ok(0) {
        assert!(text.contains("# no keys"), "a file without keys was accepted");
    }
});
