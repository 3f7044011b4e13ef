//! The two widths of float, and what the kernels ask of them.

/// A number that a row may consist of: `f32` or `f64`.
pub trait Number: Copy + Send + Sync + 'static {
    /// Widened without loss.
    fn to_f64(self) -> f64;
    /// Rounded to nearest, as the libraries cast their input.
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
/// Implemented for `f32` and `f64` only; everything generic in the engine is written against it, so that the
/// two precisions cannot drift apart.
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
    /// A row's number in this width.
    fn cast<X: Number>(x: X) -> Self;
    /// Whether it is not a number: how a missing value is written.
    fn missing(self) -> bool;
    /// Neither infinite nor NaN.
    fn finite(self) -> bool;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    fn cast<X: Number>(x: X) -> Self {
        x.to_f32()
    }
    fn missing(self) -> bool {
        self.is_nan()
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    fn cast<X: Number>(x: X) -> Self {
        x.to_f64()
    }
    fn missing(self) -> bool {
        self.is_nan()
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}
