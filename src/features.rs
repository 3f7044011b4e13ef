//! Features: from where they are kept to the exact numbers a model takes.

pub mod feast;
pub mod layout;
mod lazy;
pub mod metrics;
pub mod plan;
pub mod postgres;
pub mod redis;
pub mod remote;
pub mod snapshot;
pub mod source;
pub mod sources;
pub mod table;
pub mod warm;
