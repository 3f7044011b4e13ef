//! Categories: the codes that the trees split on, by name.

use rustc_hash::FxHashMap;

use super::contract::FeatureContract;
use crate::values::category::{booleans, is_whole, resolve, shortest};
use crate::values::feature_type::FeatureType;
use evergreen_forest::{Categories, Feature, FeatureKind};

/// The categories of one input.
#[derive(Debug)]
pub(super) enum CategoryCodes {
    /// Codes are positions in a list of names; empty for numbers.
    Named(FxHashMap<String, f64>),
    /// As `Named`; the categories are whole numbers, so that `1.0` and `01` are `1`.
    Whole(FxHashMap<String, f64>),
    /// Codes come from hashes of the names; the model splits on some of them only.
    Hashed(Categories),
}

impl CategoryCodes {
    /// The categories of a feature without a contract, and the type of its values. If the file does not name the
    /// categories, the codes themselves are the values.
    pub(super) fn of_feature(feature: &Feature) -> (FeatureType, Self) {
        match &feature.categories {
            Some(Categories::Names(names)) => (FeatureType::Category, Self::Named(positions(names))),
            Some(Categories::Integers(numbers)) => {
                (FeatureType::Category, Self::Whole(positions(&digits(numbers))))
            }
            Some(hashes @ Categories::Hashes(_)) => (FeatureType::Category, Self::Hashed(hashes.clone())),
            Some(Categories::Codes | Categories::Uncertain) | None => {
                (FeatureType::Float, Self::Named(positions(&[])))
            }
        }
    }

    /// The categories of a feature of the contract, checked against those of the model.
    ///
    /// A contract may name the codes of a number: an ordered category of pandas is a number to LightGBM. It may also give
    /// the codes of a category as numbers if the file does not name the categories: an integer column that LightGBM
    /// was told to be categorical.
    ///
    /// `inferred` says that the model's own categories are not certain: then those of the contract count.
    ///
    /// # Errors
    /// The two disagree, or neither names any category.
    pub(super) fn of_contract(
        contract: &FeatureContract,
        feature: &Feature,
        inferred: bool,
    ) -> Result<Self, String> {
        let promised = &contract.categories;
        if contract.kind != FeatureType::Category {
            let takes_codes = matches!(
                feature.categories,
                None | Some(Categories::Codes | Categories::Uncertain)
            );
            if takes_codes || inferred || feature.splits == 0 {
                return Ok(Self::Named(positions(promised)));
            }
            return Err(format!(
                "expected type = \"category\", as the model splits on categories; found \"{}\" in the contract",
                contract.kind.label()
            ));
        }
        if feature.kind != FeatureKind::Category && feature.splits > 0 && promised.is_empty() {
            return Err(
                "type is category in the contract, but the model splits on numbers; add categories = [\"…\"] in the \
                 order of the codes, or write type = \"float\""
                    .to_owned(),
            );
        }
        // A column that never had a value has no categories; the model does not use it.
        if feature.splits == 0 && promised.is_empty() && feature.categories.as_ref().is_none_or(is_unnamed) {
            return Ok(Self::Named(positions(&[])));
        }
        let whole = !promised.is_empty() && promised.iter().all(|name| is_whole(name));
        let known = match &feature.categories {
            Some(_) if inferred && !promised.is_empty() => &Some(Categories::Codes),
            known => known,
        };
        match known {
            Some(hashes @ Categories::Hashes(_)) => {
                let code = |name: &String| (name.clone(), by_hash(hashes, name));
                Ok(Self::Named(promised.iter().map(code).collect()))
            }
            Some(Categories::Names(names)) => Self::agreed(promised, names).map(Self::Named),
            Some(Categories::Integers(numbers)) => {
                let names = digits(numbers);
                let promised: Vec<String> = promised.iter().map(|name| shortest(name)).collect();
                Self::agreed(&promised, &names).map(Self::Whole)
            }
            None | Some(Categories::Codes | Categories::Uncertain) if whole => {
                Ok(Self::Whole(positions(promised)))
            }
            None => Ok(Self::Named(positions(promised))),
            Some(Categories::Codes | Categories::Uncertain) => {
                Self::agreed(promised, promised).map(Self::Named)
            }
        }
    }

    /// The codes of the categories on which the contract and the model agree.
    fn agreed(promised: &[String], named: &[String]) -> Result<FxHashMap<String, f64>, String> {
        if named.is_empty() {
            return Err("no categories in contract or model; add categories".to_owned());
        }
        if promised.is_empty() {
            return Ok(positions(named));
        }
        // XGBoost 3.1 and 3.2 write names that are not ASCII wrongly into the file, and later releases keep them. The
        // contract's list, in code order, is used instead, and only its length can be checked.
        let garbled = promised.iter().any(|name| !name.is_ascii());
        if promised == named || (garbled && promised.len() == named.len()) {
            return Ok(positions(promised));
        }
        Err(format!(
            "categories: the model was trained on {named:?}, the contract lists {promised:?}"
        ))
    }

    /// The code of a category: of the name itself, else of another spelling of the same number or boolean.
    pub(super) fn code(&self, category: &str) -> Option<f64> {
        match self {
            // The file lists only the categories that the model splits on: another spelling would find a wrong one.
            Self::Hashed(categories) => Some(by_hash(categories, category)),
            Self::Named(codes) | Self::Whole(codes) => {
                resolve(category, self.is_whole(), |name| codes.get(name).copied())
            }
        }
    }

    /// The code of a boolean.
    pub(super) fn code_of_bool(&self, value: bool) -> Option<f64> {
        let name = if value { "true" } else { "false" };
        match self {
            Self::Named(_) | Self::Whole(_) => self.code(name),
            Self::Hashed(categories) => {
                let mut names = booleans(name).iter();
                let known = names.find_map(|name| categories.code(name)).map(f64::from);
                known.or_else(|| Some(by_hash(categories, name)))
            }
        }
    }

    /// Whether the categories are whole numbers.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The largest code of a named category.
    pub(super) fn largest(&self) -> Option<f64> {
        match self {
            Self::Named(codes) | Self::Whole(codes) => codes.values().copied().reduce(f64::max),
            Self::Hashed(_) => None,
        }
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Named(codes) | Self::Whole(codes) => codes.keys().cloned().collect(),
            Self::Hashed(_) => Vec::new(),
        };
        names.sort();
        names
    }

    /// The name behind a code.
    pub(super) fn name(&self, code: f64) -> Option<&str> {
        match self {
            Self::Named(codes) | Self::Whole(codes) => codes
                .iter()
                .find(|&(_, &known)| known == code)
                .map(|(name, _)| name.as_str()),
            Self::Hashed(_) => None,
        }
    }
}

/// Returns whether the model has no list of the categories, or an empty one.
fn is_unnamed(categories: &Categories) -> bool {
    match categories {
        Categories::Codes | Categories::Uncertain => true,
        Categories::Names(names) => names.is_empty(),
        Categories::Integers(numbers) => numbers.is_empty(),
        Categories::Hashes(_) => false,
    }
}

/// The code of a name by its hash. A name that the model does not split on gets the next free code: no
/// split has that code.
fn by_hash(categories: &Categories, text: &str) -> f64 {
    let unasked = match categories {
        Categories::Hashes(hashes) => hashes.len(),
        Categories::Codes | Categories::Uncertain | Categories::Names(_) | Categories::Integers(_) => 0,
    };
    #[expect(clippy::cast_precision_loss, reason = "a list of hashes is shorter than 2^53")]
    categories.code(text).map_or(unasked as f64, f64::from)
}

fn digits(numbers: &[i64]) -> Vec<String> {
    numbers.iter().map(i64::to_string).collect()
}

fn positions(names: &[String]) -> FxHashMap<String, f64> {
    #[expect(clippy::cast_precision_loss, reason = "a list of names is shorter than 2^53")]
    let codes = names
        .iter()
        .enumerate()
        .map(|(code, name)| (name.clone(), code as f64));
    codes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(kind: FeatureKind, categories: Option<Categories>) -> Feature {
        Feature {
            name: "x".into(),
            kind,
            categories,
            splits: 1,
            gain: 1.0,
        }
    }

    fn bind(contract: &str, feature: &Feature) -> Result<CategoryCodes, String> {
        let contract: FeatureContract = toml::from_str(&format!("name = 'x'\n{contract}")).unwrap();
        CategoryCodes::of_contract(&contract, feature, false)
    }

    fn integers() -> Feature {
        feature(FeatureKind::Category, Some(Categories::Integers(vec![1, 20])))
    }

    #[test]
    fn a_whole_number_is_one_category_however_it_is_written() {
        for list in ["['1', '20']", "['1.0', '20.0']", "[]"] {
            let codes = bind(&format!("type = 'category'\ncategories = {list}"), &integers()).unwrap();
            for text in ["20", "20.0", "020", "2e1"] {
                assert_eq!(codes.code(text), Some(1.0), "{list} {text}");
            }
            assert_eq!(codes.code("20.5"), None);
            assert_eq!(codes.names(), ["1", "20"]);
        }
    }

    #[test]
    fn digits_that_are_texts_stay_texts() {
        let names = feature(
            FeatureKind::Category,
            Some(Categories::Names(vec!["1".into(), "01".into()])),
        );
        let codes = bind("type = 'category'\ncategories = ['1', '01']", &names).unwrap();
        assert_eq!(
            (codes.code("1"), codes.code("01"), codes.code("1.0")),
            (Some(0.0), Some(1.0), None)
        );
    }

    #[test]
    fn a_boolean_is_found_in_the_spelling_of_the_library() {
        let model = feature(FeatureKind::Category, Some(Categories::Codes));
        for (list, yes) in [
            ("['False', 'True']", 1.0),
            ("['0', '1']", 1.0),
            ("['true', 'false']", 0.0),
        ] {
            let codes = bind(&format!("type = 'category'\ncategories = {list}"), &model).unwrap();
            assert_eq!(codes.code("true"), Some(yes), "{list}");
            assert_eq!(codes.code("false"), Some(1.0 - yes), "{list}");
        }
        // CatBoost hashes a boolean as a digit; this file splits on one of the two only.
        // The hash of the text 0.
        let hashes = Categories::Hashes(vec![0xaa45_8312]);
        let codes = CategoryCodes::of_feature(&feature(FeatureKind::Category, Some(hashes))).1;
        assert_eq!(
            (codes.code_of_bool(false), codes.code_of_bool(true)),
            (Some(0.0), Some(1.0))
        );
        assert_eq!((codes.code("0"), codes.code("false")), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn types_may_differ_where_codes_are_known() {
        let number = feature(FeatureKind::Number, None);
        let codes = bind("type = 'category'\ncategories = ['s', 'm', 'l']", &number).unwrap();
        assert_eq!(codes.code("l"), Some(2.0), "an ordered category");
        let unnamed = feature(FeatureKind::Category, Some(Categories::Codes));
        assert!(bind("type = 'int'", &unnamed).is_ok(), "the value is the code");
        let contract: FeatureContract =
            toml::from_str("name = 'x'\ntype = 'category'\ncategories = ['7', '8']").unwrap();
        let codes = CategoryCodes::of_contract(&contract, &integers(), true).unwrap();
        assert_eq!(codes.code("8"), Some(1.0), "the model's list is not certain");
        for (contract, model, says) in [
            ("type = 'int'", integers(), "expected type = \"category\""),
            ("type = 'category'", number, "add categories"),
            ("type = 'category'", unnamed, "no categories in contract or model"),
            (
                "type = 'category'\ncategories = ['1', '2']",
                integers(),
                "the model was trained on [\"1\", \"20\"]",
            ),
        ] {
            let error = bind(contract, &model).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
