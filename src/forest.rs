//! The engine: gradient-boosted forests, read exactly as the training library saved them and evaluated
//! bit for bit as that library evaluates them.
//!
//! Pure computation: no I/O, no async, no protocol. [`Forest::from_bytes`] detects the format of a model file
//! and returns one validated in-memory form; what differs between libraries (how a value is compared, where a
//! missing value goes, in which precision and order leaves are added, which transform ends the sum) is *recorded*
//! in the forest, so that no kernel knows a format's name.

use std::fmt;

/// The library that saved a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// How a model is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Insist on one format; `None` detects it from the bytes.
    pub format: Option<Format>,
    /// Which boosting rounds take part.
    pub iterations: Iterations,
}

/// Which boosting rounds take part in a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Iterations {
    /// Every round in the file, as the library's plain `predict` does.
    #[default]
    All,
    /// Rounds up to and including the file's `best_iteration`, as the sklearn wrappers do after early stopping.
    Best,
}

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct FormatError {
    /// Where in the file: a byte offset, a line, or a path such as `learner.gradient_booster.model.trees[3]`.
    pub at: String,
    /// What is wrong there, and what to do about it if something can be done.
    pub reason: String,
}

/// The precision in which a model compares, adds and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats (XGBoost, `gbdt`). Inputs beyond the range of `f32` cannot be represented.
    F32,
    /// 64-bit floats (LightGBM, CatBoost).
    F64,
}

/// What the model was trained to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Two classes; the value is the probability of the second.
    Binary,
    /// Several classes; the values are their probabilities.
    Multiclass,
    /// Anything whose value is not a probability: regression, ranking, survival, counts.
    Value,
}

/// What a prediction consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// The raw sum of the leaves, one number per group.
    Margin,
    /// The library's plain prediction: the margin after the objective's transform.
    Value,
    /// The predicted class, one number (classification only).
    Class,
    /// The leaf reached in each tree, numbered as the library's `pred_leaf` does.
    Leaf,
    /// Per group: one additive contribution per feature, then the bias. They sum to the margin.
    Contributions,
}

/// What a feature of the model is, as far as the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Any number.
    Number,
    /// Whole numbers.
    Integer,
    /// 0 or 1.
    Indicator,
    /// A category code: see [`Feature::categories`].
    Category,
}

/// The categories of one feature: position in the list (for hashes: of the hash) is the code the trees split on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Categories {
    /// The file does not name them: the input must already be a code.
    Codes,
    /// Named categories.
    Names(Vec<String>),
    /// Integer categories.
    Integers(Vec<i64>),
    /// Hashes of the categories' text (CatBoost).
    Hashes(Vec<u32>),
}

/// One input of the model.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Its name in the file, or the library's own default (`f0`, `Column_0`, …).
    pub name: String,
    /// What kind of number it takes.
    pub kind: FeatureKind,
    /// Present for [`FeatureKind::Category`].
    pub categories: Option<Categories>,
    /// Number of splits on it in all trees.
    pub splits: u32,
    /// Sum of the gains of those splits (0 where the format does not save gains).
    pub gain: f64,
}

/// What a model is, for people (`evergreen inspect`) and for the API.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Which library saved it.
    pub format: Format,
    /// That library's version as far as the file tells: `3.2.0`, `v4`.
    pub library_version: Option<String>,
    /// The objective's name as the library writes it: `binary:logistic`.
    pub objective: String,
    /// The task behind the objective.
    pub task: Task,
    /// Whether feature names come from the file (`true`) or are the library's defaults.
    pub named: bool,
    /// Number of trees taking part.
    pub trees: usize,
    /// Output groups: classes or targets, 1 for a scalar model.
    pub groups: usize,
    /// Most splits on a path from root to leaf.
    pub depth: usize,
    /// Leaves in all trees.
    pub leaves: usize,
    /// The round chosen by early stopping, if the file records one.
    pub best_iteration: Option<usize>,
}

/// Why a prediction could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PredictError {
    /// The model has no such output.
    #[error("this model has no {0} output: {1}")]
    Unsupported(OutputKind, &'static str),
    /// A buffer's length does not fit.
    #[error("{what} holds {got} numbers, expected {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it should have.
        expected: usize,
    },
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Margin => "margin",
            Self::Value => "value",
            Self::Class => "class",
            Self::Leaf => "leaf",
            Self::Contributions => "contributions",
        })
    }
}

/// A number that a row may consist of: `f32` or `f64`.
pub trait Number: Copy + Send + Sync + 'static {
    /// Widened without loss.
    fn to_f64(self) -> f64;
    /// Rounded to nearest, as the libraries cast their input.
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the libraries round their input to f32 just so"
    )]
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// Working memory of a prediction; one per thread, grown once and then reused without allocation.
#[derive(Debug, Default)]
pub struct Scratch {}

/// A validated forest.
#[derive(Debug)]
pub struct Forest {}

impl Forest {
    /// Reads a model file; the format is detected from the bytes unless `options` insists on one.
    ///
    /// # Errors
    /// A file that cannot be read *exactly* is refused, saying where and why.
    pub fn from_bytes(_bytes: &[u8], _options: &LoadOptions) -> Result<Self, FormatError> {
        todo!()
    }

    /// What the model is.
    pub fn summary(&self) -> &Summary {
        todo!()
    }

    /// The model's inputs, in its own order.
    pub fn features(&self) -> &[Feature] {
        todo!()
    }

    /// The precision of its margins and values.
    pub fn precision(&self) -> Precision {
        todo!()
    }

    /// Bytes held in memory.
    pub fn size_bytes(&self) -> usize {
        todo!()
    }

    /// Numbers per row that an output of `kind` consists of.
    ///
    /// # Errors
    /// The model has no such output.
    pub fn width(&self, _kind: OutputKind) -> Result<usize, PredictError> {
        todo!()
    }

    /// Predicts `rows` (row-major, `n × features().len()`, missing = NaN) into `out` (row-major,
    /// `n × width(kind)`). A model of [`Precision::F32`] gives `f32` results widened without loss.
    ///
    /// # Errors
    /// The model has no such output, or a buffer has the wrong length.
    pub fn predict<X: Number>(
        &self,
        _kind: OutputKind,
        _rows: &[X],
        _out: &mut [f64],
        _scratch: &mut Scratch,
    ) -> Result<(), PredictError> {
        todo!()
    }

    /// Turns one row's margins (`groups` numbers) into its values: the transform of the objective.
    pub fn transform(&self, _margins: &[f64], _out: &mut [f64]) {
        todo!()
    }
}
