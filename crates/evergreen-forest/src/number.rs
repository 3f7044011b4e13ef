//! The two float types of the crate.

/// A number in an input row: `f32` or `f64`.
pub trait Number: Copy + Send + Sync + 'static {
    /// Converts to `f64` without loss.
    fn to_f64(self) -> f64;
    /// Rounds to the nearest `f32`, as the libraries convert their input.
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the libraries round their input to f32 just so"
    )]
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// A float in which a forest compares and adds.
///
/// Implemented for `f32` and `f64` only. The generic code is written against it, so that both precisions
/// behave alike.
pub(crate) trait Real:
    Number
    + Default
    + PartialOrd
    + std::fmt::Debug
    + std::ops::AddAssign
    + std::ops::Add<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
    /// Zero.
    const ZERO: Self;
    /// The distance from 1 to the next number, not below it.
    const EPSILON: f32;
    /// Converts an input number to this type.
    fn cast<X: Number>(x: X) -> Self;
    /// Returns whether the number is NaN, which means missing.
    fn missing(self) -> bool;
    /// Returns whether the number is neither infinite nor NaN.
    fn finite(self) -> bool;
    /// Returns the least number above this one.
    fn next_up(self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const EPSILON: f32 = f32::EPSILON;
    fn cast<X: Number>(x: X) -> Self {
        x.to_f32()
    }
    fn missing(self) -> bool {
        self.is_nan()
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
    fn next_up(self) -> Self {
        f32::next_up(self)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const EPSILON: f32 = 1e-15;
    fn cast<X: Number>(x: X) -> Self {
        x.to_f64()
    }
    fn missing(self) -> bool {
        self.is_nan()
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
    fn next_up(self) -> Self {
        f64::next_up(self)
    }
}
