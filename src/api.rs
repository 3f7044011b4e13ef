//! Translation between protocols and the scoring path; nothing is decided here.

pub mod auth;
mod bytes;
pub(crate) mod context;
mod counters;
pub mod grpc;
pub mod http;
mod open_inference;
mod slow;
pub mod status;
