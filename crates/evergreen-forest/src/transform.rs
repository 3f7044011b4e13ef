//! From margins to values: the last step of each objective, in the library's own precision and order.
//!
//! `exp` and `log` are the C library's (`std` calls it on Linux), as in the training libraries, so that
//! probabilities agree to the last bit.

/// Turns a row's margins into its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Transform {
    /// Divides each margin first: the number of iterations where a forest is averaged, otherwise 1, which
    /// changes no bit.
    divide: f64,
    link: LinkFunction,
}

/// The function of an objective, with the precision in which it is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LinkFunction {
    /// The margin is the value.
    Identity,
    /// `f32`: `1 / (1 + e^(−x) + 1e-16)`, with `−x` limited where `capped` is set.
    Logistic32 {
        /// Newer releases keep the power within the range of `f32`.
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
    /// `f32`: the first margin, then each the previous value plus softplus of its own margin (and
    /// [`LEAST_GAP`]).
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

impl From<LinkFunction> for Transform {
    fn from(link: LinkFunction) -> Self {
        Self { divide: 1.0, link }
    }
}

impl Transform {
    /// Averages the margins over `iterations` first.
    pub(crate) fn averaged(self, iterations: f64) -> Self {
        Self {
            divide: iterations,
            ..self
        }
    }

    /// Returns the values per row for `groups` margins.
    pub(crate) fn width(self, groups: usize) -> usize {
        match self.link {
            LinkFunction::ArgMax => 1,
            _ => groups,
        }
    }

    /// Returns whether the values are classes.
    pub(crate) fn ends_in_class(self) -> bool {
        matches!(self.link, LinkFunction::ArgMax | LinkFunction::Hinge)
    }

    /// Writes the values of one row. For an `f32` model, margins and values are `f32` numbers converted to
    /// `f64`.
    pub(crate) fn apply(self, margins: &[f64], out: &mut [f64]) {
        for (to, from) in out.iter_mut().zip(margins) {
            *to = from / self.divide;
        }
        match self.link {
            LinkFunction::Identity => {}
            LinkFunction::Logistic32 { capped } => each32(out, |x| logistic32(x, capped)),
            LinkFunction::Exp32 => each32(out, f32::exp),
            LinkFunction::ExpRounded => each(out, |x| f64::from(narrow(x.exp()))),
            LinkFunction::Softmax32 => softmax32(out),
            LinkFunction::ArgMax => each(out, |_| position_of_max(margins)),
            LinkFunction::Hinge => each(out, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            LinkFunction::Sorted => out.sort_unstable_by(f64::total_cmp),
            LinkFunction::CumulativeSoftplus32 => cumulative_softplus32(out),
            LinkFunction::DoubleLogistic32 => each32(out, |x| 1.0 / (1.0 + (-2.0 * x).exp())),
            LinkFunction::Sigmoid64 { steepness } => each(out, |x| 1.0 / (1.0 + (-steepness * x).exp())),
            LinkFunction::Exp64 => each(out, f64::exp),
            LinkFunction::Log1pExp64 => each(out, |x| x.exp().ln_1p()),
            LinkFunction::Softmax64 => softmax64(out),
            LinkFunction::SignedSquare64 => each(out, |x| if x < 0.0 { -(x * x) } else { x * x }),
        }
    }
}

/// Returns the first position of the greatest number, as a number.
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

fn each(out: &mut [f64], f: impl Fn(f64) -> f64) {
    for x in out {
        *x = f(*x);
    }
}

fn each32(out: &mut [f64], f: impl Fn(f32) -> f32) {
    each(out, |x| f64::from(f(narrow(x))));
}

/// Converts back to the `f32` that the number was converted from.
#[expect(clippy::cast_possible_truncation, reason = "the number was widened from f32")]
fn narrow(x: f64) -> f32 {
    x as f32
}

fn logistic32(x: f32, capped: bool) -> f32 {
    let power = if capped { (-x).min(88.7) } else { -x };
    1.0 / (power.exp() + 1.0 + 1e-16)
}

fn softmax32(out: &mut [f64]) {
    let most = out.iter().map(|x| narrow(*x)).fold(f32::MIN, f32::max);
    let mut sum = 0f64;
    for x in out.iter_mut() {
        *x = f64::from((narrow(*x) - most).exp());
        sum += *x;
    }
    let sum = narrow(sum);
    each32(out, |x| x / sum);
}

fn softmax64(out: &mut [f64]) {
    let most = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0f64;
    for x in out.iter_mut() {
        *x = (*x - most).exp();
        sum += *x;
    }
    each(out, |x| x / sum);
}

/// The least gap between ascending expectiles.
pub(crate) const LEAST_GAP: f32 = 1e-6;

fn cumulative_softplus32(out: &mut [f64]) {
    let mut sum = 0f32;
    for (position, number) in out.iter_mut().enumerate() {
        let x = narrow(*number);
        sum = match position {
            0 => x,
            _ => sum + (x.max(0.0) + (-x.abs()).exp().ln_1p() + LEAST_GAP),
        };
        *number = f64::from(sum);
    }
}
