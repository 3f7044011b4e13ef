#![no_main]
//! Feast's values, times and registry.

use evergreen::features::feast::fuzzing::{registry, time, value};
use evergreen_fuzz::{Input, bounded, quick};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    if input.below(2) == 0 {
        let same = bounded(bytes, 4096 + 16 * bytes.len(), || value(input.0));
        assert_ne!(same, Ok(false), "a value changes when it is written");
        quick(bytes, || time(input.0));
    } else {
        // An empty view of two bytes takes 160.
        let _ = bounded(bytes, 4096 + 512 * bytes.len(), || registry(input.0));
    }
});
