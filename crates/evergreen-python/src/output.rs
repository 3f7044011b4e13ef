//! Computes the outputs of blocks of rows, and makes a table of them.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema};
use evergreen::models::contract::{OutputSection, ScoreKind};
use evergreen::values::issues::FeatureIssues;
use evergreen_forest::{OutputKind, Precision, PredictError, Scratch};

use crate::kind::Kind;
use crate::model::Model;
use crate::part::{Numbers, Part, Unscored, joined, nulls, reasons};

/// What to compute for each row.
#[derive(Debug)]
pub(crate) struct Outputs<'m> {
    model: &'m Model,
    kinds: Vec<Kind>,
    groups: usize,
    value_width: usize,
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    scratch: Scratch,
    margins: Vec<f64>,
    values: Vec<f64>,
    scores: Vec<f64>,
    other: Vec<f64>,
}

impl<'m> Outputs<'m> {
    /// # Errors
    /// The model does not have one of the outputs, or two columns would have one name.
    pub(crate) fn new(model: &'m Model, kinds: Vec<Kind>) -> Result<Self, String> {
        let forest = &model.version.forest;
        let outputs = Self {
            model,
            groups: forest.summary().groups,
            value_width: forest.width(OutputKind::Value).map_err(text)?,
            kinds,
        };
        for &kind in &outputs.kinds {
            if kind == Kind::Band && outputs.contract().is_none() {
                return Err("kind \"band\": the model has no contract, and so no bands".to_owned());
            }
            if let Some(output) = kind.forest_output() {
                forest
                    .width(output)
                    .map_err(|error| format!("kind {:?}: {error}", kind.label()))?;
            }
        }
        let mut names: Vec<String> = outputs.fields().into_iter().map(|(name, _)| name).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!(
                "kind: two columns would be named `{}`; ask for them in two calls",
                pair[0]
            )),
            None => Ok(outputs),
        }
    }

    fn contract(&self) -> Option<&'m OutputSection> {
        let contract = self.model.version.contract.as_ref();
        contract.map(|contract| &contract.output)
    }

    fn score_kind(&self) -> ScoreKind {
        self.contract().map_or(ScoreKind::Value, |output| output.kind)
    }

    fn has(&self, wanted: impl Fn(Kind) -> bool) -> bool {
        self.kinds.iter().any(|&kind| wanted(kind))
    }

    fn wants_score(&self) -> bool {
        self.has(Kind::is_of_score)
    }

    /// Whether rows are explained, which takes much longer than scoring them.
    pub(crate) fn explains(&self) -> bool {
        self.has(|kind| kind == Kind::Contributions)
    }

    /// The names and types of the columns.
    fn fields(&self) -> Vec<(String, DataType)> {
        self.kinds.iter().flat_map(|&kind| self.fields_of(kind)).collect()
    }

    fn fields_of(&self, kind: Kind) -> Vec<(String, DataType)> {
        let float = match self.model.version.forest.precision() {
            Precision::F32 => DataType::Float32,
            Precision::F64 => DataType::Float64,
        };
        let numbered = |width: usize, of: DataType| match width {
            1 => vec![(kind.label().to_owned(), of)],
            _ => (0..width)
                .map(|at| (format!("{}_{at}", kind.label()), of.clone()))
                .collect(),
        };
        match kind {
            Kind::Score => match self.contract() {
                Some(output) if output.calibration.is_some() => numbered(1, DataType::Float64),
                Some(_) => numbered(1, float),
                None => numbered(self.value_width, float),
            },
            Kind::Value => numbered(self.value_width, float),
            Kind::Margin => numbered(self.groups, float),
            Kind::Class => numbered(1, DataType::Int64),
            Kind::Leaf => numbered(self.model.version.forest.summary().trees, DataType::Int64),
            Kind::Contributions => self
                .contribution_names()
                .map(|name| (name, float.clone()))
                .collect(),
            Kind::Band | Kind::Error => numbered(1, DataType::Utf8),
            Kind::Missing | Kind::OutOfRange => numbered(1, DataType::Int32),
        }
    }

    /// As `evergreen score` names them.
    fn contribution_names(&self) -> impl Iterator<Item = String> {
        let features = self.model.version.forest.features().iter();
        let names = features.map(|feature| feature.name.clone());
        let names: Vec<String> = names.chain(["bias".to_owned()]).collect();
        let groups = self.groups;
        (0..groups).flat_map(move |group| {
            let name = move |name: &String| match groups {
                1 => name.clone(),
                _ => format!("{name}_{group}"),
            };
            names.iter().map(name).collect::<Vec<_>>()
        })
    }

    /// An empty part with room for `rows` rows.
    pub(crate) fn part(&self, rows: usize) -> Part {
        let column = |kind: Kind, of: &DataType| match (kind, of) {
            (Kind::Band, _) => Numbers::Band(Vec::with_capacity(rows)),
            (_, DataType::Float32) => Numbers::Single(Vec::with_capacity(rows)),
            (_, DataType::Float64) => Numbers::Double(Vec::with_capacity(rows)),
            (_, DataType::Int64) => Numbers::Whole(Vec::with_capacity(rows)),
            (_, DataType::Int32) => Numbers::Count(Vec::with_capacity(rows)),
            _ => Numbers::Error,
        };
        let columns = self.kinds.iter().flat_map(|&kind| {
            let fields = self.fields_of(kind);
            fields.into_iter().map(move |(_, of)| column(kind, &of))
        });
        Part {
            rows: 0,
            columns: columns.collect(),
            unscored: Vec::new(),
        }
    }

    /// Appends the outputs of a block of rows to a part. `rejected` are the rows that the contract rejects, by position in the
    /// block, and why.
    ///
    /// # Errors
    /// The model does not have one of the outputs.
    pub(crate) fn append(
        &self,
        part: &mut Part,
        numbers: &[f64],
        issues: &[FeatureIssues],
        rejected: Vec<(usize, String)>,
        buffers: &mut Buffers,
    ) -> Result<(), PredictError> {
        let rows = issues.len();
        self.evaluate(numbers, rows, buffers)?;
        let mut columns = part.columns.iter_mut();
        for &kind in &self.kinds {
            if let Kind::Class | Kind::Leaf | Kind::Contributions = kind
                && let Some(output) = kind.forest_output()
            {
                let mut out = std::mem::take(&mut buffers.other);
                self.predict(output, numbers, rows, &mut out, &mut buffers.scratch)?;
                buffers.other = out;
            }
            let source: &[f64] = match kind {
                Kind::Score => &buffers.scores,
                Kind::Value => &buffers.values,
                Kind::Margin => &buffers.margins,
                Kind::Class | Kind::Leaf | Kind::Contributions => &buffers.other,
                Kind::Band | Kind::Missing | Kind::OutOfRange | Kind::Error => &[],
            };
            let width = source.len().checked_div(rows).unwrap_or(0).max(1);
            for (at, column) in columns.by_ref().take(width).enumerate() {
                let cells = || source.iter().skip(at).step_by(width);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the type that the model computes in; a number of leaves"
                )]
                match column {
                    Numbers::Single(column) => column.extend(cells().map(|&number| number as f32)),
                    Numbers::Double(column) => column.extend(cells()),
                    Numbers::Whole(column) => column.extend(cells().map(|&number| number as i64)),
                    Numbers::Count(column) => column.extend(issues.iter().map(|issues| count(kind, issues))),
                    Numbers::Band(column) => {
                        column.extend(buffers.scores.iter().map(|&score| self.band(score)))
                    }
                    Numbers::Error => {}
                }
            }
        }
        if self.wants_score() && self.contract().is_some() {
            let scores = buffers.scores.iter().enumerate();
            for (row, score) in scores.filter(|(_, score)| !score.is_finite()) {
                if !rejected.iter().any(|(rejected, _)| *rejected == row) {
                    part.unscored.push(Unscored {
                        row: part.rows + row,
                        reason: format!("expected a finite score, found {score} for these features"),
                        score_only: true,
                    });
                }
            }
        }
        part.unscored
            .extend(rejected.into_iter().map(|(row, reason)| Unscored {
                row: part.rows + row,
                reason,
                score_only: false,
            }));
        part.rows += rows;
        Ok(())
    }

    /// Computes margins, values and scores, as far as they are wanted.
    fn evaluate(&self, numbers: &[f64], rows: usize, buffers: &mut Buffers) -> Result<(), PredictError> {
        let Buffers {
            scratch,
            margins,
            values,
            scores,
            ..
        } = buffers;
        let (score, kind) = (self.wants_score(), self.score_kind());
        let of_value = matches!(kind, ScoreKind::Probability | ScoreKind::Value);
        let needs_margin = self.contract().is_some_and(OutputSection::needs_margin);
        let want_value = self.has(|kind| kind == Kind::Value) || (score && of_value);
        let want_margin =
            self.has(|kind| kind == Kind::Margin) || (score && (needs_margin || kind == ScoreKind::Margin));
        if want_margin {
            self.predict(OutputKind::Margin, numbers, rows, margins, scratch)?;
            if want_value {
                // The value is the margin after the objective's transform: the trees are walked once.
                values.resize(rows * self.value_width, 0.0);
                let each = margins
                    .chunks_exact(self.groups)
                    .zip(values.chunks_exact_mut(self.value_width));
                each.for_each(|(margins, values)| self.model.version.forest.transform(margins, values));
            }
        } else if want_value {
            self.predict(OutputKind::Value, numbers, rows, values, scratch)?;
        }
        if score {
            match kind {
                ScoreKind::Probability | ScoreKind::Value => scores.clone_from(values),
                ScoreKind::Margin => scores.clone_from(margins),
                ScoreKind::Class => self.predict(OutputKind::Class, numbers, rows, scores, scratch)?,
            }
            if let Some(output) = self.contract().filter(|output| output.calibration.is_some()) {
                for (row, score) in scores.iter_mut().enumerate() {
                    *score = output.score(margins.get(row).copied().filter(|_| want_margin), *score);
                }
            }
        }
        Ok(())
    }

    fn predict(
        &self,
        output: OutputKind,
        numbers: &[f64],
        rows: usize,
        out: &mut Vec<f64>,
        scratch: &mut Scratch,
    ) -> Result<(), PredictError> {
        let forest = &self.model.version.forest;
        out.resize(rows * forest.width(output)?, 0.0);
        forest.predict(output, numbers, out, scratch)
    }

    fn band(&self, score: f64) -> u32 {
        let bands = self.contract().map_or(&[][..], |output| &output.bands);
        let position = bands.iter().rposition(|band| score >= band.from);
        position.map_or(0, |position| u32::try_from(position + 1).unwrap_or(0))
    }

    /// Joins consecutive parts into one table.
    pub(crate) fn table(&self, parts: Vec<Part>) -> Result<RecordBatch, String> {
        let part = joined(parts).unwrap_or_else(|| self.part(0));
        let rows = part.rows;
        let all = nulls(&part, |_| true);
        let others = nulls(&part, |unscored| !unscored.score_only);
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        let mut columns = part.columns.into_iter();
        for &kind in &self.kinds {
            let nulls = if kind.is_of_score() { &all } else { &others };
            for ((name, of), numbers) in self.fields_of(kind).into_iter().zip(columns.by_ref()) {
                fields.push(Field::new(name, of, true));
                arrays.push(match numbers {
                    Numbers::Single(values) => Arc::new(Float32Array::new(values.into(), nulls.clone())),
                    Numbers::Double(values) => Arc::new(Float64Array::new(values.into(), nulls.clone())),
                    Numbers::Whole(values) => Arc::new(Int64Array::new(values.into(), nulls.clone())),
                    Numbers::Count(values) => Arc::new(Int32Array::from(values)),
                    Numbers::Band(values) => Arc::new(self.band_names(&values, nulls.as_ref())),
                    Numbers::Error => Arc::new(reasons(rows, &part.unscored)),
                });
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| error.to_string())
    }

    fn band_names(&self, positions: &[u32], nulls: Option<&NullBuffer>) -> StringArray {
        let bands = self.contract().map_or(&[][..], |output| &output.bands);
        let name = |(row, &position): (usize, &u32)| {
            let scored = nulls.is_none_or(|nulls| nulls.is_valid(row));
            let band = bands.get((position as usize).checked_sub(1)?)?;
            scored.then(|| &*band.name)
        };
        positions.iter().enumerate().map(name).collect()
    }
}

/// The number of features that have no value, or one that the model was not trained on; as `evergreen score` counts.
fn count(kind: Kind, issues: &FeatureIssues) -> i32 {
    let count = match kind {
        Kind::OutOfRange => issues.out_of_range.len(),
        // A default stands for a null, or for a value that is missing and counted there.
        _ => {
            let defaulted = issues.defaulted.iter().filter(|at| !issues.missing.contains(at));
            issues.missing.len() + issues.null.len() + defaulted.count()
        }
    };
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn text(error: PredictError) -> String {
    error.to_string()
}
