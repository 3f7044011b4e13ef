//! The smallest change of two features that reaches a lower band, by branch and bound: boxes of values of two features, the
//! nearest first. A box in which no score can be low enough, by the leaves that its rows can reach, is given up.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

use super::super::calibration::{band, calibrate};
use super::axis::{Axis, Cell};
use super::rows::RowScorer;
use super::{Change, ChangedValue};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::ScoreKind;

/// Values of a box that are scored one by one rather than bounded.
const FEW: usize = 64;

/// Work that a search may do, in visits of trees: about 0.2 s.
const BUDGET: usize = 40_000_000;

/// What the bounds of a box cost, in visits of trees per tree: more leaves than one are reached.
const BOUND_COST: usize = 24;

/// Bounds are computed in other steps than scores, and may differ in the last digits.
const SLACK: f64 = 1e-6;

/// What a search found.
pub(super) struct PairResult {
    pub(super) found: Option<Change>,
    /// Whether there is no smaller one.
    pub(super) complete: bool,
}

/// The search.
pub(super) struct PairSearch<'a> {
    axes: &'a [Axis],
    row: &'a [f64],
    /// Scores below it are in a lower band.
    limit: f64,
    /// Only changes below this distance are of interest.
    most: f64,
    open: BinaryHeap<Reverse<Boxed>>,
    work: usize,
}

/// A box: a part of one side of each of two axes.
#[derive(Clone, Debug)]
struct Boxed {
    nearest: f64,
    /// Axis, side and range of cells, of each feature.
    parts: [(usize, usize, Range<usize>); 2],
}

impl PartialEq for Boxed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Boxed {}

impl PartialOrd for Boxed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Boxed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nearest.total_cmp(&other.nearest)
    }
}

impl Boxed {
    fn cells(&self) -> usize {
        self.parts.iter().map(|(_, _, range)| range.len()).product()
    }
}

impl<'a> PairSearch<'a> {
    pub(super) fn new(axes: &'a [Axis], row: &'a [f64], limit: f64, most: f64) -> Self {
        let mut search = Self {
            axes,
            row,
            limit,
            most,
            open: BinaryHeap::new(),
            work: 0,
        };
        for first in 0..axes.len() {
            for second in first + 1..axes.len() {
                for one in 0..axes[first].sides.len() {
                    for other in 0..axes[second].sides.len() {
                        let whole = |axis: usize, side: usize| (axis, side, 0..axes[axis].sides[side].len());
                        search.push([whole(first, one), whole(second, other)]);
                    }
                }
            }
        }
        search
    }

    /// Searches until the smallest change is found, or the budget is spent.
    ///
    /// # Errors
    /// A score is not finite.
    pub(super) fn run(mut self, scorer: &mut RowScorer<'_>) -> Result<PairResult, Error> {
        let model = scorer.model();
        let mut found = None;
        while let Some(Reverse(next)) = self.open.pop() {
            if next.nearest >= self.most {
                return Ok(PairResult {
                    found,
                    complete: true,
                });
            }
            if self.work > BUDGET {
                let found = found.map(|change| Change {
                    optimal: false,
                    ..change
                });
                return Ok(PairResult {
                    found,
                    complete: false,
                });
            }
            if next.cells() <= FEW {
                if let Some(change) = self.try_cells(scorer, &next)? {
                    self.most = change.distance;
                    found = Some(change);
                }
            } else if self.can_reach(model, &next)? {
                self.split(next);
            }
        }
        Ok(PairResult {
            found,
            complete: true,
        })
    }

    fn cell(&self, axis: usize, side: usize, at: usize) -> Cell {
        self.axes[axis].sides[side][at]
    }

    fn push(&mut self, parts: [(usize, usize, Range<usize>); 2]) {
        // Distances grow along a side.
        let nearest = parts
            .iter()
            .map(|(axis, side, range)| self.cell(*axis, *side, range.start).distance)
            .sum();
        if nearest < self.most && parts.iter().all(|(_, _, range)| !range.is_empty()) {
            self.open.push(Reverse(Boxed { nearest, parts }));
        }
    }

    /// Splits the longer range of a box in two.
    fn split(&mut self, next: Boxed) {
        let [first, second] = next.parts;
        let longer_first = first.2.len() >= second.2.len();
        let (axis, side, range) = if longer_first {
            first.clone()
        } else {
            second.clone()
        };
        let middle = range.start + range.len() / 2;
        for half in [range.start..middle, middle..range.end] {
            let part = (axis, side, half);
            self.push(match longer_first {
                true => [part, second.clone()],
                false => [first.clone(), part],
            });
        }
    }

    /// Scores every pair of values of a box. Returns the smallest change that reaches a lower band.
    fn try_cells(&mut self, scorer: &mut RowScorer<'_>, small: &Boxed) -> Result<Option<Change>, Error> {
        let [first, second] = &small.parts;
        let mut pairs: Vec<[Cell; 2]> = Vec::with_capacity(small.cells());
        for one in first.2.clone() {
            for other in second.2.clone() {
                pairs.push([
                    self.cell(first.0, first.1, one),
                    self.cell(second.0, second.1, other),
                ]);
            }
        }
        let distance = |pair: &[Cell; 2]| pair[0].distance + pair[1].distance;
        pairs.retain(|pair| distance(pair) < self.most);
        self.work += pairs.len() * scorer.model().forest.summary().trees;
        let inputs = [first.0, second.0].map(|axis| (self.axes[axis].input, self.axes[axis].current));
        let scores = scorer.score(pairs.len(), |row, number| {
            for ((input, _), cell) in inputs.iter().zip(&pairs[number]) {
                row[*input] = cell.value;
            }
        })?;
        let reached = pairs
            .iter()
            .zip(&scores)
            .filter(|(_, score)| **score < self.limit);
        let best = reached.min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)));
        Ok(best.map(|(pair, &score)| Change {
            parts: inputs
                .iter()
                .zip(pair)
                .map(|(&(input, from), cell)| ChangedValue {
                    input,
                    from,
                    to: cell.value,
                })
                .collect(),
            score,
            band: band(scorer.bands(), score),
            distance: distance(pair),
            optimal: true,
        }))
    }

    /// Whether some pair of values of a box may have a score in a lower band.
    fn can_reach(&mut self, model: &ModelVersion, large: &Boxed) -> Result<bool, Error> {
        self.work += BOUND_COST * model.forest.summary().trees;
        let (mut lower, mut upper) = (self.row.to_vec(), self.row.to_vec());
        for (axis, side, range) in &large.parts {
            let ends = [range.start, range.end - 1].map(|at| self.cell(*axis, *side, at).value);
            let input = self.axes[*axis].input;
            (lower[input], upper[input]) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        }
        let bounds = model
            .forest
            .margin_bounds(&lower, &upper, 0)
            .map_err(|error| Error::internal(error.to_string()))?;
        // Transforms and calibrations are monotone, in one direction or the other.
        let least = [bounds.low, bounds.high].map(|margin| score_of(model, margin));
        let least = least[0].min(least[1]);
        Ok(least < self.limit + SLACK * self.limit.abs().max(1.0))
    }
}

/// The score of a margin of a model with one output.
fn score_of(model: &ModelVersion, margin: f64) -> f64 {
    let Some(contract) = &model.contract else {
        return f64::NEG_INFINITY;
    };
    let value = match contract.output.kind {
        ScoreKind::Margin => margin,
        _ => {
            let mut value = [0.0];
            model.forest.transform(&[margin], &mut value);
            value[0]
        }
    };
    calibrate(&contract.output, Some(margin), value)
}
