//! Feast's values and registry, for the fuzz targets.

use prost::Message as _;

use super::bytes::{Value, timestamp};
use super::registry::FeastRegistry;
use crate::values::feature_type::FeatureType;

/// Reads a value as every kind of feature, and writes it again; returns whether it reads back the same.
///
/// # Errors
/// It is not a value.
pub fn value(bytes: &[u8]) -> Result<bool, String> {
    let value = Value::read(bytes)?;
    let cell = value.cell()?;
    for kind in FeatureType::ALL {
        // What does not fit is an error.
        let _ = cell.number(kind).and(cell.tolerant(kind));
    }
    let written = value.encode_to_vec();
    Ok(Value::read(&written)?.encode_to_vec() == written)
}

/// Reads the time of a feature view, in seconds since the Unix epoch.
pub fn time(bytes: &[u8]) -> Option<f64> {
    timestamp(bytes)
}

/// Reads a registry and looks up every feature; returns the number of views.
///
/// # Errors
/// It is not a registry.
pub fn registry(bytes: &[u8]) -> Result<usize, String> {
    let registry = FeastRegistry::decode(bytes).map_err(|error| error.to_string())?;
    for view in registry.views().take(16) {
        // A feature that two views have is an error.
        let _ = registry.find(Some(&view.name), "f", "").is_ok();
        let _ = registry.find(None, "f", &view.name).is_ok();
        let _ = registry.key_type(view, "customer_id").is_ok();
        let _ = view.max_age();
    }
    Ok(registry.views().count())
}
