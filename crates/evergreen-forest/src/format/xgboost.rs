//! XGBoost JSON and UBJSON, of every release that writes them (since 1.0).
//!
//! ```text
//! {"version": [3,2,0],
//!  "learner": {"attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param",
//!              "objective"}}
//! ```
//! A memory snapshot wraps this in `{"Model": …, "Config": …}`. Most numbers in `*_param` objects are
//! strings.

mod base_score;
mod booster;
mod categories;
mod objective;
mod tree;

use self::booster::Booster;
use self::objective::{BaseLink, XgBoostObjective};
use crate::builder::{BuildOutput, EnsembleSettings};
use crate::document::{Document, Fault, ValueKind};
use crate::ensemble::MarginRule;
use crate::format::limits;
use crate::{
    Categories, Feature, FeatureKind, Forest, Format, FormatError, Iterations, LoadOptions, Summary, Trees,
};

/// The parts of a file, before they are validated together.
#[derive(Default)]
struct XgBoostFile {
    version: Vec<u32>,
    best_iteration: Option<usize>,
    names: Vec<String>,
    types: Vec<String>,
    booster: Option<Booster>,
    objective: String,
    base_score: Option<String>,
    /// Training was to estimate `base_score`.
    estimates_base: bool,
    classes: usize,
    features: usize,
    targets: usize,
}

/// Reads a model from either encoding.
pub(super) fn read<'a, D: Document<'a>>(
    document: &mut D,
    bytes: usize,
    options: &LoadOptions,
) -> Result<Forest, FormatError> {
    let mut file = XgBoostFile::default();
    file.root(document)?;
    document.end()?;
    file.assemble(bytes, options)
}

impl XgBoostFile {
    fn root<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "version" => document.integers(&mut self.version),
            "learner" => self.learner(document),
            "Model" => self.root(document),
            _ => document.skip(),
        })
    }

    fn learner<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "attributes" => self.attributes(document),
            "feature_names" => document.texts().map(|names| self.names = names),
            "feature_types" => document.texts().map(|types| self.types = types),
            "gradient_booster" if self.booster.is_some() => {
                Err(document.fault("duplicate key `gradient_booster`"))
            }
            "gradient_booster" => booster::read(document).map(|booster| self.booster = Some(booster)),
            "learner_model_param" => self.param(document),
            "objective" => document.object(|document, key| match key {
                "name" => document.text().map(|name| self.objective = name.into_owned()),
                _ => document.skip(),
            }),
            _ => document.skip(),
        })
    }

    fn attributes<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "best_iteration" => best_round(document).map(|best| self.best_iteration = best),
            _ => document.skip(),
        })
    }

    fn param<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "base_score" => document
                .text()
                .map(|text| self.base_score = Some(text.into_owned())),
            "boost_from_average" => count(document).map(|flag| self.estimates_base = flag == 1),
            "num_class" => count(document).map(|count| self.classes = count),
            "num_feature" => count(document).map(|count| self.features = count),
            "num_target" => count(document).map(|count| self.targets = count),
            _ => document.skip(),
        })
    }

    fn assemble(mut self, bytes: usize, options: &LoadOptions) -> Result<Forest, FormatError> {
        let mut objective = objective::find(&self.objective, &self.version)
            .map_err(|why| at("learner.objective.name", why))?;
        let booster = self.booster.take().ok_or_else(|| {
            at(
                "learner.gradient_booster",
                "missing; save the model with XGBoost's save_model",
            )
        })?;
        let groups = self.classes.max(self.targets).max(1);
        limits::check("learner.learner_model_param.num_feature", self.features, bytes)?;
        limits::check("learner.learner_model_param", groups, bytes)?;
        // Since 3.1, a model without trees has never estimated its base, and predicts the stored one as a margin.
        if self.estimates_base && !booster.is_fitted() && self.version.as_slice() >= [3, 1].as_slice() {
            objective.base = BaseLink::Identity;
        }
        let base = self.base_score.as_deref().unwrap_or("5E-1");
        let base = base_score::margins(base, groups, &objective, &self.version)
            .map_err(|why| at("learner.learner_model_param.base_score", why))?;
        let best = match options.iterations {
            Iterations::All => None,
            Iterations::Best => self.best_iteration,
        };
        let rest = EnsembleSettings {
            features: self.features,
            groups,
            base,
            finish: MarginRule::None,
        };
        let (built, mut categories) = booster.assemble(best, rest, &self.version)?;
        categories::drop_garbled(&mut categories, &self.version);
        self.forest(built, categories, &objective)
    }

    fn forest(
        self,
        built: BuildOutput<f32>,
        categories: Vec<Option<Categories>>,
        objective: &XgBoostObjective,
    ) -> Result<Forest, FormatError> {
        let features = self.features(&built, categories)?;
        let ensemble = built.ensemble;
        let groups = ensemble.groups;
        Ok(Forest {
            transform: objective.link.into(),
            classes: objective.classes(groups),
            contributions: if ensemble.split_cover.is_empty() && !ensemble.splits.is_empty() {
                Err("the file does not record the training weight of each node")
            } else {
                Ok(())
            },
            features,
            summary: Summary {
                format: Format::XgBoost,
                library_version: self.version_text(),
                objective: self.objective,
                task: objective.task,
                named: !self.names.is_empty(),
                trees: ensemble.trees.len(),
                groups,
                depth: built.depth,
                leaves: ensemble.leaves.len(),
                best_iteration: self.best_iteration,
            },
            trees: Trees::F32(ensemble.into()),
        })
    }

    fn version_text(&self) -> Option<String> {
        let parts: Vec<String> = self.version.iter().map(u32::to_string).collect();
        (!parts.is_empty()).then(|| parts.join("."))
    }

    fn features(
        &self,
        built: &BuildOutput<f32>,
        mut categories: Vec<Option<Categories>>,
    ) -> Result<Vec<Feature>, FormatError> {
        for (what, texts) in [("feature_names", &self.names), ("feature_types", &self.types)] {
            if !texts.is_empty() && texts.len() != self.features {
                let why = format!(
                    "found {} entries for {} features, expected one per feature",
                    texts.len(),
                    self.features
                );
                return Err(at(&format!("learner.{what}"), why));
            }
        }
        categories.resize(self.features, None);
        let mut features = Vec::with_capacity(self.features);
        for (position, ((splits, gain), categories)) in built.use_of.iter().zip(categories).enumerate() {
            let splits_on_categories = built.categorical.get(position) == Some(&true);
            let mut kind = kind(self.types.get(position).map(String::as_str));
            if splits_on_categories || categories.is_some() {
                kind = FeatureKind::Category;
            }
            features.push(Feature {
                name: self
                    .names
                    .get(position)
                    .cloned()
                    .unwrap_or_else(|| format!("f{position}")),
                kind,
                categories: match kind {
                    FeatureKind::Category => Some(categories.unwrap_or(Categories::Codes)),
                    _ => None,
                },
                splits: *splits,
                gain: *gain,
            });
        }
        Ok(features)
    }
}

/// Looks up a feature type of the library.
fn kind(name: Option<&str>) -> FeatureKind {
    match name {
        Some("int") => FeatureKind::Integer,
        Some("i") => FeatureKind::Indicator,
        Some("c") => FeatureKind::Category,
        _ => FeatureKind::Number,
    }
}

/// Reads a count, which the library writes as a string; numbers are accepted too.
fn count<'a, D: Document<'a>>(document: &mut D) -> Result<usize, Fault> {
    let fault = document.fault("expected a non-negative integer");
    match document.shape()? {
        ValueKind::Text => document.text()?.parse().map_err(|_| fault),
        _ => usize::try_from(document.integer()?).map_err(|_| fault),
    }
}

/// Reads the best round. Up to 1.7, a model without rounds records -1.
fn best_round<'a, D: Document<'a>>(document: &mut D) -> Result<Option<usize>, Fault> {
    let fault = document.fault("expected the number of a round, such as \"12\"");
    let round: i64 = match document.shape()? {
        ValueKind::Text => document.text()?.parse().map_err(|_| fault)?,
        _ => document.integer()?,
    };
    Ok(usize::try_from(round).ok())
}

/// Creates an error at a named part of the model.
fn at(path: &str, reason: impl Into<String>) -> FormatError {
    FormatError {
        at: path.to_owned(),
        reason: reason.into(),
    }
}
