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
use crate::builder::{EnsembleBuilder, EnsembleSettings};
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
    file.top(document)?;
    document.end()?;
    file.assemble(bytes)
}

impl GbdtFile {
    fn top<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "conf" => self.conf(document),
            "bias" => document.f32().map(|bias| self.bias = bias),
            "trees" if self.has_trees => Err(document.fault("given twice")),
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

    fn assemble(mut self, bytes: usize) -> Result<Forest, FormatError> {
        limits::check("conf.feature_size", self.features, bytes)?;
        let (task, link) = find(&self.loss).map_err(|why| at("conf.loss", why))?;
        let trees = self.builder.trees();
        if trees == 0 || trees != self.iterations {
            let why = format!("{} of them, but there are {trees} trees", self.iterations);
            return Err(at("conf.iterations", why));
        }
        if self.guesses {
            let why = "the model adds a guess of its own to each row, which only its training data has";
            return Err(at("conf.initial_guess_enabled", why));
        }
        if !self.shrinkage.is_finite() || !self.bias.is_finite() {
            return Err(at("conf.shrinkage", "shrinkage or bias is not finite"));
        }
        for tree in 0..trees {
            // The crate multiplies each leaf by the shrinkage before adding it. Doing so once gives the same
            // bits.
            self.builder.scale(tree, self.shrinkage);
        }
        let rest = EnsembleSettings {
            features: self.features,
            groups: 1,
            base: vec![self.bias],
            finish: MarginRule::None,
        };
        let built = self
            .builder
            .finish(rest)
            .map_err(|(tree, why)| at(&format!("trees[{tree}]"), why))?;
        let ensemble = built.ensemble;
        let features = built
            .use_of
            .iter()
            .enumerate()
            .map(|(position, (splits, _))| Feature {
                name: format!("f{position}"),
                kind: FeatureKind::Number,
                categories: None,
                splits: *splits,
                gain: 0.0,
            });
        Ok(Forest {
            transform: link.into(),
            classes: match task {
                Task::Binary => ClassRule::ValueAbove(0.5),
                _ => ClassRule::None,
            },
            contributions: Err("its file does not say how much training weight reached each node"),
            features: features.collect(),
            summary: Summary {
                format: Format::Gbdt,
                library_version: None,
                objective: self.loss,
                task,
                named: false,
                trees,
                groups: 1,
                depth: built.depth,
                leaves: ensemble.leaves.len(),
                best_iteration: None,
            },
            trees: Trees::F32(ensemble.into()),
        })
    }
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
            Err("such a file does not say how many classes there are; use the XGBoost model that it was made from".into())
        }
        other => {
            let other: String = other.chars().take(32).collect();
            Err(format!("unknown loss `{other}`"))
        }
    }
}

fn count<'a, D: Document<'a>>(document: &mut D) -> Result<usize, Fault> {
    let count = document.integer()?;
    usize::try_from(count).map_err(|_| document.fault("not a count"))
}

/// Creates an error at a named part of the model.
fn at(path: &str, reason: impl Into<String>) -> FormatError {
    FormatError {
        at: path.to_owned(),
        reason: reason.into(),
    }
}
