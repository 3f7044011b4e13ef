//! What every feature store implements before it serves: checks of features, and the binding to a layout.

use std::fmt::Debug;
use std::sync::Arc;

use super::layout::Layout;
use super::source::FeatureSource;
use crate::models::contract::FeatureContract;

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

    /// The group of a feature: what the contract says, or what the store knows.
    fn group(&self, feature: &FeatureContract) -> Option<String> {
        feature.group().map(str::to_owned)
    }
}
