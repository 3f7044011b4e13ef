#![no_main]
//! The elements of binary tensors. What an answer may hold is written and read again.

use evergreen::api::http::fuzzing::{tensor, write_tensor};
use evergreen::scoring::tensor::{Datatype, Elements};
use evergreen_fuzz::{Input, bounded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let names: Vec<&str> = Datatype::names().collect();
    let datatype = Datatype::named(names[input.below(names.len())]).expect("a known name");
    let Ok(elements) = bounded(bytes, 4096 + 64 * bytes.len(), || tensor(datatype, input.0)) else {
        return;
    };
    let same = match (datatype, &elements) {
        (Datatype::Int32 | Datatype::Int64 | Datatype::Bytes | Datatype::Fp64, _) => true,
        // A signalling NaN becomes a quiet one.
        (Datatype::Fp32, Elements::Float(values)) => values.iter().all(|value| !value.is_nan()),
        _ => false,
    };
    if same {
        assert_eq!(write_tensor(datatype, &elements), input.0, "{datatype:?}");
    }
});
