//! Categories: the codes that the trees split on, by name.

use rustc_hash::FxHashMap;

use super::contract::FeatureContract;
use crate::values::feature_type::FeatureType;
use evergreen_forest::{Categories, Feature, FeatureKind};

/// The categories of one input.
#[derive(Debug)]
pub(super) enum CategoryCodes {
    /// Codes are positions in a list of names; empty for numbers.
    Named(FxHashMap<String, f64>),
    /// Codes come from hashes of the names; the model splits on some of them only.
    Hashed(Categories),
}

impl CategoryCodes {
    /// The categories of a feature without a contract, and the type of its values. If the file does not name the
    /// categories, the codes themselves are the values.
    pub(super) fn of_feature(feature: &Feature) -> (FeatureType, Self) {
        match &feature.categories {
            Some(Categories::Names(names)) => (FeatureType::Category, positions(names)),
            Some(Categories::Integers(numbers)) => (FeatureType::Category, positions(&digits(numbers))),
            Some(hashes @ Categories::Hashes(_)) => (FeatureType::Category, Self::Hashed(hashes.clone())),
            Some(Categories::Codes) | None => (FeatureType::Float, positions(&[])),
        }
    }

    /// The categories of a feature of the contract, checked against those of the model.
    ///
    /// # Errors
    /// The two disagree, or neither names any category.
    pub(super) fn of_contract(contract: &FeatureContract, feature: &Feature) -> Result<Self, String> {
        let categorical = feature.kind == FeatureKind::Category;
        if categorical != (contract.kind == FeatureType::Category) && (categorical || feature.splits > 0) {
            let splits = if categorical { "categories" } else { "numbers" };
            return Err(format!(
                "type is \"{}\" in the contract; the model splits on {splits}",
                contract.kind.label()
            ));
        }
        let promised = &contract.categories;
        let named = match &feature.categories {
            None => return Ok(positions(promised)),
            Some(hashes @ Categories::Hashes(_)) => {
                let code = |name: &String| (name.clone(), by_hash(hashes, name));
                return Ok(Self::Named(promised.iter().map(code).collect()));
            }
            Some(Categories::Codes) => promised.clone(),
            Some(Categories::Names(names)) => names.clone(),
            Some(Categories::Integers(numbers)) => digits(numbers),
        };
        if named.is_empty() {
            return Err("no categories in contract or model; add categories".to_owned());
        }
        if promised.is_empty() {
            return Ok(positions(&named));
        }
        // XGBoost 3.1 and 3.2 write names that are not ASCII wrongly into the file. The contract's list, in code order,
        // is used instead, and only its length can be checked.
        let garbled = promised.iter().any(|name| !name.is_ascii());
        if *promised == named || (garbled && promised.len() == named.len()) {
            return Ok(positions(promised));
        }
        Err(format!(
            "categories: the model was trained on {named:?}, the contract lists {promised:?}"
        ))
    }

    /// The code of a category.
    pub(super) fn code(&self, category: &str) -> Option<f64> {
        match self {
            Self::Named(codes) => codes.get(category).copied(),
            Self::Hashed(categories) => Some(by_hash(categories, category)),
        }
    }

    /// The largest code of a named category.
    pub(super) fn largest(&self) -> Option<f64> {
        match self {
            Self::Named(codes) => codes.values().copied().reduce(f64::max),
            Self::Hashed(_) => None,
        }
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Named(codes) => codes.keys().cloned().collect(),
            Self::Hashed(_) => Vec::new(),
        };
        names.sort();
        names
    }

    /// The name behind a code.
    pub(super) fn name(&self, code: f64) -> Option<&str> {
        match self {
            Self::Named(codes) => codes
                .iter()
                .find(|&(_, &known)| known == code)
                .map(|(name, _)| name.as_str()),
            Self::Hashed(_) => None,
        }
    }
}

/// The code of a name by its hash. A name that the model does not split on gets the next free code: no
/// split has that code.
fn by_hash(categories: &Categories, text: &str) -> f64 {
    let unasked = match categories {
        Categories::Hashes(hashes) => hashes.len(),
        Categories::Codes | Categories::Names(_) | Categories::Integers(_) => 0,
    };
    #[expect(clippy::cast_precision_loss, reason = "a list of hashes is shorter than 2^53")]
    categories.code(text).map_or(unasked as f64, f64::from)
}

fn digits(numbers: &[i64]) -> Vec<String> {
    numbers.iter().map(i64::to_string).collect()
}

fn positions(names: &[String]) -> CategoryCodes {
    #[expect(clippy::cast_precision_loss, reason = "a list of names is shorter than 2^53")]
    let codes = names
        .iter()
        .enumerate()
        .map(|(code, name)| (name.clone(), code as f64));
    CategoryCodes::Named(codes.collect())
}
