#![no_main]

use evergreen_forest::fuzzing::kernels_agree;
use evergreen_fuzz::{Input, quick};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    quick(bytes, || kernels_agree(|end| input.below(end)));
});
