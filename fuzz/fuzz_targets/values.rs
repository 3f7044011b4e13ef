#![no_main]
//! Texts as values of features: numbers, times and categories.

use evergreen::values::cell::Cell;
use evergreen::values::feature_type::FeatureType;
use evergreen_fuzz::{bounded, quick};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for kind in FeatureType::ALL {
        for cell in [Cell::Text(text), Cell::Untyped(text)] {
            let strict = bounded(bytes, 4096 + 8 * bytes.len(), || cell.number(kind));
            let tolerant = quick(bytes, || cell.tolerant(kind));
            let Ok(Some(number)) = strict else { continue };
            assert!(!number.is_nan(), "{text:?} as {kind:?} is NaN");
            // The tolerant reading takes more texts, but none as something else.
            if let (Cell::Untyped(_), Ok(Some(tolerant))) = (cell, tolerant) {
                assert_eq!(tolerant.to_bits(), number.to_bits(), "{text:?} as {kind:?}");
            }
            if kind == FeatureType::Int {
                assert_eq!(number.fract(), 0.0, "{text:?}");
            }
            // The shortest text of a number reads back as it.
            if kind == FeatureType::Float {
                let written = number.to_string();
                let again = Cell::Untyped(&written)
                    .number(kind)
                    .expect("as written")
                    .expect("a number");
                assert_eq!(again.to_bits(), number.to_bits(), "{text:?}");
            }
        }
    }
    let mut digits = String::new();
    if let Ok(Some(name)) = Cell::Text(text).category(&mut digits) {
        assert_eq!(name, text);
    }
});
