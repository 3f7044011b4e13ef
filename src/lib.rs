//! Evergreen: online serving of gradient-boosted tree models.

pub mod forest;
