//! Tests of the decisions about versions.

use std::sync::OnceLock;

use super::*;
use crate::features::metrics::FeatureMetrics;
use crate::metrics::Registry;
use crate::models::report::{GateReport, GateStep};
use crate::models::sample;
use crate::scoring::Servable;
use crate::storage::{FileStat, Listing};

fn servable() -> Arc<Servable> {
    static SAMPLE: OnceLock<Arc<Servable>> = OnceLock::new();
    let make = || {
        let metrics = FeatureMetrics::new(&Registry::default()).unwrap();
        Arc::new(Servable::new(Arc::new(sample::version(1)), None, &[], &metrics))
    };
    SAMPLE.get_or_init(make).clone()
}

/// Files that differ by their tag.
fn files(tag: &str) -> VersionFiles {
    Ok(Listing::Folder(vec![FileStat {
        name: "model.ubj".to_owned(),
        size: 5,
        tag: format!("{tag} inode"),
    }]))
}

fn poll(numbers: &[u64]) -> BTreeMap<u64, VersionFiles> {
    numbers.iter().map(|&number| (number, files("t1"))).collect()
}

fn refusal(step: GateStep) -> GateReport {
    let mut report = GateReport::default();
    report.fail(step, "it does not fit".to_owned());
    report
}

/// A model with a policy (TOML) whose versions have been found, and those in `loaded` have passed the gate.
fn state(policy: &str, found: &[u64], loaded: &[u64]) -> ModelState {
    let mut state = ModelState::new(&toml::from_str(policy).unwrap());
    state.observe(&poll(found), Instant::now());
    for number in loaded {
        state.versions.get_mut(number).unwrap().accept(servable());
    }
    state
}

#[test]
fn the_next_version_for_the_gate_follows_the_policy() {
    for (policy, found, loaded, expected) in [
        ("", &[1, 2, 3][..], &[][..], Some(3)),
        ("", &[1, 2, 3], &[3], None),
        ("versions = { latest = 2 }", &[1, 2, 3], &[3], Some(2)),
        ("versions = { latest = 2 }", &[1, 2, 3], &[3, 2], None),
        ("versions = \"all\"", &[1, 2, 3], &[3, 2], Some(1)),
        ("versions = { only = [1] }", &[1, 2, 3], &[], Some(1)),
        ("versions = { only = [1] }", &[1, 2, 3], &[1], None),
        ("default = 2", &[1, 2, 3], &[3], Some(2)),
        ("labels = { stable = 1 }", &[1, 2, 3], &[3], Some(1)),
        ("canary = { version = 3, share = 0.1 }", &[1, 2, 3], &[3], Some(2)),
        ("shadow = { version = 3 }", &[2, 3], &[3, 2], None),
    ] {
        let state = state(policy, found, loaded);
        assert_eq!(state.next(), expected, "{policy}, {found:?}, {loaded:?}");
    }
    let mut unloaded = state("", &[1], &[]);
    unloaded.unloaded = true;
    assert_eq!(unloaded.next(), None);
}

#[test]
fn the_live_version_is_held_preferred_or_the_newest() {
    for (policy, hold, live, loaded, expected) in [
        ("", None, None, &[1, 2][..], Some(2)),
        ("", Some(1), None, &[1, 2], Some(1)),
        ("", Some(3), None, &[1, 2], Some(2)),
        ("default = 1", None, None, &[1, 2], Some(1)),
        (
            "default = \"stable\"\nlabels = { stable = 1 }",
            None,
            None,
            &[1, 2],
            Some(1),
        ),
        ("default = 3", None, Some(1), &[1, 2], Some(1)),
        ("default = 3", None, None, &[1, 2], Some(2)),
        (
            "canary = { version = 2, share = 0.1 }",
            None,
            None,
            &[1, 2],
            Some(1),
        ),
        ("canary = { version = 2, share = 0.1 }", None, None, &[2], Some(2)),
        ("", None, None, &[], None),
    ] {
        let mut state = state(policy, &[1, 2, 3], loaded);
        (state.hold, state.live) = (hold, live);
        assert_eq!(state.choose(), expected, "{policy}, hold {hold:?}, live {live:?}");
    }
}

#[test]
fn a_version_whose_files_are_gone_gives_way_but_serves_if_it_is_the_last() {
    let mut state = state("", &[1, 2], &[1, 2]);
    state.live = Some(2);
    state.observe(&poll(&[1]), Instant::now());
    assert_eq!((state.versions.len(), state.choose()), (2, Some(1)));
    state.observe(&poll(&[]), Instant::now());
    assert_eq!(state.choose(), Some(2));
    assert_eq!(
        state.statuses()[0].reason.as_deref(),
        Some("its files are gone; it stays in memory")
    );
}

#[test]
fn only_what_nothing_needs_is_unloaded() {
    for (policy, live, previous, expected) in [
        ("", Some(3), None, vec![2, 1]),
        ("", Some(3), Some(2), vec![1]),
        ("", Some(1), None, vec![2]),
        ("versions = { latest = 2 }", Some(3), None, vec![1]),
        ("versions = \"all\"", Some(3), None, vec![]),
        ("labels = { old = 1 }", Some(3), None, vec![2]),
        ("versions = { only = [2] }", Some(2), None, vec![3, 1]),
    ] {
        let mut state = state(policy, &[1, 2, 3], &[1, 2, 3]);
        state.live = live;
        state.previous = previous.map(|version| PreviousVersion {
            version,
            until: Instant::now(),
        });
        assert_eq!(
            state.unwanted(),
            expected,
            "{policy}, live {live:?}, previous {previous:?}"
        );
    }
}

#[test]
fn changed_files_are_a_new_chance_and_unchanged_ones_are_not() {
    let mut state = state("", &[1], &[]);
    let now = Instant::now();
    let version = state.versions.get_mut(&1).unwrap();
    assert!(!version.refuse(refusal(GateStep::Golden), false, now));
    state.observe(&poll(&[1]), now);
    assert_eq!(state.next(), None);
    state.observe(&BTreeMap::from([(1, files("t2"))]), now);
    assert_eq!(state.next(), Some(1));
}

#[test]
fn files_that_do_not_agree_settle_for_a_while_and_are_refused_then() {
    let mut state = state("", &[1], &[]);
    let now = Instant::now();
    let version = state.versions.get_mut(&1).unwrap();
    assert!(version.refuse(refusal(GateStep::Checksums), true, now));
    assert_eq!(state.observe(&poll(&[1]), now), Vec::<u64>::new());
    let later = now + crate::lifecycle::SETTLE;
    assert_eq!(state.observe(&poll(&[1]), later), [1]);
    assert!(matches!(state.versions[&1].stage, Stage::Refused));
}

#[test]
fn a_loaded_version_stays_while_its_changed_files_are_refused() {
    let mut state = state("", &[1], &[1]);
    state.live = Some(1);
    let now = Instant::now();
    state.observe(&BTreeMap::from([(1, files("t2"))]), now);
    assert_eq!(state.next(), Some(1));
    state
        .versions
        .get_mut(&1)
        .unwrap()
        .refuse(refusal(GateStep::Golden), false, now);
    assert_eq!((state.next(), state.choose()), (None, Some(1)));
}

#[test]
fn a_version_that_was_rolled_back_stays_away_until_its_files_change() {
    let mut state = state("default = \"stable\"\nlabels = { stable = 2 }", &[1, 2], &[1, 2]);
    (state.live, state.hold) = (Some(2), Some(2));
    state.roll_back(2, 1, "wrong scores");
    assert_eq!(
        (state.choose(), state.hold, state.labels["stable"]),
        (Some(1), None, 1)
    );
    // It disappears and comes back: nothing changes.
    let now = Instant::now();
    state.observe(&poll(&[1]), now);
    state.observe(&poll(&[1, 2]), now);
    assert_eq!(state.next(), None);
    assert!(matches!(state.versions[&2].stage, Stage::RolledBack));
    // An inode that differs is no change, another time is.
    state.reinstate(2);
    assert_eq!(state.next(), Some(2));
}

#[test]
fn a_changed_policy_overrides_commands_and_an_unchanged_one_does_not() {
    let policy = toml::from_str("labels = { stable = 1 }").unwrap();
    let mut state = ModelState::new(&policy);
    state.labels.insert("stable".to_owned(), 2);
    state.apply_policy(&policy);
    assert_eq!(state.labels["stable"], 2);
    state.apply_policy(&toml::from_str("labels = { stable = 3 }").unwrap());
    assert_eq!(state.labels["stable"], 3);
}

#[test]
fn only_a_newer_version_that_nobody_asked_for_is_compared_once() {
    let mut state = state("", &[1, 2], &[1, 2]);
    state.live = Some(1);
    assert_eq!(state.replacement(), Some((1, 2)));
    state.hold = Some(2);
    assert_eq!(state.replacement(), None, "held");
    state.hold = None;
    state.versions.get_mut(&2).unwrap().accepted_over = Some(1);
    assert_eq!(state.replacement(), None, "accepted");
    state.versions.get_mut(&2).unwrap().accepted_over = None;
    state.versions.get_mut(&2).unwrap().by_command = true;
    assert_eq!(state.replacement(), None, "loaded by command");
    state.observe(
        &BTreeMap::from([(1, files("t1")), (2, files("t2"))]),
        Instant::now(),
    );
    assert_eq!(state.replacement(), Some((1, 2)), "its files have changed since");
    state.live = Some(2);
    assert_eq!(state.replacement(), None, "no newer one");
}
