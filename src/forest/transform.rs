//! From margins to values: the last step of each objective, in the library's own precision and order.
//!
//! `exp` and `log` are the C library's (that is what `std` calls on Linux), as they are for the training
//! libraries, so that even the last bit of a probability agrees.

/// The transform of a model, by the precision it is computed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Transform {
    /// The margin is the value.
    Identity,
    /// `f32`: `1 / (1 + e^(−x) + 1e-16)`, x capped from below where the flag says so.
    Logistic32 {
        /// Newer libraries keep the power below the range of `f32`.
        capped: bool,
    },
    /// `f32`: `e^x`.
    Exp32,
    /// `e^x` computed in `f64`, then rounded to `f32`.
    ExpRounded,
    /// `f32`: max-shifted softmax, summed in `f64`.
    Softmax32,
    /// `f32`: the position of the greatest margin; one number.
    ArgMax,
    /// 1 where the margin is positive, else 0.
    Hinge,
    /// The margins in ascending order (quantiles that must not cross).
    Sorted,
    /// `f32`: the first margin, then each the one before plus softplus of its own.
    CumulativeSoftplus32,
    /// `f32`: `1 / (1 + e^(−2x))`.
    DoubleLogistic32,
    /// `f64`: `1 / (1 + e^(−σx))`.
    Sigmoid64 {
        /// σ.
        steepness: f64,
    },
    /// `f64`: `e^x`.
    Exp64,
    /// `f64`: `ln(1 + e^x)`.
    Log1pExp64,
    /// `f64`: max-shifted softmax.
    Softmax64,
    /// `f64`: `sign(x) · x²`.
    SignedSquare64,
}

impl Transform {
    /// Numbers per row for so many margins.
    pub(crate) fn width(self, groups: usize) -> usize {
        match self {
            Self::ArgMax => 1,
            _ => groups,
        }
    }

    /// Writes the values of one row. `margins` of an `f32` model are widened `f32`s, and so are its values.
    pub(crate) fn apply(self, margins: &[f64], out: &mut [f64]) {
        match self {
            Self::Identity => each(margins, out, |x| x),
            Self::Logistic32 { capped } => each32(margins, out, |x| logistic32(x, capped)),
            Self::Exp32 => each32(margins, out, f32::exp),
            Self::ExpRounded => each(margins, out, |x| f64::from(narrow(x.exp()))),
            Self::Softmax32 => softmax32(margins, out),
            Self::ArgMax => each(&[position_of_max(margins)], out, |x| x),
            Self::Hinge => each(margins, out, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Self::Sorted => {
                each(margins, out, |x| x);
                out.sort_unstable_by(f64::total_cmp);
            }
            Self::CumulativeSoftplus32 => cumulative_softplus32(margins, out),
            Self::DoubleLogistic32 => each32(margins, out, |x| 1.0 / (1.0 + (-2.0 * x).exp())),
            Self::Sigmoid64 { steepness } => each(margins, out, |x| 1.0 / (1.0 + (-steepness * x).exp())),
            Self::Exp64 => each(margins, out, f64::exp),
            Self::Log1pExp64 => each(margins, out, |x| x.exp().ln_1p()),
            Self::Softmax64 => softmax64(margins, out),
            Self::SignedSquare64 => each(margins, out, |x| x.signum() * x * x),
        }
    }
}

/// The first position of the greatest number, as a number.
#[expect(clippy::cast_precision_loss, reason = "a class number is far below 2^52")]
pub(crate) fn position_of_max(numbers: &[f64]) -> f64 {
    let mut best = 0;
    let mut most = f64::NEG_INFINITY;
    for (position, number) in numbers.iter().enumerate() {
        if *number > most {
            (best, most) = (position, *number);
        }
    }
    best as f64
}

fn each(margins: &[f64], out: &mut [f64], f: impl Fn(f64) -> f64) {
    for (to, from) in out.iter_mut().zip(margins) {
        *to = f(*from);
    }
}

fn each32(margins: &[f64], out: &mut [f64], f: impl Fn(f32) -> f32) {
    each(margins, out, |x| f64::from(f(narrow(x))));
}

/// Back to the `f32` it was widened from.
#[expect(clippy::cast_possible_truncation, reason = "the number was widened from f32")]
fn narrow(x: f64) -> f32 {
    x as f32
}

fn logistic32(x: f32, capped: bool) -> f32 {
    let power = if capped { (-x).min(88.7) } else { -x };
    1.0 / (power.exp() + 1.0 + 1e-16)
}

fn softmax32(margins: &[f64], out: &mut [f64]) {
    let most = margins.iter().map(|x| narrow(*x)).fold(f32::MIN, f32::max);
    let mut sum = 0f64;
    for (to, from) in out.iter_mut().zip(margins) {
        *to = f64::from((narrow(*from) - most).exp());
        sum += *to;
    }
    let sum = narrow(sum);
    for to in out {
        *to = f64::from(narrow(*to) / sum);
    }
}

fn softmax64(margins: &[f64], out: &mut [f64]) {
    let most = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0f64;
    for (to, from) in out.iter_mut().zip(margins) {
        *to = (from - most).exp();
        sum += *to;
    }
    for to in out {
        *to /= sum;
    }
}

fn cumulative_softplus32(margins: &[f64], out: &mut [f64]) {
    let mut sum = 0f32;
    for (position, (to, from)) in out.iter_mut().zip(margins).enumerate() {
        let x = narrow(*from);
        sum = if position == 0 {
            x
        } else {
            sum + x.max(0.0) + (-x.abs()).exp().ln_1p()
        };
        *to = f64::from(sum);
    }
}
