#![no_main]
//! The state file, decisions of two servers, and saved windows of drift.

use std::path::Path;
use std::sync::LazyLock;

use evergreen::lifecycle::fuzzing::{decisions_converge, state_survives};
use evergreen::models::ModelVersion;
use evergreen::models::gate::validate;
use evergreen::observe::fuzzing::windows_survive;
use evergreen_fuzz::{Input, bounded};
use libfuzzer_sys::fuzz_target;

/// The sample, whose windows the seed has.
static MODEL: LazyLock<ModelVersion> = LazyLock::new(|| {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/churn/1");
    validate(&bundle, "churn", 1).expect("the sample")
});

/// Two sets of customers known without a lock, and the windows of a monitor.
const MONITORS: usize = 4 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let choice = input.below(3);
    if choice == 2 {
        let model = &*MODEL;
        bounded(bytes, MONITORS + 1024 * bytes.len(), || {
            // Soon after the seed was saved.
            let same = windows_survive(input.0, model, 3620.0);
            assert_ne!(
                same,
                Ok(false),
                "windows change when they are written, or later ones do not count"
            );
        });
        return;
    }
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
