#![no_main]

use evergreen_forest::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| evergreen_fuzz::load_and_predict(bytes, Format::XgBoost));
