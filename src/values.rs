//! Small types that every layer shares: cells of tables and stores, JSON scalars, entity ids, bands of the score, and
//! what is known of a feature. They depend on nothing else in the crate.

pub mod band;
pub mod category;
pub mod cell;
pub mod entity_id;
pub mod feature_type;
pub mod id_hash;
mod instant;
pub mod issues;
pub mod json;
pub mod network;
pub mod recent_set;
pub mod slot_value;
pub mod time;
pub(crate) mod uuid;
