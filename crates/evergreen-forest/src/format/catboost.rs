//! CatBoost JSON: oblivious (`oblivious_trees`) and other (`trees`) forests on float and one-hot features.
//!
//! ```text
//! {"features_info": {"float_features", "categorical_features", …},
//!  "model_info": {"params": {"loss_function": {"type"}}, "catboost_version_info",
//!                 "binclass_probability_threshold": "0.5"},
//!  "oblivious_trees": [{"splits", "leaf_values", "leaf_weights"}] | "trees": [{"split", "left", "right"}],
//!  "scale_and_bias": [scale, [bias, …]]}
//! ```
//! Features that the library computes during prediction (CTR statistics of categories, texts, embeddings) are
//! rejected by name: their tables are not evaluated.

mod features;
mod loss;
mod tree;

use self::features::CatBoostInputs;
use self::tree::CatBoostTreeReader;
use crate::builder::{EnsembleBuilder, EnsembleSettings};
use crate::document::{Document, Fault, ValueKind};
use crate::ensemble::{CodeRule, InputRule, MarginRule, ThresholdRule};
use crate::format::limits;
use crate::{Forest, Format, FormatError, LoadOptions, Summary, Trees};

/// The parts of a file, before they are validated together.
struct CatBoostFile {
    inputs: Option<CatBoostInputs>,
    builder: EnsembleBuilder<f64>,
    /// Numbers per leaf; known from the first tree on.
    groups: Option<usize>,
    loss: String,
    version: Option<String>,
    /// The probability from which a model with two classes predicts the second one.
    threshold: f64,
    scale: f64,
    bias: Vec<f64>,
}

/// Reads a model.
///
/// The file does not record a best iteration: the library truncates the model to it before saving.
pub(super) fn read<'a, D: Document<'a>>(
    document: &mut D,
    bytes: usize,
    _options: &LoadOptions,
) -> Result<Forest, FormatError> {
    let mut file = CatBoostFile {
        inputs: None,
        builder: EnsembleBuilder::new(
            ThresholdRule::LessEqual,
            CodeRule::NonNegative,
            InputRule::Rounded,
        ),
        groups: None,
        loss: String::new(),
        version: None,
        threshold: 0.5,
        scale: 1.0,
        bias: Vec::new(),
    };
    file.root(document)?;
    document.end()?;
    file.assemble(bytes)
}

impl CatBoostFile {
    fn root<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "features_info" if self.inputs.is_some() => Err(document.fault("duplicate key `features_info`")),
            "features_info" => {
                self.inputs = Some(features::read(document, &mut self.builder)?);
                Ok(())
            }
            "model_info" => self.info(document),
            "oblivious_trees" => self.trees(document, CatBoostTreeReader::symmetric),
            "trees" => self.trees(document, CatBoostTreeReader::nested),
            "scale_and_bias" => self.scale_and_bias(document),
            _ => document.skip(),
        })
    }

    fn info<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "catboost_version_info" => {
                self.version = version(&document.text()?);
                Ok(())
            }
            "binclass_probability_threshold" => {
                self.threshold = probability(document)?;
                Ok(())
            }
            "params" if document.shape()? == ValueKind::Object => {
                document.object(|document, key| match key {
                    "loss_function" if document.shape()? == ValueKind::Object => {
                        document.object(|document, key| match key {
                            "type" => document.text().map(|name| self.loss = name.into_owned()),
                            _ => document.skip(),
                        })
                    }
                    _ => document.skip(),
                })
            }
            _ => document.skip(),
        })
    }

    fn trees<'a, D: Document<'a>>(
        &mut self,
        document: &mut D,
        read: impl Fn(&mut CatBoostTreeReader, &mut D, &CatBoostInputs) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some(inputs) = &self.inputs else {
            return Err(document.fault("expected features_info before the trees"));
        };
        let mut reader = CatBoostTreeReader::default();
        document.array(|document, _| {
            let start = document.offset();
            reader.clear();
            read(&mut reader, document, inputs)?;
            let fault = |why: String| Fault::new(start, why);
            self.groups = Some(reader.build(&mut self.builder).map_err(fault)?);
            Ok(())
        })
    }

    fn scale_and_bias<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.array(|document, position| match (position, document.shape()?) {
            (0, _) => document.f64().map(|scale| self.scale = scale),
            (1, ValueKind::Array) => document.f64s(&mut self.bias),
            (1, _) => document.f64().map(|bias| self.bias = vec![bias]),
            _ => Err(document.fault("expected [scale, [bias, …]]")),
        })
    }

    fn assemble(mut self, bytes: usize) -> Result<Forest, FormatError> {
        let inputs = self.inputs.take().ok_or_else(|| {
            at(
                "features_info",
                "missing; save the model with CatBoost's save_model(path, format=\"json\")",
            )
        })?;
        let loss = loss::find(&self.loss).map_err(|why| at("model_info.params.loss_function", why))?;
        let border = loss::border(self.threshold)
            .map_err(|why| at("model_info.binclass_probability_threshold", why))?;
        limits::check("features_info", inputs.features.len(), bytes)?;
        let groups = self.groups.unwrap_or_else(|| self.bias.len().max(1));
        let finish = self.finish(groups).map_err(|why| at("scale_and_bias", why))?;
        let has_cover = inputs.features.is_empty() || self.builder.has_cover();
        let rest = EnsembleSettings {
            features: inputs.features.len(),
            groups,
            base: vec![0.0; groups],
            finish,
        };
        let built = self
            .builder
            .finish(rest)
            .map_err(|(tree, why)| at(&format!("tree {tree}"), why))?;
        let ensemble = built.ensemble;
        let mut features = inputs.features;
        for (feature, (splits, gain)) in features.iter_mut().zip(&built.use_of) {
            (feature.splits, feature.gain) = (*splits, *gain);
        }
        Ok(Forest {
            transform: loss.link.into(),
            classes: loss.classes(groups, border),
            contributions: match has_cover {
                true => Ok(()),
                false => Err("the file does not record the training weight of each leaf"),
            },
            features,
            summary: Summary {
                format: Format::CatBoost,
                library_version: self.version,
                objective: self.loss,
                task: loss.task,
                named: inputs.named,
                trees: ensemble.trees.len(),
                groups,
                depth: built.depth,
                leaves: ensemble.leaves.len(),
                best_iteration: None,
            },
            trees: Trees::F64(ensemble.into()),
        })
    }

    fn finish(&self, groups: usize) -> Result<MarginRule<f64>, String> {
        let mut bias = self.bias.clone();
        if bias.is_empty() {
            bias = vec![0.0; groups];
        }
        if bias.len() != groups {
            return Err(format!(
                "found {} biases for {groups} groups, expected one per group",
                bias.len()
            ));
        }
        if !self.scale.is_finite() || !bias.iter().all(|bias| bias.is_finite()) {
            return Err("expected finite numbers".into());
        }
        #[expect(
            clippy::float_cmp,
            reason = "the identity, which the library does not compute either"
        )]
        if self.scale == 1.0 && bias.iter().all(|bias| *bias == 0.0) {
            return Ok(MarginRule::None);
        }
        Ok(MarginRule::ScaleBias(self.scale, bias))
    }
}

/// Reads a probability, which the library writes as a string; a number is accepted too.
fn probability<'a, D: Document<'a>>(document: &mut D) -> Result<f64, Fault> {
    if document.shape()? != ValueKind::Text {
        return document.f64();
    }
    let fault = document.fault("expected a probability such as \"0.5\"");
    document.text()?.parse().map_err(|_| fault)
}

/// Extracts the release from the build information: `… Branch: tags/v1.2.10 …`.
fn version(info: &str) -> Option<String> {
    let (_, after) = info.split_once("tags/v")?;
    after.split_whitespace().next().map(str::to_owned)
}

/// Creates an error at a named part of the model.
fn at(path: &str, reason: impl Into<String>) -> FormatError {
    FormatError {
        at: path.to_owned(),
        reason: reason.into(),
    }
}
