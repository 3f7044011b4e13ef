//! Vectors of `f32`: in plain Rust and with AVX2. A lane is a row, or a quadrature node of one row.
//!
//! A mask is a vector whose lanes have all bits set or none.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod node_lanes;
pub(super) mod portable;

use std::ops::{Add, Div, Mul, Sub};

/// Most quadrature nodes of a pass.
pub(super) const PASS_NODES: usize = 4;

/// A number for each quadrature node of a pass.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(super) struct PerNode(pub(super) [f32; PASS_NODES]);

/// Rows per vector.
pub(super) const LANES: usize = 8;

/// A vector in memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct Line(pub(super) [f32; LANES]);

/// The bins of one column for eight rows.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct BinLine(pub(super) [i32; LANES]);

/// The instruction set of the lane kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneSet {
    Portable,
    /// Only where [`avx2::available`].
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl LaneSet {
    /// Returns the fastest one that this CPU has.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if avx2::available() {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// Proof that the CPU has an instruction set; it makes vectors.
pub(super) trait LaneIsa: Copy {
    /// A vector.
    type Lanes: Lanes;
    /// A vector in memory, no longer than it must be.
    type Packed: Copy + Default;
    /// Returns a vector of equal numbers.
    fn splat(self, x: f32) -> Self::Lanes;
    /// Returns the numbers of the first `Q` quadrature nodes: a vector for each, or one vector where lanes are nodes.
    fn nodes<const Q: usize>(self, numbers: &PerNode) -> [Self::Lanes; Q];
    /// Reads a vector.
    fn load(self, line: &Line) -> Self::Lanes;
    /// Reads a packed vector.
    fn unpack(self, packed: &Self::Packed) -> Self::Lanes;
    /// Writes a packed vector.
    fn pack(self, lanes: Self::Lanes, packed: &mut Self::Packed);
    /// Returns the mask of the bins that are greater than `bound`, or of the others if `flip` is −1 and not 0.
    fn greater(self, bins: &BinLine, bound: i32, flip: i32) -> Self::Lanes;
}

/// Arithmetic on vectors.
pub(super) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Writes a vector.
    fn store(self, line: &mut Line);
    /// Returns `self * by + plus`.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// Returns `from - self * by`.
    fn subtract_product(self, by: Self, from: Self) -> Self;
    /// With a mask as `self`: returns `yes` where it is set and `no` elsewhere.
    fn choose(self, yes: Self, no: Self) -> Self;
    /// Returns the bits that both have.
    fn and(self, other: Self) -> Self;
    /// Returns the bits of `other` that `self` has not.
    fn and_not(self, other: Self) -> Self;
}
