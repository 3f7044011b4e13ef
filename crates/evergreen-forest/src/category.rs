//! Converts a category's text to the code that the trees split on.

use crate::Categories;

impl Categories {
    /// Returns the code of a category given as text, or `None` if the model does not know the category.
    ///
    /// Integer categories are compared by value, so `7`, `07` and `7.0` are equal. A hash stands for every
    /// text with that hash, as in the training library.
    pub fn code(&self, text: &str) -> Option<u32> {
        let position = match self {
            Self::Codes | Self::Uncertain => return text.parse().ok(),
            Self::Names(names) => names.iter().position(|name| name == text),
            Self::Integers(numbers) => {
                let number = integer(text)?;
                numbers.iter().position(|known| *known == number)
            }
            Self::Hashes(hashes) => {
                let hash = low_half(city_hash(text.as_bytes()));
                hashes.iter().position(|known| *known == hash)
            }
        };
        position.and_then(|position| u32::try_from(position).ok())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the library keeps this half")]
fn low_half(hash: u64) -> u32 {
    hash as u32
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
const K3: u64 = 0xc949_d7c7_509e_6557;
const MIX: u64 = 0x9ddf_ea08_eb38_2d69;

/// Reads the little-endian number at a position; the callers' lengths guarantee that it exists.
fn word(text: &[u8], at: usize) -> u64 {
    let bytes = text.get(at..).and_then(|rest| rest.first_chunk::<8>());
    u64::from_le_bytes(*bytes.unwrap_or(&[0; 8]))
}

fn half_word(text: &[u8], at: usize) -> u64 {
    let bytes = text.get(at..).and_then(|rest| rest.first_chunk::<4>());
    u64::from(u32::from_le_bytes(*bytes.unwrap_or(&[0; 4])))
}

fn fold(x: u64) -> u64 {
    x ^ (x >> 47)
}

/// Combines two words into one.
fn join(low: u64, high: u64) -> u64 {
    let a = fold((low ^ high).wrapping_mul(MIX));
    let b = fold((high ^ a).wrapping_mul(MIX));
    b.wrapping_mul(MIX)
}

/// Hashes a text with `CityHash64`, version 1.0.2 (Pike and Alakuijala).
/// CatBoost keeps this version so that saved models stay valid.
fn city_hash(text: &[u8]) -> u64 {
    match text.len() {
        0..=16 => up_to_16(text),
        17..=32 => up_to_32(text),
        33..=64 => up_to_64(text),
        _ => longer(text),
    }
}

fn up_to_16(text: &[u8]) -> u64 {
    let length = text.len();
    let size = length as u64;
    match text {
        [] => K2,
        [first, ..] if length < 4 => {
            let byte = |at: usize| u64::from(text.get(at).copied().unwrap_or(0));
            let y = u64::from(*first) + (byte(length / 2) << 8);
            let z = size + (byte(length - 1) << 2);
            fold(y.wrapping_mul(K2) ^ z.wrapping_mul(K3)).wrapping_mul(K2)
        }
        _ if length <= 8 => join(size + (half_word(text, 0) << 3), half_word(text, length - 4)),
        _ => {
            let last = word(text, length - 8);
            let turned = last
                .wrapping_add(size)
                .rotate_right(u32::try_from(length).unwrap_or(0));
            join(word(text, 0), turned) ^ last
        }
    }
}

fn up_to_32(text: &[u8]) -> u64 {
    let length = text.len();
    let a = word(text, 0).wrapping_mul(K1);
    let b = word(text, 8);
    let c = word(text, length - 8).wrapping_mul(K2);
    let d = word(text, length - 16).wrapping_mul(K0);
    let low = a
        .wrapping_sub(b)
        .rotate_right(43)
        .wrapping_add(c.rotate_right(30))
        .wrapping_add(d);
    let high = a
        .wrapping_add((b ^ K3).rotate_right(20))
        .wrapping_sub(c)
        .wrapping_add(length as u64);
    join(low, high)
}

/// Sums and mixes 32 bytes, starting with `a`. `z` is added where the two uses differ.
fn quarter(a: u64, z: u64, second: u64, third: u64) -> (u64, u64) {
    let b = a.wrapping_add(z).rotate_right(52);
    let c = a.rotate_right(37);
    let a = a.wrapping_add(second);
    let c = c.wrapping_add(a.rotate_right(7));
    let a = a.wrapping_add(third);
    let mixed = b.wrapping_add(a.rotate_right(31)).wrapping_add(c);
    (a.wrapping_add(z), mixed)
}

fn up_to_64(text: &[u8]) -> u64 {
    let length = text.len();
    let end = |back: usize| word(text, length - back);
    let start = end(16)
        .wrapping_add(length as u64)
        .wrapping_mul(K0)
        .wrapping_add(word(text, 0));
    let (first, mixed) = quarter(start, word(text, 24), word(text, 8), word(text, 16));
    let start = word(text, 16).wrapping_add(end(32));
    let (last, mixed_last) = quarter(start, end(8), end(24), end(16));
    let left = first.wrapping_add(mixed_last).wrapping_mul(K2);
    let right = last.wrapping_add(mixed).wrapping_mul(K0);
    let r = fold(left.wrapping_add(right));
    fold(r.wrapping_mul(K0).wrapping_add(mixed)).wrapping_mul(K2)
}

/// Computes a weak hash of 32 bytes, starting with `a` and `b`.
fn weak(text: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let last = word(text, at + 24);
    let a = a.wrapping_add(word(text, at));
    let b = b.wrapping_add(a).wrapping_add(last).rotate_right(21);
    let sum = a
        .wrapping_add(word(text, at + 8))
        .wrapping_add(word(text, at + 16));
    let mixed = b.wrapping_add(sum.rotate_right(44)).wrapping_add(a);
    (sum.wrapping_add(last), mixed)
}

fn longer(text: &[u8]) -> u64 {
    let length = text.len();
    let size = length as u64;
    let mut x = word(text, 0);
    let mut y = word(text, length - 16) ^ K1;
    let mut z = word(text, length - 56) ^ K0;
    let mut v = weak(text, length - 64, size, y);
    let mut w = weak(text, length - 32, size.wrapping_mul(K1), K0);
    z = z.wrapping_add(fold(v.1).wrapping_mul(K1));
    x = z.wrapping_add(x).rotate_right(39).wrapping_mul(K1);
    y = y.rotate_right(33).wrapping_mul(K1);
    for at in (0..length - 1 - (length - 1) % 64).step_by(64) {
        x = x
            .wrapping_add(y)
            .wrapping_add(v.0)
            .wrapping_add(word(text, at + 16))
            .rotate_right(37)
            .wrapping_mul(K1);
        y = y
            .wrapping_add(v.1)
            .wrapping_add(word(text, at + 48))
            .rotate_right(42)
            .wrapping_mul(K1);
        x ^= w.1;
        y ^= v.0;
        z = (z ^ w.0).rotate_right(33);
        v = weak(text, at, v.1.wrapping_mul(K1), x.wrapping_add(w.0));
        w = weak(text, at + 32, z.wrapping_add(w.1), y);
        std::mem::swap(&mut z, &mut x);
    }
    let low = join(v.0, w.0)
        .wrapping_add(fold(y).wrapping_mul(K1))
        .wrapping_add(z);
    join(low, join(v.1, w.1).wrapping_add(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pseudo-random bytes that CityHash's own tests hash.
    fn data() -> Vec<u8> {
        let mut state = 777u64;
        (0..10_000u64)
            .map(|i| {
                state = (state ^ (state >> 41)).wrapping_mul(K0).wrapping_add(i);
                (state >> 37).to_le_bytes()[0]
            })
            .collect()
    }

    #[test]
    fn city_hash_agrees_with_the_published_vectors() {
        let data = data();
        // Length and hash; the text begins at the square of its length.
        for (length, hash) in [
            (0, 0x9ae1_6a3b_2f90_404f),
            (1, 0x75e9_dee2_8ded_761d),
            (3, 0x69cf_e9fc_a1cc_683a),
            (4, 0x675b_04c5_82a3_4966),
            (8, 0xf214_b86c_ffea_b596),
            (9, 0xeba6_7044_1d1a_4f7d),
            (16, 0x2994_f924_5194_a7e2),
            (17, 0x32e2_ed6f_a03e_5b22),
            (32, 0x8124_7c01_ab6a_9cc1),
            (33, 0xc17f_3ebd_3257_cb8b),
            (64, 0x1646_8c55_a1b3_f2b4),
            (65, 0x8015_f298_161f_861e),
            (99, 0x0292_da63_9026_0110),
        ] {
            let start = length * length;
            assert_eq!(city_hash(&data[start..start + length]), hash, "length {length}");
        }
    }

    #[test]
    fn finds_integers_by_value() {
        let categories = Categories::Integers(vec![-3, 7, 20]);
        for text in ["7", "07", "7.0", "7e0"] {
            assert_eq!(categories.code(text), Some(1), "{text}");
        }
        for text in ["7.5", "8", "seven", "", "1e300", "NaN"] {
            assert_eq!(categories.code(text), None, "{text}");
        }
    }

    #[test]
    fn finds_names_codes_and_hashes() {
        let names = Categories::Names(vec!["north".into(), "south".into()]);
        assert_eq!(names.code("south"), Some(1));
        assert_eq!(names.code("South"), None);
        assert_eq!(Categories::Codes.code("12"), Some(12));
        assert_eq!(Categories::Codes.code("-1"), None);
        // The lower half of the hash of the empty text.
        let hashes = Categories::Hashes(vec![1, 0x2f90_404f]);
        assert_eq!(hashes.code(""), Some(1));
        assert_eq!(hashes.code("a"), None);
    }
}
