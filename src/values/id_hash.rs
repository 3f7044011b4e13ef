//! Hashes of ids: alike on every server, or secret.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::entity_id::IdRef;

/// The length of the longest whole number: `-9223372036854775808`.
const MOST_DIGITS: usize = 20;

/// Hashes ids for one purpose, alike on every server and after every restart. Purposes draw independently of each other. A text
/// and an integer of the same digits are the same id.
///
/// FNV-1a over the purpose, a zero byte and the id, finished by the mixing steps of SplitMix64: the high bits of FNV alone are
/// not uniform for short texts.
#[derive(Clone, Copy, Debug)]
pub struct IdHasher(u64);

impl IdHasher {
    /// The hasher for a purpose.
    pub const fn new(purpose: &str) -> Self {
        Self(fnv(fnv(0xcbf2_9ce4_8422_2325, purpose.as_bytes()), &[0]))
    }

    /// The hash of an id.
    pub fn hash(self, id: IdRef<'_>) -> u64 {
        let hash = match id {
            IdRef::Text(text) => fnv(self.0, text.as_bytes()),
            IdRef::Int(number) => with_digits(number, |digits| fnv(self.0, digits)),
        };
        let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A share of all hashes.
#[derive(Clone, Copy, Debug)]
pub struct HashShare(Option<u64>);

impl HashShare {
    /// A share from 0 to 1. A larger share has all hashes of a smaller one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the share of all 64-bit numbers; the cast saturates"
    )]
    pub fn new(share: f64) -> Self {
        Self((share < 1.0).then_some((share * u64::MAX as f64) as u64))
    }

    /// Whether it has all hashes.
    pub fn is_all(self) -> bool {
        self.0.is_none()
    }

    /// Whether it has a hash.
    pub fn has(self, hash: u64) -> bool {
        self.0.is_none_or(|limit| hash < limit)
    }
}

/// Gives `work` the digits of a number, without allocating.
fn with_digits<T>(number: i64, work: impl FnOnce(&[u8]) -> T) -> T {
    let mut digits = [0; MOST_DIGITS];
    let mut rest = &mut digits[..];
    // Cannot fail: it has room for the longest number.
    let _ = write!(rest, "{number}");
    let unused = rest.len();
    work(&digits[..MOST_DIGITS - unused])
}

/// Continues FNV-1a over some bytes.
const fn fnv(mut hash: u64, mut bytes: &[u8]) -> u64 {
    while let [byte, rest @ ..] = bytes {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        bytes = rest;
    }
    hash
}

/// Hashes ids and numbers for one process: fast, and nobody outside can choose ids by their place in a table. It is saved
/// where hashes are.
///
/// A number is multiplied by a secret one, and the two halves of the product are folded together, so that every bit counts.
/// An id is taken in words of eight bytes, each into the hash of those before, as wyhash does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SecretHasher {
    add: u64,
    multiply: u64,
}

impl Default for SecretHasher {
    fn default() -> Self {
        let state = RandomState::new();
        Self {
            add: state.hash_one(0_u8),
            multiply: state.hash_one(1_u8) | 1,
        }
    }
}

impl SecretHasher {
    /// The hash of an id. A text and an integer of the same digits are the same id.
    pub fn id(self, id: IdRef<'_>) -> u64 {
        match id {
            IdRef::Text(text) => self.bytes(text.as_bytes()),
            IdRef::Int(number) => with_digits(number, |digits| self.bytes(digits)),
        }
    }

    /// The hash of a number.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the product")]
    pub fn number(self, number: u64) -> u64 {
        let product = u128::from(number ^ self.add) * u128::from(self.multiply);
        (product >> 64) as u64 ^ product as u64
    }

    fn bytes(self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let whole = words.iter().fold(bytes.len() as u64, |hash, &word| {
            self.number(hash ^ u64::from_le_bytes(word))
        });
        self.number(whole ^ last_word(rest))
    }
}

/// A word of up to seven bytes. Of the same number of bytes, no two have the same word.
fn last_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(&first), Some(&last)) => {
            u64::from(u32::from_le_bytes(first)) << 32 | u64::from(u32::from_le_bytes(last))
        }
        _ => bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_ignores_the_form_of_an_id_and_is_uniform() {
        let [one, other] = ["m", "n"].map(IdHasher::new);
        assert_eq!(one.hash(IdRef::Int(42)), one.hash(IdRef::Text("42")));
        assert_ne!(one.hash(IdRef::Int(42)), other.hash(IdRef::Int(42)));
        let (churn, tenth) = (IdHasher::new("churn"), HashShare::new(0.1));
        let count = (0..10_000)
            .filter(|&id| tenth.has(churn.hash(IdRef::Int(id))))
            .count();
        assert!((900..1100).contains(&count), "{count}");
        let [none, all] = [0.0, 1.0].map(HashShare::new);
        assert!(all.is_all() && all.has(u64::MAX) && !none.has(0));
    }

    #[test]
    fn hashes_are_those_of_earlier_versions() {
        // A canary or a sample must not change its customers with a new build: FNV-1a and SplitMix64, computed in Python.
        assert_eq!(
            IdHasher::new("churn").hash(IdRef::Text("C-1042")),
            0x278f_cf68_2473_7e06
        );
    }

    #[test]
    fn secret_hashes_differ_by_process_and_are_uniform() {
        let [one, other] = [(); 2].map(|()| SecretHasher::default());
        assert_ne!(one.number(7), other.number(7));
        let places = |hash: &dyn Fn(i64) -> u64| {
            let mut tops = [0; 16];
            for id in 0..16_000 {
                tops[(hash(id) >> 60) as usize] += 1;
            }
            tops
        };
        let of_numbers = places(&|id| one.number(id.unsigned_abs()));
        let of_texts = places(&|id| one.id(IdRef::Text(&format!("customer-{id}"))));
        for tops in [of_numbers, of_texts] {
            assert!(tops.iter().all(|count| (850..1150).contains(count)), "{tops:?}");
        }
    }

    #[test]
    fn a_secret_hash_ignores_the_form_of_an_id_and_tells_ids_apart() {
        let hasher = SecretHasher::default();
        for number in [0, -7, 42, 12_345_678, i64::MIN, i64::MAX] {
            let text = number.to_string();
            assert_eq!(hasher.id(IdRef::Int(number)), hasher.id(IdRef::Text(&text)));
        }
        // Every length from nothing to beyond two words, and every byte changed.
        let text = "abcdefghijklmnopqr";
        let mut seen = std::collections::HashSet::new();
        for length in 0..=text.len() {
            assert!(seen.insert(hasher.id(IdRef::Text(&text[..length]))));
            for at in 0..length {
                let changed = format!("{}Z{}", &text[..at], &text[at + 1..length]);
                assert!(seen.insert(hasher.id(IdRef::Text(&changed))), "{changed}");
            }
        }
        assert_ne!(hasher.id(IdRef::Text("a")), hasher.id(IdRef::Text("\0a")));
    }
}
