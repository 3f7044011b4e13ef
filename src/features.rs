//! Features: from where they are kept to the exact numbers a model takes.

#[cfg_attr(
    not(all(feature = "postgres", feature = "redis", feature = "sqlite")),
    allow(dead_code, reason = "each online store uses a part of it")
)]
pub mod feast;
pub mod layout;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod lazy;
pub mod metrics;
pub mod plan;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
pub mod remote;
pub mod snapshot;
pub mod source;
pub mod sources;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql;
mod store_client;
pub mod table;
pub mod warm;

/// The error of a setting that needs a feature which the build lacks.
#[cfg(not(all(feature = "postgres", feature = "redis", feature = "sqlite")))]
pub(crate) fn not_built(feature: &str, name: &str) -> String {
    format!("this build has no {name} client; build with --features {feature} (or --features full)")
}
