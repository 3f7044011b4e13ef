//! Models saved by the `gbdt` crate: its structures as JSON.
//!
//! ```text
//! {"conf": {"feature_size", "iterations", "shrinkage", "loss", "initial_guess_enabled", …},
//!  "trees": [{"tree": {"tree": [{"value": {"feature_index", "feature_value", "pred", "missing", "is_leaf"},
//!                                "index", "left", "right"}]}, …}],
//!  "bias": …}
//! ```
//! All numbers are `f32`. The sum is `bias + Σ shrinkage · leaf`. `f32::MIN` means missing. At a split a
//! missing value goes left (−1), goes right (1), or stops and takes the node's own prediction (0).

mod tree;

use self::tree::GbdtTree;
use crate::builder::{BuildOutput, EnsembleBuilder, EnsembleSettings};
use crate::document::{Document, Fault};
use crate::ensemble::{CodeRule, InputRule, MarginRule, ThresholdRule};
use crate::format::limits;
use crate::transform::LinkFunction;
use crate::{
    ClassRule, Feature, FeatureKind, Forest, Format, FormatError, LoadOptions, Summary, Task, Trees,
};

/// The parts of a file, before they are validated together.
struct GbdtFile {
    builder: EnsembleBuilder<f32>,
    has_trees: bool,
    features: usize,
    iterations: usize,
    shrinkage: f32,
    loss: String,
    guesses: bool,
    bias: f32,
}

/// Reads a model.
pub(super) fn read<'a, D: Document<'a>>(
    document: &mut D,
    bytes: usize,
    _options: &LoadOptions,
) -> Result<Forest, FormatError> {
    let mut file = GbdtFile {
        builder: EnsembleBuilder::new(
            ThresholdRule::Less,
            CodeRule::NonNegative,
            InputRule::Sentinel(f32::MIN),
        ),
        has_trees: false,
        features: 0,
        iterations: 0,
        shrinkage: 1.0,
        loss: String::new(),
        guesses: false,
        bias: 0.0,
    };
    file.root(document)?;
    document.end()?;
    file.assemble(bytes)
}

impl GbdtFile {
    fn root<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "conf" => self.conf(document),
            "bias" => document.f32().map(|bias| self.bias = bias),
            "trees" if self.has_trees => Err(document.fault("duplicate key `trees`")),
            "trees" => self.trees(document),
            _ => document.skip(),
        })
    }

    fn conf<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "feature_size" => count(document).map(|count| self.features = count),
            "iterations" => count(document).map(|count| self.iterations = count),
            "shrinkage" => document.f32().map(|number| self.shrinkage = number),
            "loss" => document.text().map(|loss| self.loss = loss.into_owned()),
            "initial_guess_enabled" => document.integer().map(|flag| self.guesses = flag != 0),
            _ => document.skip(),
        })
    }

    fn trees<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        self.has_trees = true;
        self.builder.lacks_cover();
        let mut nodes = GbdtTree::default();
        document.array(|document, _| {
            let start = document.offset();
            nodes.read(document)?;
            nodes
                .build(&mut self.builder)
                .map_err(|why| Fault::new(start, why))
        })
    }

    /// Validates the parts together and builds the forest. `bytes` is the length of the file.
    fn assemble(mut self, bytes: usize) -> Result<Forest, FormatError> {
        limits::check("conf.feature_size", self.features, bytes)?;
        let (task, link) = find(&self.loss).map_err(|why| at("conf.loss", why))?;
        self.check()?;
        for tree in 0..self.builder.trees() {
            // The crate multiplies each leaf by the shrinkage before adding it. Doing so once gives the same bits.
            self.builder.scale(tree, self.shrinkage);
        }
        let settings = EnsembleSettings {
            features: self.features,
            groups: 1,
            base: vec![self.bias],
            finish: MarginRule::None,
        };
        let built = self
            .builder
            .finish(settings)
            .map_err(|(tree, why)| at(&format!("trees[{tree}]"), why))?;
        Ok(Forest {
            transform: link.into(),
            classes: match task {
                Task::Binary => ClassRule::ValueAbove(0.5),
                _ => ClassRule::None,
            },
            contributions: Err("the file does not record the training weight of each node"),
            features: features(&built),
            summary: Summary {
                format: Format::Gbdt,
                library_version: None,
                objective: self.loss,
                task,
                named: false,
                trees: built.ensemble.trees.len(),
                groups: 1,
                depth: built.depth,
                leaves: built.ensemble.leaves.len(),
                best_iteration: None,
            },
            trees: Trees::F32(built.ensemble.into()),
        })
    }

    /// Checks the configuration against the trees.
    fn check(&self) -> Result<(), FormatError> {
        let trees = self.builder.trees();
        if trees == 0 || trees != self.iterations {
            let why = format!(
                "{} iterations for {trees} trees; expected one tree per iteration",
                self.iterations
            );
            return Err(at("conf.iterations", why));
        }
        if self.guesses {
            let why = "initial guesses are per training row and unknown for new rows; train with \
                       initial_guess_enabled = false";
            return Err(at("conf.initial_guess_enabled", why));
        }
        if !self.shrinkage.is_finite() || !self.bias.is_finite() {
            return Err(at("conf.shrinkage", "shrinkage and bias must be finite numbers"));
        }
        Ok(())
    }
}

/// Describes the features; the crate saves no names.
fn features(built: &BuildOutput<f32>) -> Vec<Feature> {
    let splits = built.use_of.iter().map(|(splits, _)| *splits).enumerate();
    let feature = |(position, splits)| Feature {
        name: format!("f{position}"),
        kind: FeatureKind::Number,
        categories: None,
        splits,
        gain: 0.0,
    };
    splits.map(feature).collect()
}

/// Looks up a loss of the crate.
fn find(name: &str) -> Result<(Task, LinkFunction), String> {
    match name {
        "SquaredError" | "LAD" | "RegLinear" | "BinaryLogitraw" | "RankPairwise" => {
            Ok((Task::Value, LinkFunction::Identity))
        }
        "LogLikelyhood" => Ok((Task::Binary, LinkFunction::DoubleLogistic32)),
        "RegLogistic" | "BinaryLogistic" => Ok((Task::Binary, LinkFunction::Logistic32 { capped: false })),
        "MultiSoftprob" | "MultiSoftmax" => {
            Err("the file does not record the number of classes; use the original XGBoost model".into())
        }
        other => {
            let other: String = other.chars().take(32).collect();
            Err(format!(
                "unknown loss `{other}`; expected a loss such as SquaredError or LogLikelyhood"
            ))
        }
    }
}

fn count<'a, D: Document<'a>>(document: &mut D) -> Result<usize, Fault> {
    let count = document.integer()?;
    usize::try_from(count).map_err(|_| document.fault("expected a non-negative integer"))
}

/// Creates an error at a named part of the model.
fn at(path: &str, reason: impl Into<String>) -> FormatError {
    FormatError {
        at: path.to_owned(),
        reason: reason.into(),
    }
}
