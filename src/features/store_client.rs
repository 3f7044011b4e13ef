//! What every feature store implements before it serves: checks of features, and the binding to a layout.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::layout::Layout;
use super::source::FeatureSource;
use crate::models::contract::FeatureContract;

/// What a store says of itself.
#[derive(Clone, Debug, Default)]
pub struct StoreIdentity {
    /// Its product, version and role, as far as it tells.
    pub product: String,
    /// Its clock in seconds since the Unix epoch.
    pub clock: Option<f64>,
}

/// A store as the settings describe it, before the models say what they need of it.
pub(in crate::features) trait StoreClient: Debug + Send + Sync {
    /// Checks that the store can have a feature of the `entity`.
    ///
    /// # Errors
    /// It cannot; the message says why.
    fn check(&self, feature: &FeatureContract, entity: &str) -> Result<(), String>;

    /// Checks that the store can have all fields of a layout together.
    ///
    /// # Errors
    /// It cannot; the message says why.
    fn check_all(&self, _layout: &Layout) -> Result<(), String> {
        Ok(())
    }

    /// Binds the store to a layout.
    ///
    /// # Errors
    /// The store lacks a field of the layout.
    fn bind(&self, layout: Arc<Layout>) -> Result<Arc<dyn FeatureSource>, String>;

    /// Asks the store who it is; `None` for a store that has no such question.
    fn identify(&self) -> Option<BoxFuture<'_, Result<StoreIdentity, String>>> {
        None
    }

    /// The group of a feature: what the contract says, or what the store knows.
    fn group(&self, feature: &FeatureContract) -> Option<String> {
        feature.group().map(str::to_owned)
    }
}
