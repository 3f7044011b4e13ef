//! A machine word as a set of rows: one bit for each row of a block.
//!
//! Row `r` of a block is bit `r / BYTES` of byte `r % BYTES`. So the bits that eight words hold for one bit
//! position are in the bytes where the transposition of an 8 × 8 bit matrix needs them.

/// A set of `8 · BYTES` rows.
///
/// Every `unsafe` method requires that the CPU supports the vector type.
pub(in crate::kernel) trait BitWord: Copy {
    /// The length in bytes.
    const BYTES: usize;
    /// Rows in a block.
    const ROWS: usize = 8 * Self::BYTES;

    /// Repeats eight bytes.
    unsafe fn splat(bytes: u64) -> Self;
    /// Reads a word from an address aligned to its length.
    unsafe fn load(from: *const Self) -> Self;
    /// Writes a word to an address aligned to its length.
    unsafe fn store(self, to: *mut Self);
    /// Returns the rows in both sets.
    unsafe fn and(self, other: Self) -> Self;
    /// Returns the rows in either set.
    unsafe fn or(self, other: Self) -> Self;
    /// Returns the rows in exactly one of the sets.
    unsafe fn xor(self, other: Self) -> Self;
    /// Returns the rows that are not in `other`.
    unsafe fn without(self, other: Self) -> Self;
    /// Shifts every eight bytes left.
    unsafe fn up<const BITS: i32>(self) -> Self;
    /// Shifts every eight bytes right.
    unsafe fn down<const BITS: i32>(self) -> Self;
}

impl BitWord for u64 {
    const BYTES: usize = 8;

    #[inline(always)]
    unsafe fn splat(bytes: u64) -> Self {
        bytes
    }
    #[inline(always)]
    unsafe fn load(from: *const Self) -> Self {
        // SAFETY: the caller points at a word.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut Self) {
        // SAFETY: the caller points at a word.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        self | other
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    unsafe fn without(self, other: Self) -> Self {
        self & !other
    }
    #[inline(always)]
    unsafe fn up<const BITS: i32>(self) -> Self {
        self << BITS
    }
    #[inline(always)]
    unsafe fn down<const BITS: i32>(self) -> Self {
        self >> BITS
    }
}

/// Implements `BitWord` for a vector register by the names of its intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! vector {
    ($vector:ident, $splat:ident, $load:ident, $store:ident, $and:ident, $or:ident, $xor:ident, $andnot:ident,
     $up:ident, $down:ident) => {
        // SAFETY of all that follows: the caller guarantees the instruction set and the pointers.
        impl BitWord for std::arch::x86_64::$vector {
            const BYTES: usize = size_of::<Self>();

            #[inline(always)]
            unsafe fn splat(bytes: u64) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$splat(bytes.cast_signed()) }
            }
            #[inline(always)]
            unsafe fn load(from: *const Self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut Self) {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$store(to, self) }
            }
            #[inline(always)]
            unsafe fn and(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$and(self, other) }
            }
            #[inline(always)]
            unsafe fn or(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$or(self, other) }
            }
            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$xor(self, other) }
            }
            #[inline(always)]
            unsafe fn without(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$andnot(other, self) }
            }
            #[inline(always)]
            unsafe fn up<const BITS: i32>(self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$up::<BITS>(self) }
            }
            #[inline(always)]
            unsafe fn down<const BITS: i32>(self) -> Self {
                // SAFETY: as above.
                unsafe { std::arch::x86_64::$down::<BITS>(self) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector!(
    __m128i,
    _mm_set1_epi64x,
    _mm_load_si128,
    _mm_store_si128,
    _mm_and_si128,
    _mm_or_si128,
    _mm_xor_si128,
    _mm_andnot_si128,
    _mm_slli_epi64,
    _mm_srli_epi64
);
#[cfg(target_arch = "x86_64")]
vector!(
    __m256i,
    _mm256_set1_epi64x,
    _mm256_load_si256,
    _mm256_store_si256,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_xor_si256,
    _mm256_andnot_si256,
    _mm256_slli_epi64,
    _mm256_srli_epi64
);

/// Transposes eight words of bits: bit `k` of byte `b` of word `j` becomes what was bit `j` of byte `b` of
/// word `k`.
///
/// # Safety
/// The CPU supports the words.
#[inline(always)]
pub(super) unsafe fn transpose<W: BitWord>(words: &mut [W; 8]) {
    macro_rules! swap {
        ($shift:literal, $mask:literal, $($low:literal),*) => {
            // SAFETY: the caller guarantees the ISA.
            unsafe {
                let mask = W::splat($mask);
                $(
                    let (low, high) = (words[$low], words[$low + $shift]);
                    let change = low.down::<$shift>().xor(high).and(mask);
                    words[$low + $shift] = high.xor(change);
                    words[$low] = low.xor(change.up::<$shift>());
                )*
            }
        };
    }
    swap!(4, 0x0f0f_0f0f_0f0f_0f0f, 0, 1, 2, 3);
    swap!(2, 0x3333_3333_3333_3333, 0, 1, 4, 5);
    swap!(1, 0x5555_5555_5555_5555, 0, 2, 4, 6);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes() {
        let before: [u64; 8] = std::array::from_fn(|k| (k as u64 + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut after = before;
        // SAFETY: every CPU has u64.
        unsafe { transpose(&mut after) };
        for (j, word) in after.iter().enumerate() {
            for byte in 0..8 {
                for (k, source) in before.iter().enumerate() {
                    let bit = word >> (8 * byte + k) & 1;
                    assert_eq!(bit, source >> (8 * byte + j) & 1);
                }
            }
        }
    }
}
