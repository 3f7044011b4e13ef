//! The description of a loaded model: format, task, features.

use std::fmt;

/// The library that saved a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum Format {
    /// XGBoost JSON or UBJSON.
    XgBoost,
    /// LightGBM text.
    LightGbm,
    /// CatBoost JSON.
    CatBoost,
    /// The `gbdt` crate's JSON.
    Gbdt,
}

impl Format {
    /// Returns the name in contracts and answers: `xgboost`, `lightgbm`, `catboost` or `gbdt`.
    pub fn label(self) -> &'static str {
        match self {
            Self::XgBoost => "xgboost",
            Self::LightGbm => "lightgbm",
            Self::CatBoost => "catboost",
            Self::Gbdt => "gbdt",
        }
    }
}

impl fmt::Display for Format {
    /// The library's name as its authors write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XgBoost => "XGBoost",
            Self::LightGbm => "LightGBM",
            Self::CatBoost => "CatBoost",
            Self::Gbdt => "gbdt",
        })
    }
}

/// What the model was trained to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Two classes; the value is the probability of the second.
    Binary,
    /// Several classes; the values are their probabilities.
    Multiclass,
    /// The value is not a probability: regression, ranking, survival, counts.
    Value,
}

impl Task {
    /// Returns the name in answers: `binary`, `multiclass` or `value`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Multiclass => "multiclass",
            Self::Value => "value",
        }
    }
}

/// The kind of a feature, as far as the file records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Any number.
    Number,
    /// Whole numbers.
    Integer,
    /// 0 or 1.
    Indicator,
    /// A category code; see [`Feature::categories`].
    Category,
}

impl FeatureKind {
    /// Returns the name in answers: `number`, `integer`, `indicator` or `category`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Indicator => "indicator",
            Self::Category => "category",
        }
    }
}

/// The categories of one feature. The position in the list is the code that the trees split on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Categories {
    /// The file does not name the categories: the input must be a code.
    Codes,
    /// Named categories.
    Names(Vec<String>),
    /// Integer categories.
    Integers(Vec<i64>),
    /// Hashes of the categories' text (CatBoost).
    Hashes(Vec<u32>),
    /// The file has lists of categories and does not say whether one belongs to this feature (LightGBM). To the trees a
    /// number is a code, but in the training data it may have been a category with another code.
    Uncertain,
}

/// One input of the model.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Its name in the file, or the library's own default (`f0`, `Column_0`, …).
    pub name: String,
    /// What kind of number it takes.
    pub kind: FeatureKind,
    /// The categories; present for [`FeatureKind::Category`], and for a number that was an ordered category in training.
    pub categories: Option<Categories>,
    /// Number of splits on it, in all trees.
    pub splits: u32,
    /// Total gain of those splits; 0 where the format does not save gains.
    pub gain: f64,
}

/// The description of a model.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The library that saved it.
    pub format: Format,
    /// The library's version as recorded in the file: `3.2.0`, `v4`.
    pub library_version: Option<String>,
    /// The objective's name as the library writes it: `binary:logistic`.
    pub objective: String,
    /// The task that belongs to the objective.
    pub task: Task,
    /// True if feature names come from the file, false if they are the library's defaults.
    pub named: bool,
    /// Number of trees in use.
    pub trees: usize,
    /// Output groups: classes or targets; 1 for a scalar model.
    pub groups: usize,
    /// Most splits on a path from root to leaf.
    pub depth: usize,
    /// Leaves in all trees.
    pub leaves: usize,
    /// The round chosen by early stopping, if the file records one.
    pub best_iteration: Option<usize>,
}

impl Feature {
    /// Returns the bytes held in memory.
    pub(super) fn size_bytes(&self) -> usize {
        let categories = match &self.categories {
            None | Some(Categories::Codes | Categories::Uncertain) => 0,
            Some(Categories::Names(names)) => names.iter().map(|name| size_of::<String>() + name.len()).sum(),
            Some(Categories::Integers(numbers)) => size_of_val(numbers.as_slice()),
            Some(Categories::Hashes(hashes)) => size_of_val(hashes.as_slice()),
        };
        size_of::<Self>() + self.name.len() + categories
    }
}
