//! Floats as integers in the same order, and the step from a split to its child.

/// An unsigned integer as wide as its float.
pub(crate) trait OrderedKey: Copy + Ord + Send + Sync + std::fmt::Debug + 'static {
    /// Below the key of every number, and no greater than any threshold.
    const LEAST: Self;
    /// Above the key of every number and every threshold.
    const MOST: Self;

    /// Returns the next smaller key.
    fn before(self) -> Self;
    /// Stores an index.
    fn of_position(position: u32) -> Self;
    /// Returns the stored index.
    fn position(self) -> u32;

    /// Steps from the split at `place` to its child: `2 · place`, plus 1 if the split's threshold is below
    /// the key in its column. The split belongs to tree `TREE` of adjacent complete trees of `LEVELS` levels.
    ///
    /// # Safety
    /// `place` is a split of the tree, and its column names a key.
    #[inline(always)]
    unsafe fn step<const TREE: usize, const LEVELS: usize>(
        place: usize,
        words: *const Self,
        columns: *const u16,
        keys: *const Self,
    ) -> usize {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let column = *columns.add((TREE << LEVELS) + place);
            let key = *keys.add(usize::from(column));
            let threshold = *words.add((TREE << (LEVELS + 1)) + place);
            2 * place + usize::from(threshold < key)
        }
    }
}

/// The step in four instructions of assembly, half as fast again: the compiler generates six or seven and
/// spills half of the eight places. `--cfg evergreen_plain` turns it off for sanitizers, which cannot see
/// into assembly.
#[cfg(all(target_arch = "x86_64", not(miri), not(evergreen_plain)))]
macro_rules! step {
    ($load:literal, $compare:literal) => {
        #[inline(always)]
        unsafe fn step<const TREE: usize, const LEVELS: usize>(
            mut place: usize,
            words: *const Self,
            columns: *const u16,
            keys: *const Self,
        ) -> usize {
            // SAFETY: the caller guarantees the pointers; nothing is written, and the compiler saves the
            // flags.
            unsafe {
                std::arch::asm!(
                    "movzx {column:e}, word ptr [{columns} + 2*{place} + {tree_columns}]",
                    $load,
                    $compare,
                    "adc {place}, {place}",
                    place = inout(reg) place,
                    column = out(reg) _,
                    columns = in(reg) columns,
                    words = in(reg) words,
                    keys = in(reg) keys,
                    tree_columns = const size_of::<u16>() * (TREE << LEVELS),
                    tree_words = const size_of::<Self>() * (TREE << (LEVELS + 1)),
                    options(pure, readonly, nostack),
                );
            }
            place
        }
    };
}

macro_rules! key {
    ($key:ty $(, $load:literal, $compare:literal)?) => {
        impl OrderedKey for $key {
            const LEAST: Self = Self::MIN;
            const MOST: Self = Self::MAX;

            fn before(self) -> Self {
                self - 1
            }
            #[inline(always)]
            fn of_position(position: u32) -> Self {
                Self::from(position)
            }
            #[inline(always)]
            #[allow(clippy::cast_possible_truncation, reason = "it was made of a u32, which one of the two keys is")]
            fn position(self) -> u32 {
                self as u32
            }

            $(#[cfg(all(target_arch = "x86_64", not(miri), not(evergreen_plain)))] step!($load, $compare);)?
        }
    };
}

key!(
    u32,
    "mov {column:e}, [{keys} + 4*{column}]",
    "cmp [{words} + 4*{place} + {tree_words}], {column:e}"
);
key!(
    u64,
    "mov {column:r}, [{keys} + 8*{column}]",
    "cmp [{words} + 8*{place} + {tree_words}], {column:r}"
);

/// Floats with ordered keys.
pub(crate) trait OrderedFloat: Copy {
    /// The key, as wide as the float.
    type OrderedKey: OrderedKey;
    /// Returns the key, in the order of the numbers. Both zeros have the same key. Not for NaN.
    fn key(self) -> Self::OrderedKey;
    /// Returns the bits.
    fn bits(self) -> Self::OrderedKey;
    /// Returns the number with these bits.
    fn of_bits(bits: Self::OrderedKey) -> Self;
    #[cfg(target_arch = "x86_64")]
    /// Writes the number's bytes into words.
    fn write(self, into: &mut [u32]);
    /// Returns the working memory for keys.
    fn keys(work: &mut crate::kernel::KernelScratch) -> &mut Vec<Self::OrderedKey>;
}

macro_rules! keyed {
    ($float:ty, $key:ty, $memory:ident) => {
        impl OrderedFloat for $float {
            type OrderedKey = $key;
            #[inline(always)]
            fn key(self) -> $key {
                // Maps −0 to 0. Then the sign tells whether greater bits are greater numbers.
                let bits = (self + 0.0).to_bits();
                let negative = (bits.cast_signed() >> (<$key>::BITS - 1)).cast_unsigned();
                bits ^ (negative | 1 << (<$key>::BITS - 1))
            }
            #[inline(always)]
            fn bits(self) -> $key {
                self.to_bits()
            }
            #[inline(always)]
            fn of_bits(bits: $key) -> Self {
                Self::from_bits(bits)
            }
            #[cfg(target_arch = "x86_64")]
            fn write(self, into: &mut [u32]) {
                for (word, bytes) in into.iter_mut().zip(self.to_ne_bytes().chunks_exact(4)) {
                    *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
            }
            fn keys(work: &mut crate::kernel::KernelScratch) -> &mut Vec<$key> {
                &mut work.$memory
            }
        }
    };
}

keyed!(f32, u32, keys);
keyed!(f64, u64, long_keys);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_numbers() {
        let ascending = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.5,
            -f32::MIN_POSITIVE,
            -f32::from_bits(1),
            0.0,
            f32::from_bits(1),
            f32::MIN_POSITIVE,
            1.5,
            f32::MAX,
            f32::INFINITY,
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
            assert!(f64::from(pair[0]).key() < f64::from(pair[1]).key(), "{pair:?}");
        }
        assert_eq!((-0f32).key(), 0f32.key());
        assert_eq!((-0f64).key(), 0f64.key());
        assert!(
            f32::INFINITY.key() < OrderedKey::MOST && f32::NEG_INFINITY.key().before() > OrderedKey::LEAST
        );
        assert!(
            f64::INFINITY.key() < OrderedKey::MOST && f64::NEG_INFINITY.key().before() > OrderedKey::LEAST
        );
    }
}
