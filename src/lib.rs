//! Evergreen: online serving of gradient-boosted tree models. A customer id in, a churn score with reasons out,
//! bit-identical to the training library.
//!
//! This is the server. The engine is a crate of its own, [`evergreen_forest`]. `ARCHITECTURE.md` describes the modules
//! and their floors; `CONTRIBUTING.md` lists the files of common changes.
//!
//! Entry points: [`app::App`] builds everything that serves from the settings ([`config::Config`]),
//! [`scoring::Scorer`] answers one request, [`lifecycle::Lifecycle`] loads and replaces models, [`server`] listens, and
//! [`cli`] holds one file per command.

// A write to a closed or blocked stream panics or waits: the server logs, and commands use the macros of `cli`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod features;
mod file_backed;
mod files;
pub mod heartbeat;
pub mod lifecycle;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod models;
pub mod observe;
mod os;
pub mod record;
pub mod scoring;
pub mod server;
pub mod spans;
pub mod statistics;
pub mod storage;
mod suggest;
pub mod toml_text;
pub mod values;
mod words;
pub mod work;
