#![no_main]
//! Lines of a bulk request in any chunks, against a split of the whole.

use evergreen::api::http::fuzzing::lines;
use evergreen_fuzz::{Input, block_on, quick};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (longest, most) = (1 + input.below(40), 1 + input.below(8));
    let chunks = input.chunks();
    let whole = chunks.concat();
    let found = quick(bytes, || block_on(lines(chunks, longest, most))).expect("the body is whole");
    let text = whole.strip_suffix(b"\n").unwrap_or(&whole);
    let expected = text
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .filter_map(|(line, number)| {
            if line.len() > longest {
                return Some((number, None));
            }
            (!line.iter().all(u8::is_ascii_whitespace)).then_some((number, Some(line)))
        });
    let found: Vec<(u64, Option<&[u8]>)> = found
        .iter()
        .map(|(number, text)| (*number, text.as_deref()))
        .collect();
    assert_eq!(
        found,
        expected.collect::<Vec<_>>(),
        "of at most {longest} bytes, in batches of {most}"
    );
});
