//! Models: from the files on disk to the versions that answer.
//!
//! `bundle` reads what lies on disk, `gate` decides whether it may go live, `repository` finds them.

pub mod apply;
pub mod bundle;
mod codes;
pub mod contract;
pub mod derived;
pub mod gate;
pub mod golden;
pub mod input;
pub mod known;
pub mod rank;
pub mod reference;
pub mod report;
pub mod repository;
pub mod rule;
#[cfg(test)]
pub(crate) mod sample;
pub mod sentence;
pub mod signature;
pub mod status;
pub mod usual;
mod version;

pub use version::ModelVersion;
