//! Tests of the engine against the training libraries and against corrupted files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails should stop"
)]

mod gbdt_crate;
mod golden;
mod hostile;
mod sensitivity;
