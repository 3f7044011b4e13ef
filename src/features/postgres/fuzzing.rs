//! The values of PostgreSQL, for the fuzz targets.

use tokio_postgres::types::Type;

use super::value;
use crate::values::feature_type::FeatureType;

/// The types of columns that features may have, and one that they may not.
pub const TYPES: [Type; 15] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::DATE,
    Type::TEXT,
    Type::VARCHAR,
    Type::NAME,
    Type::BPCHAR,
    Type::UUID,
    Type::NUMERIC,
];

/// Reads a value of a type as every kind of feature; returns the bytes of a `numeric` as text.
///
/// # Errors
/// It is not a value of that type.
pub fn value(kind: &Type, raw: &[u8]) -> Result<usize, String> {
    let mut digits = String::new();
    let cell = value::cell(kind, Some(raw), &mut digits)?;
    for kind in FeatureType::ALL {
        // What does not fit is an error.
        let _ = cell.number(kind).and(cell.tolerant(kind));
    }
    let mut category = String::new();
    let _ = cell.category(&mut category);
    Ok(digits.len())
}
