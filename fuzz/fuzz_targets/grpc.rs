#![no_main]
//! gRPC messages: what is counted before a message is decoded must be at least what decoding takes.

use evergreen::api::grpc::fuzzing::{MESSAGES, infer, score};
use evergreen_fuzz::{Input, bounded, quick};
use libfuzzer_sys::fuzz_target;

/// What an error takes, whatever the message.
const ERROR: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let kind = MESSAGES[input.below(MESSAGES.len())];
    let counted = quick(bytes, || (kind.bytes)(input.0));
    bounded(bytes, counted + ERROR, || (kind.decode)(input.0));
    quick(bytes, || (score(input.0), infer(input.0)));
});
