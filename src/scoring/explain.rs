//! Reasons for scores: which contributions to return, groups of features, and what the score would be with usual values.

use super::calibration::calibrate;
use super::outcome::{Explanation, Part, Reason};
use super::predict::ScoreOutputs;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::{OutputSection, ScoreKind};
use crate::models::usual::Usual;

/// Rows with usual values that are evaluated together.
const BLOCK: usize = 512;

/// How many reasons a request wants for each score. One that is wanted twice is returned once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The strongest, whatever their direction.
    pub strongest: usize,
    /// The strongest of those that raise the score.
    pub raising: usize,
    /// The strongest of those that lower it.
    pub lowering: usize,
}

impl Wanted {
    /// The strongest reason.
    pub fn one() -> Self {
        Self {
            strongest: 1,
            ..Self::default()
        }
    }

    /// Whether any reason is wanted.
    pub fn any(&self) -> bool {
        self.most() > 0
    }

    /// The largest number of reasons for one score.
    pub fn most(&self) -> usize {
        self.strongest
            .saturating_add(self.raising)
            .saturating_add(self.lowering)
    }
}

/// The reasons for one score, and how they add up.
pub(super) type Explained = (Vec<Reason>, Explanation);

/// The contributions of a batch: per row and output group, one number per input and the bias.
pub(super) struct Contributions<'a> {
    pub(super) model: &'a ModelVersion,
    /// One value per input of the model, row-major.
    pub(super) rows: &'a [f64],
    pub(super) contributions: &'a [f64],
    pub(super) outputs: &'a ScoreOutputs<'a>,
}

impl Contributions<'_> {
    /// The reasons for every row.
    ///
    /// # Errors
    /// The model lacks an output.
    pub(super) fn explain(&self, wanted: Wanted) -> Result<Vec<Explained>, Error> {
        let width = self.model.inputs.len();
        let groups = self.model.forest.summary().groups;
        let rows = self.rows.chunks_exact(width).enumerate();
        let mut explained: Vec<Explained> = rows
            .map(|(row, values)| {
                let group = explained_group(self.model, &self.outputs.values, row);
                let mut all = self.contributions.chunks_exact(width + 1);
                let contributions = all.nth(row * groups + group).unwrap_or_default();
                explain_row(self.model, contributions, values, wanted)
            })
            .collect();
        let output = self.model.contract.as_ref().map(|contract| &contract.output);
        if let Some(output) = output.filter(|output| groups == 1 && output.kind != ScoreKind::Class) {
            for (_, explanation) in &mut explained {
                explanation.base_score = Some(score_of_margin(self.model, output, explanation.base));
            }
            self.add_effects(&mut explained)?;
        }
        Ok(explained)
    }

    /// Adds to each reason what the score would be with usual values of its features, and all others as they are.
    fn add_effects(&self, explained: &mut [Explained]) -> Result<(), Error> {
        let width = self.model.inputs.len();
        let places: Vec<(usize, usize)> = explained
            .iter()
            .enumerate()
            .flat_map(|(row, (reasons, _))| (0..reasons.len()).map(move |reason| (row, reason)))
            .collect();
        for places in places.chunks(BLOCK) {
            let mut usual_rows = Vec::with_capacity(places.len() * width);
            for &(row, reason) in places {
                let values = &self.rows[row * width..][..width];
                add_usual(self.model, values, &explained[row].0[reason], &mut usual_rows);
            }
            let usual = ScoreOutputs::of(self.model, &usual_rows)?;
            for (usual_row, &(row, reason)) in places.iter().enumerate() {
                let reason = &mut explained[row].0[reason];
                let known = reason.parts.iter().any(|part| self.usual(part.input).is_some());
                // A score that is not finite has no effects.
                let scores = self.outputs.score(row).ok().zip(usual.score(usual_row).ok());
                reason.effect = scores.filter(|_| known).map(|(score, usual)| score - usual);
            }
        }
        Ok(())
    }

    fn usual(&self, input: usize) -> Option<&Usual> {
        self.model.usual.get(input)?.as_ref()
    }
}

/// The output group that explains a row: a class is explained by the margin of that class.
pub(super) fn explained_group(model: &ModelVersion, values: &[f64], row: usize) -> usize {
    if model.forest.summary().groups == 1 {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a class is a small whole number"
    )]
    values.get(row).map_or(0, |&class| class as usize)
}

/// Adds the row of `values` with the usual values of a reason's features: of all features of its group, as those that do
/// nothing now may do something then.
fn add_usual(model: &ModelVersion, values: &[f64], reason: &Reason, rows: &mut Vec<f64>) {
    let group = reason.parts.first().and_then(|part| model.groups.get(part.input));
    let row = values.iter().enumerate().map(|(input, &value)| {
        let usual = model.usual.get(input).and_then(Option::as_ref);
        match usual.filter(|_| model.groups.get(input) == group) {
            Some(usual) => usual.typical(),
            None => value,
        }
    });
    rows.extend(row);
}

/// The score that a margin gives; for models with one output.
fn score_of_margin(model: &ModelVersion, output: &OutputSection, margin: f64) -> f64 {
    let mut value = [margin];
    if output.kind != ScoreKind::Margin {
        model.forest.transform(&[margin], &mut value);
    }
    calibrate(output, Some(margin), value[0])
}

/// The reasons for one row, without effects. `contributions` has one number per input and the bias.
fn explain_row(model: &ModelVersion, contributions: &[f64], values: &[f64], wanted: Wanted) -> Explained {
    let (&base, contributions) = contributions.split_last().unwrap_or((&0.0, &[]));
    // By group, in the place of its first feature.
    let mut sums = vec![0.0; contributions.len()];
    for (&group, contribution) in model.groups.iter().zip(contributions) {
        sums[group] += contribution;
    }
    let chosen = choose(&sums, wanted);
    let reasons: Vec<Reason> = chosen
        .into_iter()
        .map(|group| Reason {
            contribution: sums[group],
            effect: None,
            grouped: model.groups.iter().filter(|of| **of == group).count() > 1,
            parts: parts(model, group, contributions, values, sums[group]),
        })
        .collect();
    let pushes: f64 = contributions.iter().sum();
    let explanation = Explanation {
        base,
        base_score: None,
        remainder: pushes - reasons.iter().map(|reason| reason.contribution).sum::<f64>(),
    };
    (reasons, explanation)
}

/// The positions of the wanted sums, the largest magnitude first.
fn choose(sums: &[f64], wanted: Wanted) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sums.len()).filter(|&at| sums[at] != 0.0).collect();
    order.sort_by(|&a, &b| sums[b].abs().total_cmp(&sums[a].abs()));
    let (mut raising, mut lowering) = (0, 0);
    let mut rank = 0;
    order.retain(|&at| {
        let (of_direction, most) = match sums[at] > 0.0 {
            true => (&mut raising, wanted.raising),
            false => (&mut lowering, wanted.lowering),
        };
        *of_direction += 1;
        rank += 1;
        rank <= wanted.strongest || *of_direction <= most
    });
    order
}

/// The features of a group that contribute, those that push the way of their sum first.
fn parts(model: &ModelVersion, group: usize, contributions: &[f64], values: &[f64], sum: f64) -> Vec<Part> {
    let all = contributions.iter().zip(values).zip(&model.groups).enumerate();
    let mut parts: Vec<Part> = all
        .filter(|(_, ((contribution, _), of))| **of == group && **contribution != 0.0)
        .map(|(input, ((&contribution, &value), _))| Part {
            input,
            value,
            contribution,
        })
        .collect();
    parts.sort_by(|a, b| (b.contribution * sum).total_cmp(&(a.contribution * sum)));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMS: [f64; 6] = [0.5, -2.0, 0.0, 1.0, -0.1, 0.2];

    fn chosen(strongest: usize, raising: usize, lowering: usize) -> Vec<usize> {
        let wanted = Wanted {
            strongest,
            raising,
            lowering,
        };
        choose(&SUMS, wanted)
    }

    #[test]
    fn reasons_are_chosen_by_rank_and_by_direction() {
        assert_eq!(chosen(3, 0, 0), [1, 3, 0]);
        assert_eq!(chosen(0, 2, 0), [3, 0]);
        assert_eq!(chosen(0, 1, 2), [1, 3, 4]);
        assert_eq!(chosen(1, 0, 1), [1]);
        assert_eq!(chosen(9, 9, 9), [1, 3, 0, 5, 4]);
        assert!(chosen(0, 0, 0).is_empty());
    }
}
