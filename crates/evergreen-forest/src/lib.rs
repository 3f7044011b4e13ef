//! Evaluates gradient-boosted tree models exactly as the library that trained them.
//!
//! [`Forest::from_bytes`] detects the format of a model file (XGBoost, LightGBM, CatBoost or the `gbdt` crate),
//! validates it and chooses the fastest kernel. [`Forest::predict`] evaluates rows; [`OutputKind`] lists the outputs.
//! The crate is pure computation: no I/O, no async, no threads.
//!
//! # Exactness
//! Margins, values, classes and leaves have the bits that the training library returns; the README lists the few
//! exceptions. The rules in which libraries differ are data in the loaded model: how a number is compared, where a
//! missing value goes, in which precision and order leaves are added, which transform follows. No kernel knows a format,
//! and all kernels give the same bits.
//!
//! # Threads and memory
//! A [`Forest`] is immutable, [`Send`] and [`Sync`]: share it by reference or in an `Arc`. Each thread uses a [`Scratch`]
//! of its own. A prediction does not allocate once its scratch has grown.
//!
//! # Modules
//! ```text
//! document    reads JSON and UBJSON value by value, from untrusted files
//! format      one parser per library: file -> EnsembleBuilder, Transform, Summary
//! builder     validates every tree and copies it into the ensemble
//! ensemble    the flat, validated form of all trees
//! kernel      rows -> sums of leaves
//! transform   margins -> values
//! contributions  the parts of features and pairs of features in a margin
//! path        the leaf of a row in each tree, and the conditions on the way
//! predict     rows -> an output
//! category    a category's text -> its code
//! fuzzing     what the fuzz targets call, for tests only
//! ```

mod builder;
mod category;
mod contributions;
mod document;
mod ensemble;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod kernel;
mod load;
mod number;
mod output;
mod path;
mod precision;
mod predict;
#[cfg(any(test, feature = "fuzzing"))]
mod random_source;
mod sensitivity;
mod summary;
mod transform;

pub use kernel::{KernelName, Kernels};
pub use load::{FormatError, Iterations, LoadOptions};
pub use number::Number;
pub use output::{OutputKind, PredictError};
pub use path::{Bound, Condition, TreePath};
pub use precision::Precision;
pub use predict::Scratch;
pub use sensitivity::MarginBounds;
pub use summary::{Categories, Feature, FeatureKind, Format, Summary, Task};

use std::sync::OnceLock;

use contributions::Explainer;
use ensemble::Ensemble;
use kernel::{Kernel, KernelFloat};
use transform::Transform;

/// A loaded model. Load it once and share it between threads, each with a [`Scratch`] of its own.
///
/// # Examples
/// Predict one row and many rows:
/// ```
/// use evergreen_forest::{Forest, LoadOptions, OutputKind, Scratch};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/churn/1/model.ubj"));
/// let forest = Forest::from_bytes(bytes, &LoadOptions::default())?;
/// let features = forest.features().len();
/// let mut scratch = Scratch::default();
///
/// let row = vec![f32::NAN; features];
/// let mut value = vec![0.0; forest.width(OutputKind::Value)?];
/// forest.predict(OutputKind::Value, &row, &mut value, &mut scratch)?;
///
/// // Rows of f64 are accepted too.
/// let rows = vec![0.5f64; 100 * features];
/// let mut margins = vec![0.0; 100 * forest.width(OutputKind::Margin)?];
/// forest.predict(OutputKind::Margin, &rows, &mut margins, &mut scratch)?;
/// assert!(margins.iter().all(|margin| margin.to_bits() == margins[0].to_bits()));
/// # Ok(())
/// # }
/// ```
/// Explain a row:
/// ```
/// use evergreen_forest::{Forest, LoadOptions, OutputKind, Scratch};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/churn/1/model.ubj"));
/// # let forest = Forest::from_bytes(bytes, &LoadOptions::default())?;
/// # let row = vec![0.5f32; forest.features().len()];
/// let mut parts = vec![0.0; forest.width(OutputKind::Contributions)?];
/// forest.predict(OutputKind::Contributions, &row, &mut parts, &mut Scratch::default())?;
/// let (bias, contributions) = parts.split_last().ok_or("no contributions")?;
/// for (feature, contribution) in forest.features().iter().zip(contributions) {
///     println!("{}: {contribution:+.3}", feature.name);
/// }
/// println!("bias: {bias:+.3}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Forest {
    trees: Trees,
    transform: Transform,
    classes: ClassRule,
    contributions: Result<(), &'static str>,
    features: Vec<Feature>,
    summary: Summary,
}

/// The trees, in the float type that they compute in.
#[derive(Debug)]
enum Trees {
    F32(TreeModel<f32>),
    F64(TreeModel<f64>),
}

/// An ensemble with the kernels chosen for it.
#[derive(Debug)]
struct TreeModel<T: KernelFloat> {
    ensemble: Ensemble<T>,
    kernel: Kernel<T>,
    /// Built when a row is first explained.
    explainer: OnceLock<Explainer<T>>,
    /// Built when interactions are first asked for, if the explainer cannot compute them.
    interactions: OnceLock<Explainer<T>>,
}

impl<T: KernelFloat> From<Ensemble<T>> for TreeModel<T> {
    /// Uses the reference until a kernel is chosen.
    fn from(ensemble: Ensemble<T>) -> Self {
        Self {
            ensemble,
            kernel: Kernel::reference(),
            explainer: OnceLock::new(),
            interactions: OnceLock::new(),
        }
    }
}

impl<T: KernelFloat> TreeModel<T> {
    fn choose(&mut self, name: Option<KernelName>) -> Result<(), FormatError> {
        self.kernel = match name {
            None => Kernel::choose(&self.ensemble),
            Some(name) => Kernel::of(name, &self.ensemble).ok_or_else(|| FormatError {
                at: "kernel".into(),
                reason: format!("{name} cannot evaluate this model on this CPU; leave the kernel out to choose the fastest"),
            })?,
        };
        Ok(())
    }

    fn paths<X: Number>(&self, row: &[X], group: usize) -> Vec<TreePath> {
        let mut prepared = vec![T::ZERO; row.len()];
        self.ensemble.prepare(row, &mut prepared);
        path::paths(&self.ensemble, &prepared, group)
    }

    fn margin_bounds<X: Number>(&self, lower: &[X], upper: &[X], group: usize) -> MarginBounds {
        let mut prepared = [vec![T::ZERO; lower.len()], vec![T::ZERO; upper.len()]];
        for (prepared, row) in prepared.iter_mut().zip([lower, upper]) {
            self.ensemble.prepare(row, prepared);
        }
        let [lower, upper] = prepared;
        sensitivity::margin_bounds(&self.ensemble, &lower, &upper, group)
    }

    fn release_explanations(&mut self) {
        self.explainer.take();
        self.interactions.take();
    }

    /// Returns what explains rows.
    fn explainer(&self) -> &Explainer<T> {
        self.explainer.get_or_init(|| Explainer::new(&self.ensemble))
    }

    /// Returns what computes interactions.
    fn interactions(&self) -> &Explainer<T> {
        match self.explainer.get() {
            Some(explainer) if explainer.has_interactions() => explainer,
            _ => self
                .interactions
                .get_or_init(|| Explainer::of_interactions(&self.ensemble)),
        }
    }

    fn bytes(&self) -> usize {
        let explainers = self.explainer.get().into_iter().chain(self.interactions.get());
        self.ensemble.bytes() + self.kernel.bytes() + explainers.map(Explainer::bytes).sum::<usize>()
    }
}

/// How the class is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ClassRule {
    /// The model has no classes.
    None,
    /// The second class if the only value exceeds this, otherwise the first.
    ValueAbove(f64),
    /// The second class if the only margin exceeds this, otherwise the first.
    MarginAbove(f64),
    /// The class with the greatest margin; the first one if there are several.
    GreatestMargin,
    /// The class with the greatest value; the first one if there are several.
    GreatestValue,
}

impl Forest {
    /// Loads a model file. The format is detected from the bytes unless `options` requires one.
    ///
    /// Without a kernel in `options`, candidates are timed on 256 generated rows.
    ///
    /// # Errors
    /// The file is corrupt, of an unknown format, not of the required format, or cannot be evaluated exactly; or the
    /// required kernel cannot evaluate it. The error gives the position and the reason.
    ///
    /// # Examples
    /// ```
    /// use evergreen_forest::{Forest, LoadOptions};
    ///
    /// let error = Forest::from_bytes(b"CBM1", &LoadOptions::default()).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "byte 0: this is CatBoost's binary format; save the model with save_model(path, format=\"json\")"
    /// );
    /// ```
    pub fn from_bytes(bytes: &[u8], options: &LoadOptions) -> Result<Self, FormatError> {
        let mut forest = format::read(bytes, options)?;
        forest.use_kernel(options.kernel)?;
        Ok(forest)
    }

    /// Evaluates with this kernel from now on, or with the fastest one. All give the same bits.
    ///
    /// # Errors
    /// The kernel cannot evaluate this model on this CPU. The one before stays.
    pub fn use_kernel(&mut self, kernel: Option<KernelName>) -> Result<(), FormatError> {
        match &mut self.trees {
            Trees::F32(trees) => trees.choose(kernel),
            Trees::F64(trees) => trees.choose(kernel),
        }
    }

    /// Returns the kernels that evaluate the model.
    pub fn kernels(&self) -> Kernels {
        match &self.trees {
            Trees::F32(trees) => trees.kernel.names(),
            Trees::F64(trees) => trees.kernel.names(),
        }
    }

    /// Returns the description of the model.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the inputs, in the order of the columns of a row.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Returns the float type in which the model computes.
    pub fn precision(&self) -> Precision {
        match self.trees {
            Trees::F32(_) => Precision::F32,
            Trees::F64(_) => Precision::F64,
        }
    }

    /// Returns whether the values are probabilities. They are for classifiers, except those whose default prediction is
    /// the class (`multi:softmax`, `binary:hinge`).
    pub fn gives_probabilities(&self) -> bool {
        self.summary.task != Task::Value && !self.transform.ends_in_class()
    }

    /// Returns the bytes held in memory, including the layouts of the kernels. The layout for explanations counts from the
    /// first explained row on, when it is built.
    pub fn size_bytes(&self) -> usize {
        let trees = match &self.trees {
            Trees::F32(trees) => trees.bytes(),
            Trees::F64(trees) => trees.bytes(),
        };
        trees + self.features.iter().map(Feature::size_bytes).sum::<usize>()
    }

    /// Returns whether the next explained row finds its layout built. Building it takes as long as loading, about.
    pub fn can_explain_at_once(&self) -> bool {
        match &self.trees {
            Trees::F32(trees) => trees.explainer.get().is_some(),
            Trees::F64(trees) => trees.explainer.get().is_some(),
        }
    }

    /// Gives the memory of explanations back; the next explained row builds the layout again.
    pub fn release_explanations(&mut self) {
        match &mut self.trees {
            Trees::F32(trees) => trees.release_explanations(),
            Trees::F64(trees) => trees.release_explanations(),
        }
    }

    /// Returns the path of one row through every tree that adds to an output group, in the order of the trees.
    ///
    /// # Errors
    /// As for [`OutputKind::Contributions`]; [`PredictError::Length`] if the row has the wrong length.
    pub fn paths<X: Number>(&self, row: &[X], group: usize) -> Result<Vec<TreePath>, PredictError> {
        self.width(OutputKind::Contributions)?;
        let expected = self.features.len();
        if row.len() != expected {
            let got = row.len();
            return Err(PredictError::Length {
                what: "row",
                got,
                expected,
            });
        }
        Ok(match &self.trees {
            Trees::F32(trees) => trees.paths(row, group),
            Trees::F64(trees) => trees.paths(row, group),
        })
    }

    /// Returns, for each feature, the numbers at which outputs can change, ascending: all numbers from one (included) up to the
    /// next (excluded) give the same outputs if the other features stay. So do all below the first. Features with categories have
    /// none.
    ///
    /// # Errors
    /// [`PredictError::Linear`] if leaves are linear functions, so that every number gives its own output.
    pub fn steps(&self) -> Result<Vec<Vec<f64>>, PredictError> {
        if self.has_linear_leaves() {
            return Err(PredictError::Linear);
        }
        Ok(match &self.trees {
            Trees::F32(trees) => sensitivity::steps(&trees.ensemble),
            Trees::F64(trees) => sensitivity::steps(&trees.ensemble),
        })
    }

    /// Returns bounds of a group's margin over all rows between `lower` and `upper`. A feature with different numbers there takes
    /// every number between them, both included, and is never missing; one with the same number in both, or NaN, keeps it.
    ///
    /// The bounds add up the least and the greatest leaf of each tree, so they hold, and are often wider than need be.
    ///
    /// # Errors
    /// [`PredictError::Length`] if a row has the wrong length; [`PredictError::Group`]; [`PredictError::Linear`] as for
    /// [`Self::steps`].
    pub fn margin_bounds<X: Number>(
        &self,
        lower: &[X],
        upper: &[X],
        group: usize,
    ) -> Result<MarginBounds, PredictError> {
        if self.has_linear_leaves() {
            return Err(PredictError::Linear);
        }
        let expected = self.features.len();
        if let Some(wrong) = [lower, upper].into_iter().find(|row| row.len() != expected) {
            let got = wrong.len();
            return Err(PredictError::Length {
                what: "row",
                got,
                expected,
            });
        }
        if group >= self.summary.groups {
            return Err(PredictError::Group(group));
        }
        Ok(match &self.trees {
            Trees::F32(trees) => trees.margin_bounds(lower, upper, group),
            Trees::F64(trees) => trees.margin_bounds(lower, upper, group),
        })
    }

    fn has_linear_leaves(&self) -> bool {
        match &self.trees {
            Trees::F32(trees) => !trees.ensemble.linear.is_empty(),
            Trees::F64(trees) => !trees.ensemble.linear.is_empty(),
        }
    }

    /// Applies the objective's transform to one row: `margins` holds `groups` numbers, `out` has room for
    /// `width(OutputKind::Value)` numbers.
    pub fn transform(&self, margins: &[f64], out: &mut [f64]) {
        self.transform.apply(margins, out);
    }
}

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
