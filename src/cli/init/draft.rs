//! Decides on the type, categories and range of each feature, and on the output.

use std::collections::BTreeSet;

use evergreen_forest::{Categories, Feature, FeatureKind, Forest, OutputKind};

use super::sample::{OwnedCell, Sample};
use crate::cli::sink::id_text;
use crate::models::contract::ScoreKind;
use crate::suggest::unknown;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;
use crate::words::shorten::shorten;

/// Rows below which distributions are too coarse to recognise drift.
const FEW_ROWS: usize = 100;

/// A type that the user gives.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) kind: FeatureType,
}

/// A feature of the contract to be.
pub(super) struct DraftFeature {
    pub(super) name: String,
    pub(super) kind: FeatureType,
    /// In the order of their codes.
    pub(super) categories: Vec<String>,
    pub(super) range: Option<[f64; 2]>,
    /// Why it has this type.
    pub(super) reason: &'static str,
}

/// A contract to be.
pub(super) struct Draft {
    pub(super) features: Vec<DraftFeature>,
    pub(super) output: ScoreKind,
    pub(super) output_reason: String,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

impl Draft {
    /// Decides from the model and the sample.
    ///
    /// # Errors
    /// The two do not match, or do not say enough.
    pub(super) fn new(
        forest: &Forest,
        names: &[String],
        sample: &Sample,
        declared: &[Declared],
    ) -> Result<Self, String> {
        if let Some(strange) = declared.iter().find(|declared| !names.contains(&declared.name)) {
            let names = names.iter().map(String::as_str);
            return Err(format!("--type: {}", unknown("feature", &strange.name, names)));
        }
        let features = forest.features().iter().zip(names).zip(&sample.columns);
        let features = features.map(|((feature, name), cells)| {
            let declared = declared.iter().find(|declared| declared.name == *name);
            DraftFeature::new(feature, name, cells, declared.map(|declared| declared.kind))
                .map_err(|message| format!("feature `{name}`: {message}"))
        });
        let features = features.collect::<Result<Vec<_>, _>>()?;
        let (output, output_reason) = output(forest)?;
        let mut notes = Vec::new();
        if sample.rows < FEW_ROWS {
            notes.push(format!(
                "{} rows are too few to recognise drift; expected at least {FEW_ROWS}",
                sample.rows
            ));
        }
        let hashed = |feature: &Feature| matches!(feature.categories, Some(Categories::Hashes(_)));
        if forest.features().iter().any(hashed) {
            notes.push(
                "the model file has no names of categories: those that the sample lacks count as unknown"
                    .to_owned(),
            );
        }
        Ok(Self {
            features,
            output,
            output_reason,
            notes,
        })
    }
}

fn output(forest: &Forest) -> Result<(ScoreKind, String), String> {
    let summary = forest.summary();
    let objective = &summary.objective;
    if summary.groups == 1 {
        return Ok(match forest.gives_probabilities() {
            true => (ScoreKind::Probability, format!("the objective is {objective}")),
            false => (
                ScoreKind::Value,
                format!("the objective {objective} has no probability"),
            ),
        });
    }
    match forest.width(OutputKind::Class) {
        Ok(1) => Ok((ScoreKind::Class, format!("the objective is {objective}"))),
        _ => Err(format!(
            "the model predicts {} numbers per row ({objective}); a score is one number",
            summary.groups
        )),
    }
}

impl DraftFeature {
    fn new(
        feature: &Feature,
        name: &str,
        cells: &[OwnedCell],
        declared: Option<FeatureType>,
    ) -> Result<Self, String> {
        let decided = |kind, categories, reason| Self {
            name: name.to_owned(),
            kind,
            categories,
            range: range(kind, cells),
            reason,
        };
        match (&feature.categories, declared) {
            (Some(Categories::Names(names)), None | Some(FeatureType::Category)) => {
                Ok(decided(FeatureType::Category, names.clone(), "the model names its categories"))
            }
            (Some(Categories::Integers(numbers)), None | Some(FeatureType::Category)) => {
                let names = numbers.iter().map(i64::to_string).collect();
                Ok(decided(FeatureType::Category, names, "the model names its categories"))
            }
            (Some(Categories::Hashes(_)), None | Some(FeatureType::Category)) => {
                let names = categories(cells)?;
                Ok(decided(FeatureType::Category, names, "a category; the names are the sample's"))
            }
            (Some(Categories::Uncertain), None) => Err(
                "the model file does not say whether it has categories; if the model was trained with plain numbers, use \
                 --type NAME=float, else write the bundle with save_bundle in training"
                    .to_owned(),
            ),
            (_, Some(FeatureType::Category)) => Err(
                "the model file does not say the order of its categories; write the bundle with save_bundle in training"
                    .to_owned(),
            ),
            (_, Some(kind)) => match misfit(kind, cells) {
                None => Ok(decided(kind, Vec::new(), "--type")),
                Some(message) => Err(message),
            },
            (_, None) => {
                let (kind, reason) = number(feature, cells)?;
                Ok(decided(kind, Vec::new(), reason))
            }
        }
    }

    /// The categories or the range, for people.
    pub(super) fn shown_values(&self) -> String {
        match (self.categories.as_slice(), self.range) {
            ([], None) => String::new(),
            ([], Some([low, high])) => format!("{low} to {high}"),
            (names, _) => shorten(&names.join(", ")),
        }
    }
}

/// The type of a number: the first that every cell fits.
fn number(feature: &Feature, cells: &[OwnedCell]) -> Result<(FeatureType, &'static str), String> {
    let present = || cells.iter().filter(|cell| !matches!(cell, OwnedCell::Null));
    let any = |is: fn(&OwnedCell) -> bool| present().any(is);
    let all = |is: fn(&OwnedCell) -> bool| present().next().is_some() && present().all(is);
    let is_true_or_false = |cell: &OwnedCell| match cell {
        OwnedCell::Bool(_) => true,
        OwnedCell::Untyped(text) => ["true", "false"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word)),
        _ => false,
    };
    let candidates = [
        (
            FeatureType::Bool,
            feature.kind == FeatureKind::Indicator,
            "the model takes 0 or 1",
        ),
        (
            FeatureType::Bool,
            any(is_true_or_false),
            "the sample has true or false",
        ),
        (
            FeatureType::Timestamp,
            any(|cell| matches!(cell, OwnedCell::Time(_))),
            "the sample has times",
        ),
        (
            FeatureType::Int,
            feature.kind == FeatureKind::Integer,
            "the model takes whole numbers",
        ),
        (
            FeatureType::Int,
            all(|cell| matches!(cell, OwnedCell::Int(_))),
            "the sample has whole numbers",
        ),
    ];
    let fitting = candidates
        .into_iter()
        .find(|(kind, suggested, _)| *suggested && misfit(*kind, cells).is_none());
    if let Some((kind, _, reason)) = fitting {
        return Ok((kind, reason));
    }
    match misfit(FeatureType::Float, cells) {
        None => Ok((FeatureType::Float, "numbers")),
        Some(message) => Err(format!("the model takes a number: {message}")),
    }
}

/// Why the cells do not fit a type; `None` if all do.
fn misfit(kind: FeatureType, cells: &[OwnedCell]) -> Option<String> {
    let mut rows = cells.iter().enumerate();
    rows.find_map(|(row, cell)| {
        let message = cell.cell().number(kind).err()?;
        Some(format!("row {}: {message}", row + 1))
    })
}

/// The categories of the sample, sorted.
fn categories(cells: &[OwnedCell]) -> Result<Vec<String>, String> {
    let mut found = BTreeSet::new();
    for (row, cell) in cells.iter().enumerate() {
        let cell = cell.cell();
        let mut digits = String::new();
        let text = match cell {
            Cell::Bool(_) => id_text(cell),
            cell => cell
                .category(&mut digits)
                .map_err(|message| format!("row {}: {message}", row + 1))?
                .map(str::to_owned),
        };
        found.extend(text);
    }
    match found.is_empty() {
        true => Err("the sample has no category of it; add rows that have one".to_owned()),
        false => Ok(found.into_iter().collect()),
    }
}

/// A range three times as wide as the sample's: what is beyond is a mistake rather than a rare value. Numbers that are
/// never below 0 stay so.
fn range(kind: FeatureType, cells: &[OwnedCell]) -> Option<[f64; 2]> {
    if !matches!(kind, FeatureType::Float | FeatureType::Int) {
        return None;
    }
    let numbers = cells
        .iter()
        .filter_map(|cell| cell.cell().number(kind).ok().flatten());
    let finite = numbers.filter(|number| number.is_finite());
    let [low, high] = finite.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], number| {
        [low.min(number), high.max(number)]
    });
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return None;
    }
    let lowest = if low >= 0.0 {
        (low - span).max(0.0)
    } else {
        low - span
    };
    Some([lowest, high + span])
}
