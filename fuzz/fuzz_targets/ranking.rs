#![no_main]
//! Page tokens of rankings. What is read as one is written as it was.

use evergreen::scoring::ranking::fuzz_page_token;
use evergreen_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let same = bounded(bytes, 4096 + 8 * bytes.len(), || fuzz_page_token(text));
    assert_ne!(same, Some(false), "a token changed on its way");
});
