#![no_main]
//! The state file, and decisions of two servers.

use evergreen::lifecycle::fuzzing::{decisions_converge, state_survives};
use evergreen_fuzz::{Input, bounded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let choice = input.below(2);
    bounded(bytes, (16 << 10) + 1024 * bytes.len(), || {
        if choice == 0 {
            assert_ne!(
                state_survives(input.0),
                Ok(false),
                "a state changes when it is written"
            );
        } else {
            let at = input
                .0
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(input.0.len());
            let (ours, theirs) = input.0.split_at(at);
            let theirs = theirs.get(1..).unwrap_or_default();
            assert_ne!(
                decisions_converge(ours, theirs),
                Ok(false),
                "the servers never agree"
            );
        }
    });
});
