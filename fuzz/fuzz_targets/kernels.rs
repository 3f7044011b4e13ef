#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| evergreen_fuzz::kernels_agree(bytes));
