//! Protocol adapters: translate REST, gRPC and Open Inference requests for the scoring path. Scoring decisions are made
//! in [`crate::scoring`], not here.

pub mod auth;
mod body_timeout;
pub mod client;
pub(crate) mod context;
pub mod grpc;
pub mod http;
mod open_inference;
pub mod request_metrics;
pub mod status;
mod tensor_bytes;
