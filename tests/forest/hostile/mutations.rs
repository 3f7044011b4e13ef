//! Random damage to real models.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{seeds, survive};

/// A kind of damage. Positions are fractions of the file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u32, u8),
    Set(u32, u8),
    Cut(u32, u32),
    Truncate(u32),
    /// Copies a range over another.
    Splice(u32, u32, u16),
    /// Replaces a number in a text.
    Number(u32, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    let number = prop_oneof![
        Just("-1".to_owned()),
        Just("0".to_owned()),
        Just("2147483647".to_owned()),
        Just("4294967295".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("1e308".to_owned()),
        Just("NaN".to_owned()),
        Just("-Infinity".to_owned()),
        (0u32..40).prop_map(|number| number.to_string()),
    ];
    prop_oneof![
        1 => (any::<u32>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => (any::<u32>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => (any::<u32>(), 1u32..60).prop_map(|(at, count)| Damage::Cut(at, count)),
        1 => any::<u32>().prop_map(Damage::Truncate),
        1 => (any::<u32>(), any::<u32>(), 1u16..200).prop_map(|(from, to, count)| Damage::Splice(from, to, count)),
        4 => (any::<u32>(), number).prop_map(|(at, number)| Damage::Number(at, number)),
    ]
}

/// Returns a position in a file of `length` bytes.
fn place(fraction: u32, length: usize) -> usize {
    fraction as usize % length.max(1)
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match damage {
        Damage::Flip(at, bit) => bytes[place(*at, length)] ^= 1 << bit,
        Damage::Set(at, byte) => bytes[place(*at, length)] = *byte,
        Damage::Cut(at, count) => {
            let from = place(*at, length);
            bytes.drain(from..(from + *count as usize).min(length));
        }
        Damage::Truncate(at) => bytes.truncate(place(*at, length)),
        Damage::Splice(from, to, count) => {
            let from = place(*from, length);
            let part = bytes[from..(from + usize::from(*count)).min(length)].to_vec();
            let to = place(*to, length);
            bytes.splice(to..(to + part.len()).min(length), part);
        }
        Damage::Number(at, number) => replace_number(bytes, place(*at, length), number),
    }
}

/// Replaces the first number at or after a position.
fn replace_number(bytes: &mut Vec<u8>, from: usize, number: &str) {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let Some(start) = bytes[from..].iter().position(is_digit).map(|at| from + at) else {
        return;
    };
    let end = bytes[start..]
        .iter()
        .position(|byte| !is_digit(byte))
        .map_or(bytes.len(), |at| start + at);
    bytes.splice(start..end, number.bytes());
}

#[test]
fn damaged_models_are_handled() {
    let seeds = seeds();
    let cases = std::env::var("EVERGREEN_MUTATIONS").map_or(20_000, |count| count.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let strategy = (0..seeds.len(), prop::collection::vec(damage(), 1..6));
    runner
        .run(&strategy, |(seed, damages)| {
            let mut bytes = seeds[seed].1.clone();
            for damage in &damages {
                apply(&mut bytes, damage);
            }
            // Rejected or not, it must return.
            let _ = survive(&bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_truncation_is_rejected() {
    for (name, bytes) in seeds() {
        // A text format's ending may be missing.
        let end = match bytes.windows(12).position(|window| window == b"end of trees") {
            Some(at) => at,
            None => bytes
                .iter()
                .rposition(|byte| !byte.is_ascii_whitespace())
                .unwrap(),
        };
        for length in 0..end {
            assert!(
                survive(&bytes[..length]).is_err(),
                "{name} cut to {length} of {end} bytes"
            );
        }
    }
}
