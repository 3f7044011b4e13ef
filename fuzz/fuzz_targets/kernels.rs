#![no_main]

use evergreen_forest::fuzzing::kernels_agree;
use evergreen_fuzz::{Endless, in_arena, quick};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Endless::new(bytes);
    quick(bytes, || in_arena(|| kernels_agree(|end| choices.below(end))));
});
