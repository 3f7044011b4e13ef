#![no_main]
//! Replies of Redis, in the protocol and as texts.

use std::cell::OnceCell;

use evergreen::features::redis::fuzzing::RedisReader;
use evergreen_fuzz::{Input, bounded};
use libfuzzer_sys::fuzz_target;

/// The client library makes room for 4,096 elements when a set or map is announced, at each of 100 levels.
const LIBRARY: usize = 32 << 20;

thread_local! {
    static READERS: [OnceCell<RedisReader>; 2] = const { [OnceCell::new(), OnceCell::new()] };
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (json, protocol) = (input.below(2), input.below(2) == 0);
    READERS.with(|readers| {
        let reader = readers[json].get_or_init(|| RedisReader::new(json == 1).expect("the default settings"));
        let most = LIBRARY + 512 * bytes.len();
        if protocol {
            // What is not the protocol is an error of the client library.
            let _ = bounded(bytes, most, || reader.reply(input.0)).is_ok();
        } else {
            bounded(bytes, most, || reader.texts(input.0));
        }
    });
});
