//! Protocol adapters: translate REST, gRPC and Open Inference requests for the scoring path. Scoring decisions are made
//! in [`crate::scoring`], not here.

pub mod auth;
pub mod client;
pub(crate) mod context;
pub mod grpc;
pub mod http;
mod incoming;
mod latency;
mod open_inference;
mod precheck;
mod ranking;
pub mod request_metrics;
pub mod status;
mod tensor_bytes;
