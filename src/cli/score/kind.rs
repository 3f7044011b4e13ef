//! The kinds of predictions, their columns and the types of their numbers.

use clap::ValueEnum;
use evergreen_forest::{OutputKind, Precision};

use crate::cli::offline::OfflineModel;
use crate::cli::sink::ColumnType;
use crate::models::contract::ScoreKind;

/// Most columns of numbers, as in a spreadsheet.
const MOST_COLUMNS: usize = 16_384;

/// The kind of prediction to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputChoice {
    /// Probabilities, calibrated if the contract says so
    Probability,
    /// The library's plain prediction
    Value,
    /// The raw sum of the leaves
    Margin,
    /// The predicted class
    Class,
    /// The leaf reached in each tree, numbered as by the library; for CatBoost's Depthwise and Lossguide trees, as by the
    /// library after it has loaded the file
    Leaf,
    /// What each feature adds to the margin
    Contributions,
    /// What each pair of features adds to the margin together: a column per pair, for models with few features
    Interactions,
}

/// The predictions to write, and how.
pub(super) struct Prediction {
    /// Their kind.
    pub(super) kind: OutputChoice,
    /// Numbers per row.
    pub(super) width: usize,
    /// Whether they are the scores that a server gives.
    pub(super) served: bool,
    /// The names of their columns.
    pub(super) names: Vec<String>,
    /// The type of the numbers.
    pub(super) numbers: ColumnType,
}

impl OutputChoice {
    pub(super) fn output(self) -> OutputKind {
        match self {
            Self::Probability | Self::Value => OutputKind::Value,
            Self::Margin => OutputKind::Margin,
            Self::Class => OutputKind::Class,
            Self::Leaf => OutputKind::Leaf,
            Self::Contributions => OutputKind::Contributions,
            Self::Interactions => OutputKind::Interactions,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Value => "value",
            Self::Margin => "margin",
            Self::Class => "class",
            Self::Leaf => "leaf",
            Self::Contributions => "contributions",
            Self::Interactions => "interactions",
        }
    }

    fn of_contract(kind: ScoreKind) -> Self {
        match kind {
            ScoreKind::Probability => Self::Probability,
            ScoreKind::Margin => Self::Margin,
            ScoreKind::Class => Self::Class,
            ScoreKind::Value => Self::Value,
        }
    }
}

impl Prediction {
    /// The requested kind of prediction, or the model's default.
    ///
    /// # Errors
    /// The model has no such output, or it has too many numbers.
    pub(super) fn new(model: &OfflineModel, requested: Option<OutputChoice>) -> Result<Self, String> {
        let forest = &model.version.forest;
        let contract = model.version.contract.as_ref();
        let served = contract.map(|contract| OutputChoice::of_contract(contract.output.kind));
        let default = match forest.gives_probabilities() {
            true => OutputChoice::Probability,
            false => OutputChoice::Value,
        };
        let kind = requested.or(served).unwrap_or(default);
        if kind == OutputChoice::Probability && !forest.gives_probabilities() {
            let objective = &forest.summary().objective;
            return Err(format!(
                "--kind probability: {objective} has no probability; use --kind value, margin or class"
            ));
        }
        let width = forest.width(kind.output()).map_err(|error| error.to_string())?;
        if width > MOST_COLUMNS {
            let name = kind.name();
            return Err(format!(
                "--kind {name}: expected at most {MOST_COLUMNS} numbers per row, found {width}; use --kind contributions"
            ));
        }
        Ok(Self {
            names: names(model, kind, width),
            numbers: numbers(model, kind),
            served: served == Some(kind) && width == 1,
            kind,
            width,
        })
    }
}

fn names(model: &OfflineModel, kind: OutputChoice, width: usize) -> Vec<String> {
    let groups = model.version.forest.summary().groups;
    let features = model.version.forest.features().iter();
    let features = features.map(|feature| feature.name.clone());
    let inputs: Vec<String> = features.chain(["bias".to_owned()]).collect();
    let names = match kind {
        OutputChoice::Contributions => inputs,
        OutputChoice::Interactions => {
            let pairs = |one| inputs.iter().map(move |other| format!("{one}*{other}"));
            inputs.iter().flat_map(pairs).collect()
        }
        _ if width == 1 => return vec![kind.name().to_owned()],
        _ => {
            let numbered = |number| format!("{}_{number}", kind.name());
            return (0..width).map(numbered).collect();
        }
    };
    if groups == 1 {
        return names;
    }
    (0..groups)
        .flat_map(|group| names.iter().map(move |name| format!("{name}_{group}")))
        .collect()
}

fn numbers(model: &OfflineModel, kind: OutputChoice) -> ColumnType {
    let contract = model.version.contract.as_ref();
    let calibrated = contract.is_some_and(|contract| contract.output.calibration.is_some());
    match (kind, model.version.forest.precision()) {
        (OutputChoice::Leaf | OutputChoice::Class, _) => ColumnType::Whole,
        (OutputChoice::Probability, _) if calibrated => ColumnType::Double,
        (_, Precision::F32) => ColumnType::Single,
        (_, Precision::F64) => ColumnType::Double,
    }
}
