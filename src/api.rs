//! Translation between protocols and the scoring path; nothing is decided here.

mod counters;
pub mod grpc;
pub mod http;
pub mod status;
mod time;
