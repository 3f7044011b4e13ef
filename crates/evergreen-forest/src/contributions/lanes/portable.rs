//! Vectors in plain Rust, for every CPU. The loops have fixed lengths, so that compilers vectorise them.

use std::ops::{Add, Div, Mul, Sub};

use super::{BinLine, LANES, LaneIsa, Lanes, Line, PerNode};

/// Plain Rust.
#[derive(Clone, Copy)]
pub(in crate::contributions) struct Portable;

/// A vector.
#[derive(Clone, Copy)]
pub(in crate::contributions) struct PortableLanes([f32; LANES]);

/// Applies a function to each lane of two vectors.
#[inline(always)]
fn zip(a: PortableLanes, b: PortableLanes, each: impl Fn(f32, f32) -> f32) -> PortableLanes {
    let mut out = a.0;
    for (a, b) in out.iter_mut().zip(b.0) {
        *a = each(*a, b);
    }
    PortableLanes(out)
}

#[inline(always)]
fn bits(a: PortableLanes, b: PortableLanes, each: impl Fn(u32, u32) -> u32) -> PortableLanes {
    zip(a, b, |a, b| f32::from_bits(each(a.to_bits(), b.to_bits())))
}

impl LaneIsa for Portable {
    type Lanes = PortableLanes;
    type Packed = Line;

    #[inline(always)]
    fn splat(self, x: f32) -> PortableLanes {
        PortableLanes([x; LANES])
    }

    #[inline(always)]
    fn nodes<const Q: usize>(self, numbers: &PerNode) -> [PortableLanes; Q] {
        let mut nodes = [self.splat(0.0); Q];
        for (node, number) in nodes.iter_mut().zip(numbers.0) {
            *node = self.splat(number);
        }
        nodes
    }

    #[inline(always)]
    fn load(self, line: &Line) -> PortableLanes {
        PortableLanes(line.0)
    }

    #[inline(always)]
    fn unpack(self, packed: &Line) -> PortableLanes {
        self.load(packed)
    }

    #[inline(always)]
    fn pack(self, lanes: PortableLanes, packed: &mut Line) {
        lanes.store(packed);
    }

    #[inline(always)]
    fn greater(self, bins: &BinLine, bound: i32, flip: i32) -> PortableLanes {
        let mut out = [0.0; LANES];
        for (out, bin) in out.iter_mut().zip(bins.0) {
            let mask = -i32::from(bin > bound) ^ flip;
            *out = f32::from_bits(mask.cast_unsigned());
        }
        PortableLanes(out)
    }
}

impl Add for PortableLanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        zip(self, other, |a, b| a + b)
    }
}

impl Sub for PortableLanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        zip(self, other, |a, b| a - b)
    }
}

impl Mul for PortableLanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        zip(self, other, |a, b| a * b)
    }
}

impl Div for PortableLanes {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        zip(self, other, |a, b| a / b)
    }
}

impl Lanes for PortableLanes {
    #[inline(always)]
    fn store(self, line: &mut Line) {
        line.0 = self.0;
    }

    // `f32::mul_add` is a function call on CPUs without the instruction.
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        self * by + plus
    }

    #[inline(always)]
    fn subtract_product(self, by: Self, from: Self) -> Self {
        from - self * by
    }

    #[inline(always)]
    fn choose(self, yes: Self, no: Self) -> Self {
        let yes = bits(self, yes, |mask, x| mask & x);
        let no = bits(self, no, |mask, x| !mask & x);
        bits(yes, no, |yes, no| yes | no)
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        bits(self, other, |a, b| a & b)
    }

    #[inline(always)]
    fn and_not(self, other: Self) -> Self {
        bits(self, other, |a, b| !a & b)
    }
}
