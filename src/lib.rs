//! Evergreen: online serving of gradient-boosted tree models. A customer id in, a churn score out, bit-identical to
//! the training library.
//!
//! # The house
//!
//! | room | what is in it |
//! |---|---|
//! | [`cli`] | one file per command: `serve`, `check`, `score`, `inspect` |
//! | [`config`] | settings: file, environment, command line |
//! | [`app`] | the composition root: settings in, everything that serves out |
//! | [`server`] | listeners, readiness, the way down |
//! | [`api`] | translation: REST, gRPC, operations; one table of error statuses |
//! | [`reload`] | models come and go while the server serves |
//! | [`scoring`] | the scoring path, admission, the answer |
//! | [`features`] | tables, the snapshot, the row a model sees |
//! | [`models`] | bundles, the gate, the folder of models |
//! | [`evergreen_forest`] | the engine, a crate of its own: formats, kernels, contributions; pure computation |
//! | [`telemetry`] | every metric, and the log |
//! | [`storage`] | local folders and object storage |
//! | `watched` | values made from files, made anew when they change |
//! | [`error`] | the one error of a request |
//!
//! Imports point down: `api` → `scoring` → `features`, `models` → `forest`; `error`, `json`, `nearest`, `telemetry`
//! and `toml_text` are leaves; only `app`, `server` and `cli` see everything.
//!
//! # The path of one request
//!
//! `api::http::score` (or `api::grpc::scoring`) translates → [`scoring::Scorer`] admits it, takes what is live →
//! `scoring::answer` finds each entity in the [`features::snapshot`], settles each feature by the contract
//! ([`features::row`]), evaluates the batch ([`evergreen_forest::Forest::predict`]), calibrates, names the band and the
//! reasons → the handler translates back.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod features;
mod file_backed;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod models;
mod os;
pub mod scoring;
pub mod server;
pub mod storage;
mod suggest;
pub mod toml_text;
pub mod values;
