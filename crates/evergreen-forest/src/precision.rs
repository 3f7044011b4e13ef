//! The float type that a model computes in.

/// The float type in which a model compares, adds and returns results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats (XGBoost, the `gbdt` crate). Inputs outside the range of `f32` cannot be represented.
    F32,
    /// 64-bit floats (LightGBM, CatBoost).
    F64,
}
