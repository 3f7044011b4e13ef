#![no_main]
//! `bundle.toml`, and the settings file.

use std::path::Path;

use evergreen::config::Config;
use evergreen::models::contract::Contract;
use evergreen::toml_text;
use evergreen_fuzz::{Input, bounded, most_toml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let settings = input.below(2) == 0;
    let Ok(text) = str::from_utf8(input.0) else { return };
    bounded(bytes, most_toml(bytes), || {
        // What is wrong with it is an error.
        if settings {
            let _ = toml_text::parse::<Config>(Path::new("evergreen.toml"), text)
                .is_ok_and(|config| config.validate().is_ok());
        } else {
            let _ = Contract::parse(Path::new("bundle.toml"), text).is_ok();
        }
    });
});
