//! One input of a loaded model: its contract, category codes and precision.

use super::codes::CategoryCodes;
use super::contract::FeatureContract;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use evergreen_forest::{Categories, Feature, Format, Precision, Summary};

/// An input of a loaded model.
#[derive(Debug)]
pub struct ModelInput {
    /// The contract of the feature.
    pub contract: FeatureContract,
    /// The number to use if there is no value.
    pub default: Option<f64>,
    codes: CategoryCodes,
    precision: Precision,
    /// There is no contract: a boolean counts as 0 or 1 for any number, as in the libraries.
    bare: bool,
    /// The model file does not say whether the feature has categories.
    uncertain: bool,
}

/// A cell, converted for the model.
#[derive(Clone, Debug, PartialEq)]
pub enum EncodedCell {
    /// A number, or a category's code.
    Value(f64),
    /// Null.
    Null,
    /// A category that the model was not trained on.
    UnknownCategory,
}

impl ModelInput {
    /// Binds a contract to the model's feature at the same position.
    ///
    /// # Errors
    /// The two disagree; the message says in what.
    pub fn bind(
        contract: &FeatureContract,
        feature: &Feature,
        summary: &Summary,
        precision: Precision,
    ) -> Result<Self, String> {
        if summary.named && feature.name != contract.name {
            return Err(format!("the model has `{}` at this position", feature.name));
        }
        // LightGBM's file does not say which feature has which list of categories. The contract does, and the golden rows
        // prove it.
        let inferred = summary.format == Format::LightGbm;
        let codes = CategoryCodes::of_contract(contract, feature, inferred)?;
        let mut input = Self {
            contract: contract.clone(),
            default: None,
            codes,
            precision,
            bare: false,
            uncertain: false,
        };
        input.default = input
            .contract
            .default()
            .cloned()
            .map(|value| input.default_number(&value))
            .transpose()?;
        Ok(input)
    }

    /// The input for a feature of a model without a contract. If the file does not name its categories, the codes
    /// themselves are the values.
    pub fn bare(feature: &Feature, precision: Precision) -> Self {
        let (kind, codes) = CategoryCodes::of_feature(feature);
        let contract = FeatureContract::bare(&feature.name, kind);
        Self {
            contract,
            default: None,
            codes,
            precision,
            bare: true,
            uncertain: feature.categories == Some(Categories::Uncertain),
        }
    }

    /// Converts a cell to the number that the model takes.
    ///
    /// # Errors
    /// The cell does not have the feature's type or exceeds the model's precision; the message says what was found.
    pub fn encode(&self, cell: Cell<'_>) -> Result<EncodedCell, String> {
        if self.contract.kind == FeatureType::Category {
            let mut digits = String::new();
            let Some(text) = cell.category(&mut digits)? else {
                return Ok(EncodedCell::Null);
            };
            if let Cell::Bool(value) = cell {
                // A boolean is a mistake unless the model was trained on booleans.
                let code = self.codes.code_of_bool(value).map(EncodedCell::Value);
                return code
                    .ok_or_else(|| format!("expected {}, found {text}", FeatureType::Category.noun()));
            }
            return Ok(self
                .code(text)
                .map_or(EncodedCell::UnknownCategory, EncodedCell::Value));
        }
        let cell = match cell {
            Cell::Bool(value) if self.bare => Cell::Int(value.into()),
            Cell::Untyped(text) if self.bare && text.eq_ignore_ascii_case("true") => Cell::Int(1),
            Cell::Untyped(text) if self.bare && text.eq_ignore_ascii_case("false") => Cell::Int(0),
            cell => cell,
        };
        match cell.number(self.contract.kind)? {
            Some(_) if self.uncertain => Err(
                "the model file lists the categories of columns, but not of which, so a number may be a category or its \
                 code; write a bundle with save_bundle, whose contract says it"
                    .to_owned(),
            ),
            None => Ok(EncodedCell::Null),
            Some(value) => self.fits(value).map(|()| EncodedCell::Value(value)),
        }
    }

    /// Whether its categories are whole numbers.
    pub fn has_whole_categories(&self) -> bool {
        self.codes.is_whole()
    }

    /// The code of a named category.
    pub fn code(&self, category: &str) -> Option<f64> {
        self.codes.code(category)
    }

    /// The largest code of its categories; `None` if its categories have no names.
    pub fn largest_code(&self) -> Option<f64> {
        self.codes.largest()
    }

    /// The names of its categories, sorted.
    pub fn categories(&self) -> Vec<String> {
        self.codes.names()
    }

    /// Checks that the model's precision can hold a number: a larger one would silently become infinite.
    ///
    /// # Errors
    /// It cannot.
    pub fn fits(&self, value: f64) -> Result<(), String> {
        #[expect(clippy::cast_possible_truncation, reason = "that is the question")]
        match self.precision {
            Precision::F32 if value.is_finite() && !(value as f32).is_finite() => {
                Err(format!("{value} exceeds the range of this model's 32-bit floats"))
            }
            Precision::F32 | Precision::F64 => Ok(()),
        }
    }

    /// Whether the model sees 32-bit floats.
    pub fn is_narrow(&self) -> bool {
        self.precision == Precision::F32
    }

    /// A value in the precision in which the model sees it.
    pub fn rounded(&self, value: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "the model sees no more than this")]
        match self.precision {
            Precision::F32 => f64::from(value as f32),
            Precision::F64 => value,
        }
    }

    /// The bounds of the contract in the precision in which the model sees values: compare them with [`Self::rounded`], so
    /// that a value and an equal bound stay equal.
    pub fn bounds(&self) -> Option<[f64; 2]> {
        self.contract
            .range
            .map(|bounds| bounds.map(|bound| self.rounded(bound)))
    }

    /// Converts a number of the model back: a category to its name, a number to its shortest decimal.
    pub fn present(&self, value: f64) -> serde_json::Value {
        if value.is_nan() {
            return serde_json::Value::Null;
        }
        match self.contract.kind {
            FeatureType::Category => self
                .codes
                .name(value)
                .map_or(serde_json::Value::Null, serde_json::Value::from),
            FeatureType::Bool => (value != 0.0).into(),
            FeatureType::Int => {
                #[expect(clippy::cast_possible_truncation, reason = "whole numbers up to 2^53")]
                let whole = value as i64;
                whole.into()
            }
            FeatureType::Float | FeatureType::Timestamp => self.shortest(value),
        }
    }

    /// The shortest decimal of the same number in the model's precision: 29.85, not 29.850000381469727.
    pub(super) fn decimal(&self, value: f64) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "the model sees no more than this")]
        match self.precision {
            Precision::F32 => (value as f32).to_string(),
            Precision::F64 => value.to_string(),
        }
    }

    fn shortest(&self, value: f64) -> serde_json::Value {
        self.decimal(value)
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or(serde_json::Value::Null, Into::into)
    }

    fn default_number(&self, default: &toml::Value) -> Result<f64, String> {
        let text;
        let cell = match default {
            toml::Value::Boolean(value) => Cell::Bool(*value),
            toml::Value::Integer(value) => Cell::Int(*value),
            toml::Value::Float(value) => Cell::Float(*value),
            toml::Value::String(value) => Cell::Text(value),
            toml::Value::Datetime(value) => {
                text = value.to_string();
                Cell::Text(&text)
            }
            other => {
                return Err(format!(
                    "default: expected one value such as 0 or \"basic\", found {other}"
                ));
            }
        };
        match self.encode(cell) {
            Ok(EncodedCell::Value(value)) => Ok(value),
            Ok(EncodedCell::Null) => Err("default: NaN is the same as no default; remove it".to_owned()),
            Ok(EncodedCell::UnknownCategory) => Err(format!(
                "default: expected one of the categories, found {default}"
            )),
            Err(message) => Err(format!("default: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    #[test]
    fn a_boolean_names_no_category_of_texts() {
        let version = sample::version(1);
        let plan = &version.inputs[version.input("plan").unwrap()];
        assert_eq!(plan.encode(Cell::Null), Ok(EncodedCell::Null));
        assert!(matches!(
            plan.encode(Cell::Text("starter")),
            Ok(EncodedCell::Value(_))
        ));
        assert_eq!(plan.encode(Cell::Int(3)), Ok(EncodedCell::UnknownCategory));
        assert_eq!(
            plan.encode(Cell::Bool(true)),
            Err("expected a category, found true".to_owned())
        );
    }
}
