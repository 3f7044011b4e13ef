//! Decisions that hold for every server of a repository: versions rolled back, and the version held live. They are kept
//! beside the versions, in `<model>/decisions.json`. Every decision has a time, and the latest one about a matter counts: so
//! two servers may write at the same moment, and what one of them loses the next exchange brings back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::withdrawn::Withdrawn;

/// The latest decisions about one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Decisions {
    /// The version that is held live, whatever is published; its value is `None` after a release.
    hold: Decision<Option<u64>>,
    /// By version: why it was rolled back, or `None` once it may be loaded again.
    rolled_back: BTreeMap<u64, Decision<Option<Withdrawn>>>,
}

/// A decision and its time, in seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Decision<T> {
    value: T,
    at: f64,
}

impl<T: PartialOrd> Decision<T> {
    /// Whether it is later than another one. Of two at the same time a version that is rolled back or held prevails: without
    /// an order, servers would overwrite each other's decisions for ever.
    fn prevails(&self, other: &Self) -> bool {
        (self.at, &self.value) > (other.at, &other.value)
    }
}

impl Decisions {
    /// The file of the decisions about a model, in the repository.
    pub(super) fn path(model: &str) -> String {
        format!("{model}/decisions.json")
    }

    /// Reads the content of the file at `path`; without one nothing is decided.
    ///
    /// # Errors
    /// It is not such a file.
    pub(super) fn parse(path: &str, content: Option<&[u8]>) -> Result<Self, String> {
        let parse = |bytes: &[u8]| serde_json::from_slice(bytes);
        let parsed = content.map_or_else(|| Ok(Self::default()), parse);
        parsed.map_err(|error| format!("{path}: {error}; restore or delete it"))
    }

    /// The version that is held live.
    pub(super) fn hold(&self) -> Option<u64> {
        self.hold.value
    }

    /// The versions that are rolled back.
    pub(super) fn rolled_back(&self) -> impl Iterator<Item = (u64, &Withdrawn)> {
        let versions = self.rolled_back.iter();
        versions.filter_map(|(&number, decision)| Some((number, decision.value.as_ref()?)))
    }

    /// Whether a version is rolled back.
    pub(super) fn has_rolled_back(&self, number: u64) -> bool {
        self.rolled_back
            .get(&number)
            .is_some_and(|decision| decision.value.is_some())
    }

    /// Records what is decided `now`, where that differs from the latest decisions.
    pub(super) fn record(&mut self, hold: Option<u64>, rolled_back: &BTreeMap<u64, Withdrawn>, now: f64) {
        if self.hold.value != hold {
            self.hold = Decision { value: hold, at: now };
        }
        for (&number, decision) in &mut self.rolled_back {
            if decision.value.is_some() && !rolled_back.contains_key(&number) {
                *decision = Decision { value: None, at: now };
            }
        }
        for (&number, withdrawn) in rolled_back {
            let decision = self.rolled_back.entry(number).or_default();
            if decision.value.as_ref() != Some(withdrawn) {
                *decision = Decision {
                    value: Some(withdrawn.clone()),
                    at: now,
                };
            }
        }
    }

    /// The latest decisions of both, the same on every server.
    pub(super) fn merged(&self, theirs: &Self) -> Self {
        let mut merged = self.clone();
        if theirs.hold.prevails(&merged.hold) {
            merged.hold = theirs.hold.clone();
        }
        for (number, decision) in &theirs.rolled_back {
            let own = merged.rolled_back.entry(*number).or_default();
            if decision.prevails(own) {
                *own = decision.clone();
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::repository::VersionFiles;
    use crate::storage::Listing;

    fn withdrawn() -> Withdrawn {
        let files: VersionFiles = Ok(Listing::Folder(Vec::new()));
        Withdrawn::new(Some(&files), true, "wrong scores").unwrap()
    }

    fn decided(hold: Option<u64>, versions: &[u64], now: f64) -> Decisions {
        let mut decisions = Decisions::default();
        let versions = versions.iter().map(|&number| (number, withdrawn())).collect();
        decisions.record(hold, &versions, now);
        decisions
    }

    fn versions(decisions: &Decisions) -> Vec<u64> {
        decisions.rolled_back().map(|(number, _)| number).collect()
    }

    #[test]
    fn decisions_of_two_servers_at_the_same_time_are_both_kept() {
        let (ours, theirs) = (decided(Some(1), &[2], 10.0), decided(None, &[3], 10.5));
        for merged in [ours.merged(&theirs), theirs.merged(&ours)] {
            assert_eq!((merged.hold(), versions(&merged)), (Some(1), vec![2, 3]));
        }
    }

    #[test]
    fn a_lost_write_is_no_release_and_a_release_is_one() {
        let ours = decided(Some(1), &[2], 10.0);
        assert_eq!(
            ours.merged(&Decisions::default()),
            ours,
            "the file was overwritten"
        );
        let mut released = ours.clone();
        released.record(None, &BTreeMap::new(), 20.0);
        let merged = ours.merged(&released);
        assert_eq!((merged.hold(), versions(&merged)), (None, vec![]));
        // An older server does not bring it back.
        assert_eq!(released.merged(&ours), released);
    }

    #[test]
    fn servers_agree_on_decisions_of_the_same_moment() {
        let ours = decided(Some(1), &[2], 10.0);
        let theirs = decided(None, &[], 10.0);
        let merged = ours.merged(&theirs);
        assert_eq!((merged.hold(), versions(&merged)), (Some(1), vec![2]));
        assert_eq!(theirs.merged(&ours), merged);
        let other = decided(Some(3), &[2], 10.0);
        assert_eq!(other.merged(&merged), merged.merged(&other));
    }

    #[test]
    fn the_file_is_read_back_as_written() {
        let decisions = decided(Some(1), &[2], 10.25);
        let text = serde_json::to_vec(&decisions).unwrap();
        assert_eq!(serde_json::from_slice::<Decisions>(&text).unwrap(), decisions);
    }
}
