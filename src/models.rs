//! Models: from the files on disk to the versions that answer.
//!
//! `bundle` reads what lies on disk, `gate` decides whether it may go live, `registry` holds what is live.

pub mod bundle;
mod codes;
pub mod contract;
pub mod derived;
pub mod gate;
pub mod golden;
pub mod input;
pub mod reference;
pub mod registry;
mod version;

pub use version::ModelVersion;
