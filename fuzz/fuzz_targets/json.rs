#![no_main]
//! JSON bodies: scoring requests, lines of bulk requests, outcomes, and the rewriting before both.

use std::borrow::Cow;

use evergreen::api::http::fuzzing::{entity, outcomes, parsed_bytes, score};
use evergreen::values::json::{Scalar, object_of_scalars, standard};
use evergreen_fuzz::{bounded, most_parsed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let most = most_parsed(bytes, parsed_bytes(bytes));
    let request = bounded(bytes, most, || score(bytes));
    let line = bounded(bytes, most, || entity(bytes));
    assert!(request.is_err() || line.is_err(), "both a request and a line");
    let records = bounded(bytes, most, || outcomes(bytes));
    assert!(
        request.is_err() || records.is_err(),
        "both a request and outcomes"
    );
    let rewritten = standard(bytes);
    assert!(
        matches!(standard(&rewritten), Cow::Borrowed(_)),
        "rewritten twice"
    );
    if serde_json::from_slice::<serde_json::Value>(bytes).is_ok() {
        assert_eq!(*rewritten, *bytes, "valid JSON was rewritten");
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(pairs) = bounded(bytes, most, || object_of_scalars(text))
    {
        assert!(
            pairs
                .iter()
                .all(|(_, value)| !matches!(value, Scalar::Float(value) if value.is_nan()))
        );
    }
});
