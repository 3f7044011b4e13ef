//! In which width a model computes.

/// The precision in which a model compares, adds and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats (XGBoost, `gbdt`). Inputs beyond the range of `f32` cannot be represented.
    F32,
    /// 64-bit floats (LightGBM, CatBoost).
    F64,
}
