//! The engine: gradient-boosted forests, read exactly as the training library saved them and evaluated
//! bit for bit as that library evaluates them.
//!
//! Pure computation: no I/O, no async, no protocol. [`Forest::from_bytes`] detects the format of a model file
//! and returns one validated in-memory form; what differs between libraries (how a value is compared, where a
//! missing value goes, in which precision and order leaves are added, which transform ends the sum) is *recorded*
//! in the forest, so that no kernel knows a format's name.
//!
//! ```text
//! document    JSON and UBJSON, pulled value by value from files that may lie
//! format      one parser per library            file -> EnsembleBuilder, Transform, Summary
//! builder     checks every tree while it copies it into the
//! ensemble    flat validated form of all trees, which the
//! kernel      walks: rows -> sums of leaves; then
//! transform   margins -> values
//! shap        contributions of each feature to a margin
//! predict     the outputs put together, without allocation once warm
//! ```

mod builder;
mod category;
mod document;
mod ensemble;
mod format;
mod kernel;
mod load;
mod number;
mod output;
mod precision;
mod predict;
mod shap;
mod summary;
mod transform;

pub use kernel::{KernelName, Kernels};
pub use load::{FormatError, Iterations, LoadOptions};
pub use number::Number;
pub use output::{OutputKind, PredictError};
pub use precision::Precision;
pub use predict::Scratch;
pub use summary::{Categories, Feature, FeatureKind, Format, Summary, Task};

use ensemble::Ensemble;
use kernel::{Kernel, KernelFloat};

use transform::Transform;

/// A validated forest: loaded once, then shared by any number of threads, each with a [`Scratch`] of its own.
///
/// ```no_run
/// use evergreen_forest::{Forest, LoadOptions, OutputKind, Scratch};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let forest = Forest::from_bytes(&std::fs::read("model.ubj")?, &LoadOptions::default())?;
/// let mut scratch = Scratch::default();
///
/// // One row, into the caller's buffer; nothing is allocated once the scratch has grown.
/// let row: Vec<f32> = vec![f32::NAN; forest.features().len()];
/// let mut value = vec![0.0; forest.width(OutputKind::Value)?];
/// forest.predict(OutputKind::Value, &row, &mut value, &mut scratch)?;
///
/// // Many rows, one after the other; `f64` input is as good.
/// let rows: Vec<f64> = vec![0.5; 100 * forest.features().len()];
/// let mut margins = vec![0.0; 100 * forest.width(OutputKind::Margin)?];
/// forest.predict(OutputKind::Margin, &rows, &mut margins, &mut scratch)?;
///
/// fn shared<T: Send + Sync>(_: &T) {}
/// shared(&forest);
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

/// The trees, in the width they compute in.
#[derive(Debug)]
enum Trees {
    F32(TreeModel<f32>),
    F64(TreeModel<f64>),
}

/// Trees, and how they are walked.
#[derive(Debug)]
struct TreeModel<T: KernelFloat> {
    ensemble: Ensemble<T>,
    kernel: Kernel<T>,
}

impl<T: KernelFloat> From<Ensemble<T>> for TreeModel<T> {
    /// Walked by the reference until a kernel is chosen.
    fn from(ensemble: Ensemble<T>) -> Self {
        Self {
            ensemble,
            kernel: Kernel::reference(),
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

    fn bytes(&self) -> usize {
        self.ensemble.bytes() + self.kernel.bytes()
    }
}

/// How a class is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ClassRule {
    /// There are no classes.
    None,
    /// The second class where the only value exceeds this.
    ValueAbove(f64),
    /// The first of the greatest margins.
    GreatestMargin,
    /// The first of the greatest values.
    GreatestValue,
}

impl Forest {
    /// Reads a model file; the format is detected from the bytes unless `options` insists on one.
    ///
    /// # Errors
    /// A file that cannot be read *exactly* is refused, saying where and why.
    pub fn from_bytes(bytes: &[u8], options: &LoadOptions) -> Result<Self, FormatError> {
        let mut forest = format::read(bytes, options)?;
        match &mut forest.trees {
            Trees::F32(trees) => trees.choose(options.kernel)?,
            Trees::F64(trees) => trees.choose(options.kernel)?,
        }
        Ok(forest)
    }

    /// How its trees are walked.
    pub fn kernels(&self) -> Kernels {
        match &self.trees {
            Trees::F32(trees) => trees.kernel.names(),
            Trees::F64(trees) => trees.kernel.names(),
        }
    }

    /// What the model is.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The model's inputs, in its own order.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The precision of its margins and values.
    pub fn precision(&self) -> Precision {
        match self.trees {
            Trees::F32(_) => Precision::F32,
            Trees::F64(_) => Precision::F64,
        }
    }

    /// Whether its values are probabilities: of a classifier whose plain prediction is not already the class
    /// (`multi:softmax`, `binary:hinge`).
    pub fn gives_probabilities(&self) -> bool {
        self.summary.task != Task::Value && !self.transform.ends_in_class()
    }

    /// Bytes held in memory.
    pub fn size_bytes(&self) -> usize {
        let trees = match &self.trees {
            Trees::F32(trees) => trees.bytes(),
            Trees::F64(trees) => trees.bytes(),
        };
        trees + self.features.iter().map(Feature::size_bytes).sum::<usize>()
    }

    /// Turns one row's margins (`groups` numbers) into its values: the transform of the objective.
    pub fn transform(&self, margins: &[f64], out: &mut [f64]) {
        self.transform.apply(margins, out);
    }
}
