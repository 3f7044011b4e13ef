//! Translation between protocols and the scoring path; nothing is decided here.

pub mod auth;
mod body_timeout;
pub(crate) mod context;
pub mod grpc;
pub mod http;
mod open_inference;
pub mod request_metrics;
pub mod status;
mod tensor_bytes;
