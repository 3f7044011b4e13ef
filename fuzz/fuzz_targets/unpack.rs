#![no_main]
//! Bodies with a `content-encoding`.

use evergreen::api::http::fuzzing::unpack;
use evergreen_fuzz::{Input, block_on, bounded};
use libfuzzer_sys::fuzz_target;

/// The encodings, and one that is unknown.
const ENCODINGS: [&str; 6] = ["gzip", "deflate", "zstd", "identity", " X-GZIP ", "br"];

/// A decoder with its window, and buffers.
const DECODER: usize = 10 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let encoding = ENCODINGS[input.below(ENCODINGS.len())].as_bytes();
    let chunks = if input.below(2) == 0 {
        input.chunks()
    } else {
        vec![input.0.to_vec()]
    };
    if let Some(Ok(unpacked)) = bounded(bytes, DECODER + 4 * bytes.len(), || {
        block_on(unpack(encoding, chunks))
    }) {
        assert!(
            unpacked <= (1 << 20) + 100 * bytes.len(),
            "{unpacked} bytes of {}",
            bytes.len()
        );
    }
});
