//! The values that one feature can take: one for each interval in which the model does not tell values apart.

use crate::models::ModelVersion;
use crate::models::contract::Actionable;
use crate::models::input::ModelInput;
use crate::models::reference::Distribution;
use crate::values::feature_type::FeatureType;

/// The distance to another category, or from yes to no: half of the customers.
const OTHER_CATEGORY: f64 = 0.5;

/// Weight of the change itself, relative to the range: of two changes that pass the same customers, the smaller one counts.
const TIE: f64 = 0.001;

/// The values that a feature can change to.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) input: usize,
    /// The value now.
    pub(super) current: f64,
    /// The parts of the axis in which distances grow with the position: above the value, and below it.
    pub(super) sides: Vec<Vec<Cell>>,
}

/// Values between which the model does not tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    /// One of them, the nearest that can be had.
    pub(super) value: f64,
    /// How far the value is, as a share of the training rows.
    pub(super) distance: f64,
}

impl Axis {
    /// The axis of an actionable input; `None` if its value is missing or nothing is known of its values.
    pub(super) fn new(model: &ModelVersion, input: usize, steps: &[f64], current: f64) -> Option<Self> {
        let described = model.inputs.get(input)?;
        let allowed = described.contract.actionable?;
        if current.is_nan() {
            return None;
        }
        let current = seen(described, current);
        let sides = match described.contract.kind {
            FeatureType::Category => vec![categories(described, current)],
            FeatureType::Bool => vec![flag(current, allowed)],
            _ => {
                let range = range_of(model, input, current)?;
                let numbers = Numbers {
                    model,
                    input,
                    described,
                    current,
                    range,
                };
                let wanted = [
                    (Actionable::Up, numbers.above(steps)),
                    (Actionable::Down, numbers.below(steps)),
                ];
                let fits = |side: &Actionable| allowed == Actionable::Any || allowed == *side;
                wanted
                    .into_iter()
                    .filter(|(side, _)| fits(side))
                    .map(|(_, cells)| cells)
                    .collect()
            }
        };
        let sides: Vec<Vec<Cell>> = sides.into_iter().filter(|side| !side.is_empty()).collect();
        (!sides.is_empty()).then_some(Self {
            input,
            current,
            sides,
        })
    }

    /// All values.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell> {
        self.sides.iter().flatten().copied()
    }
}

/// A numeric feature.
struct Numbers<'a> {
    model: &'a ModelVersion,
    input: usize,
    described: &'a ModelInput,
    current: f64,
    range: [f64; 2],
}

impl Numbers<'_> {
    /// One value for each interval above the one of the current value, ascending.
    fn above(&self, steps: &[f64]) -> Vec<Cell> {
        let first = steps.partition_point(|&step| step <= self.current);
        let starts = &steps[first..];
        let ends = starts.iter().skip(1).copied().chain([f64::INFINITY]);
        let cells = starts.iter().zip(ends).filter_map(|(&from, end)| {
            let value = self.least(from, end)?;
            (value <= self.range[1]).then(|| self.cell(value))
        });
        cells.collect()
    }

    /// One value for each interval below the one of the current value, descending.
    fn below(&self, steps: &[f64]) -> Vec<Cell> {
        let last = steps.partition_point(|&step| step <= self.current);
        let ends = &steps[..last];
        let starts = ends.iter().rev().skip(1).copied().chain([f64::NEG_INFINITY]);
        let cells = ends.iter().rev().zip(starts).filter_map(|(&end, from)| {
            let value = self.greatest(from, end)?;
            (value >= self.range[0]).then(|| self.cell(value))
        });
        cells.collect()
    }

    /// The least value from `from` up to `end` (excluded) that can be had.
    fn least(&self, from: f64, end: f64) -> Option<f64> {
        let values = match self.step() {
            // Rounding may have taken the number of steps to the next one.
            Some(step) => {
                let steps = ((from - self.current) / step).ceil();
                [steps - 1.0, steps, steps + 1.0].map(|steps| self.current + steps * step)
            }
            None => [from; 3],
        };
        values.into_iter().find(|&value| self.is_within(value, from, end))
    }

    /// The greatest value from `from` up to `end` (excluded) that can be had.
    fn greatest(&self, from: f64, end: f64) -> Option<f64> {
        let values = match self.step() {
            Some(step) => {
                let steps = ((self.current - end) / step).floor();
                [steps, steps + 1.0, steps + 2.0].map(|steps| self.current - steps * step)
            }
            None => {
                [shortest_below(from.max(self.range[0]), end, self.current, |value| {
                    self.seen(value)
                })?; 3]
            }
        };
        values.into_iter().find(|&value| self.is_within(value, from, end))
    }

    /// Whether the model takes a value for one from `from` up to `end` (excluded).
    fn is_within(&self, value: f64, from: f64, end: f64) -> bool {
        (from..end).contains(&self.seen(value))
    }

    /// The value as the model sees it.
    fn seen(&self, value: f64) -> f64 {
        seen(self.described, value)
    }

    fn step(&self) -> Option<f64> {
        let whole = self.described.contract.kind == FeatureType::Int;
        self.described.contract.step.or(whole.then_some(1.0))
    }

    fn cell(&self, value: f64) -> Cell {
        let [low, high] = self.range;
        let relative = (value - self.current).abs() / (high - low).max(f64::MIN_POSITIVE);
        let passed = distribution(self.model, self.input).map(|known| {
            let [to, from] = [value, self.current].map(|value| known.share_below(value));
            (to - from).abs()
        });
        Cell {
            value,
            distance: passed.unwrap_or(0.0) + TIE * relative,
        }
    }
}

/// A value as the model sees it.
#[expect(clippy::cast_possible_truncation, reason = "the model sees no more than this")]
fn seen(input: &ModelInput, value: f64) -> f64 {
    match input.is_narrow() {
        true => f64::from(value as f32),
        false => value,
    }
}

/// Digits of a number that people read.
const DIGITS: i32 = 3;

/// The greatest decimal of few digits that is seen from `low` up to `end` (excluded), so that people read 29.8, not 29.799999. The
/// digits are those of the way from `current`, above it: at most a hundredth of the way is given away.
fn shortest_below(low: f64, end: f64, current: f64, seen: impl Fn(f64) -> f64) -> Option<f64> {
    let size = current - end;
    #[expect(clippy::cast_possible_truncation, reason = "an exponent of a finite number")]
    let coarsest = size.max(1e-9).log10().floor() as i32 + 1 - DIGITS;
    let few = (-12..=coarsest).rev().find_map(|exponent| {
        let unit = 10_f64.powi(exponent);
        let most = (end / unit).ceil();
        [most, most - 1.0, most - 2.0]
            .into_iter()
            .map(|units| match exponent {
                // Division gives the decimal itself, multiplication a number beside it.
                ..0 => units / 10_f64.powi(-exponent),
                _ => units * unit,
            })
            .find(|&value| (low..end).contains(&seen(value)))
    });
    few.or((low < end).then_some(low))
}

/// The codes of all categories, ascending.
pub(super) fn codes(input: &ModelInput) -> Vec<f64> {
    let mut codes: Vec<f64> = input
        .categories()
        .iter()
        .filter_map(|name| input.code(name))
        .collect();
    codes.sort_by(f64::total_cmp);
    codes.dedup();
    codes
}

/// All other categories.
fn categories(input: &ModelInput, current: f64) -> Vec<Cell> {
    let others = codes(input).into_iter().filter(|&code| code != current);
    let cells = others.map(|value| Cell {
        value,
        distance: OTHER_CATEGORY,
    });
    cells.collect()
}

/// The other of yes and no, if it is allowed.
fn flag(current: f64, allowed: Actionable) -> Vec<Cell> {
    let value = f64::from(u8::from(current == 0.0));
    let cell = Cell {
        value,
        distance: OTHER_CATEGORY,
    };
    if allowed.allows(current, value) {
        vec![cell]
    } else {
        Vec::new()
    }
}

fn distribution(model: &ModelVersion, input: usize) -> Option<&Distribution> {
    let name = &model.inputs.get(input)?.contract.name;
    model.reference.as_ref()?.features.get(name)
}

/// The values of a number that are looked at: the range of the contract, or those of training; and the current one. `None` if
/// neither is known.
pub(super) fn range_of(model: &ModelVersion, input: usize, current: f64) -> Option<[f64; 2]> {
    let trained = match distribution(model, input) {
        Some(Distribution::Numeric { min, max, .. }) => min.zip(*max),
        _ => None,
    };
    let bounds = model.inputs.get(input)?.bounds();
    let finite = bounds.filter(|bounds| bounds.iter().all(|bound| bound.is_finite()));
    let [low, high] = finite.or(trained.map(|(low, high)| [low, high]))?;
    // A missing value widens nothing.
    Some([low.min(current), high.max(current)])
}

/// Whether an input is derived, or derived inputs depend on it: then its own steps do not say where scores change.
pub(super) fn feeds_derived(model: &ModelVersion, input: usize) -> bool {
    let Some(described) = model.inputs.get(input) else {
        return true;
    };
    let name = described.contract.name.as_str();
    let derivations = model
        .inputs
        .iter()
        .filter_map(|other| other.contract.derive.as_ref());
    described.contract.derive.is_some()
        || derivations
            .flat_map(|derivation| derivation.operands())
            .any(|operand| operand == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    #[test]
    fn short_decimals_stay_below_their_end() {
        for (low, end, current, expected) in [
            (0.0, 29.85, 64.0, 29.8),
            (29.81, 29.85, 64.0, 29.84),
            (-3.4, -3.0, 5.0, -3.01),
            (-5.0, 0.0, 100.0, -1.0),
            (0.1, 0.3, 0.5, 0.299),
            (0.0, 500.0, 628.0, 499.0),
            (99.0, 100.0, 900.0, 99.0),
            (5.0, 5.000_000_000_001, 6.0, 5.0),
            // A short way on a large number.
            (2015.0, 2024.0, 2026.0, 2023.99),
            (100_000.0, 123_456.0, 123_500.0, 123_455.9),
        ] {
            let found = shortest_below(low, end, current, |value| value).unwrap();
            assert!(low <= found && found < end, "{low} {found} {end}");
            assert!((found - expected).abs() < 1e-9, "{low} to {end}: {found}");
        }
        let end = f64::from(29.85_f32);
        let narrow = |low| shortest_below(low, end, 64.0, |value| f64::from(value as f32));
        assert_eq!(narrow(29.0), Some(29.8));
        assert_eq!(narrow(29.845), Some(29.849), "29.85 is the end itself in 32 bits");
        assert_eq!(shortest_below(2.0, 2.0, 3.0, |value| value), None);
    }

    #[test]
    fn an_axis_goes_where_the_contract_allows_in_its_steps() {
        let model = sample::version(1);
        let steps = model.forest.steps().unwrap();
        let axis = |name: &str, current: f64| {
            let input = model.input(name).unwrap();
            Axis::new(&model, input, &steps[input], current)
        };
        let price = axis("monthly_price", 500.0).unwrap();
        assert_eq!(price.sides.len(), 1, "down only");
        assert!(
            price
                .cells()
                .all(|cell| cell.value < 500.0 && cell.value % 5.0 == 0.0)
        );
        assert!(price.sides[0].is_sorted_by(|a, b| a.value > b.value && a.distance < b.distance));
        let mattresses = axis("mattresses", 20.0).unwrap();
        assert_eq!(mattresses.sides.len(), 2, "up and down");
        let yearly = axis("yearly_contract", 0.0).unwrap();
        assert_eq!(yearly.cells().map(|cell| cell.value).collect::<Vec<_>>(), [1.0]);
        assert!(
            axis("yearly_contract", 1.0).is_none(),
            "nobody takes a contract back"
        );
        assert_eq!(axis("plan", 0.0).unwrap().cells().count(), 2);
        assert!(axis("nps", 5.0).is_none(), "nobody can change an opinion");
        assert!(axis("monthly_price", f64::NAN).is_none());
    }
}
