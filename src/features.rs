//! Features: from where they are kept to the exact numbers a model takes.

pub mod cell;
pub mod plan;
pub mod row;
pub mod snapshot;
pub mod table;
