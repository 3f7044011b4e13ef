//! The float type that a model computes in.

/// The float type in which a model compares, adds and returns results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats (XGBoost, the `gbdt` crate). Inputs outside the range of `f32` cannot be represented.
    F32,
    /// 64-bit floats (LightGBM, CatBoost).
    F64,
}

impl Precision {
    /// Returns the name in answers: `f32` or `f64`.
    pub fn label(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}
