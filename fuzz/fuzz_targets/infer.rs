#![no_main]
//! Open Inference bodies: JSON, with binary tensors after it.

use evergreen::api::http::fuzzing::{infer, parsed_bytes};
use evergreen_fuzz::{Input, bounded, most_parsed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let head = match u16::from_le_bytes(input.bytes()) {
        0 => None,
        head => Some(usize::from(head)),
    };
    let most = most_parsed(bytes, parsed_bytes(input.0) + 64 * input.0.len());
    if let Ok(request) = bounded(bytes, most, || infer(head, input.0)) {
        for tensor in &request.inputs {
            assert_eq!(tensor.shape.iter().product::<usize>(), tensor.elements.len());
        }
    }
});
