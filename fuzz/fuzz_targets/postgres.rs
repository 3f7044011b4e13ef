#![no_main]
//! Values of PostgreSQL in the binary format, of every type.

use evergreen::features::postgres::fuzzing::{TYPES, value};
use evergreen_fuzz::{Input, bounded};
use libfuzzer_sys::fuzz_target;

/// Digits of the longest `numeric`: 131,072 before the point and 16,383 after it; with a larger scale in the header.
const NUMERIC: usize = 200_000;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let kind = &TYPES[input.below(TYPES.len())];
    if let Ok(digits) = bounded(bytes, 8 * NUMERIC + 16 * bytes.len(), || value(kind, input.0)) {
        assert!(digits <= NUMERIC, "{digits}");
    }
});
