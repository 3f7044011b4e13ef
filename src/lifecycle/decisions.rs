//! Decisions that hold for every server of a repository: versions rolled back, and the version held live. They are kept
//! beside the versions, in `<model>/decisions.json`. Each server merges what others have changed with what it has changed
//! itself; delete the file to forget all decisions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::withdrawn::Withdrawn;

/// The decisions about one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Decisions {
    /// The version that is held live, whatever is published.
    pub(super) hold: Option<u64>,
    /// Versions that were rolled back, by number.
    pub(super) rolled_back: BTreeMap<u64, Withdrawn>,
}

impl Decisions {
    /// These decisions, with what others changed from `base` to `theirs`.
    pub(super) fn merged(&self, base: &Self, theirs: &Self) -> Self {
        let mut merged = self.clone();
        if theirs.hold != base.hold {
            merged.hold = theirs.hold;
        }
        for (number, withdrawn) in &theirs.rolled_back {
            if base.rolled_back.get(number) != Some(withdrawn) {
                merged.rolled_back.insert(*number, withdrawn.clone());
            }
        }
        for number in base.rolled_back.keys() {
            if !theirs.rolled_back.contains_key(number) {
                merged.rolled_back.remove(number);
            }
        }
        merged
    }
}
