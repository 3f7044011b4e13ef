//! Steps and bounds of the margin, on models of every library: whatever is predicted between two steps is the same, and lies
//! within the bounds.

use evergreen_forest::{Forest, LoadOptions, OutputKind, PredictError, Scratch};

use super::golden::{Case, cases};

/// A random generator (splitmix64) with a fixed seed, so that failures can be reproduced.
struct RandomSource(u64);

impl RandomSource {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

/// The models of all cases that have steps, each with its rows.
fn models() -> Vec<(String, Forest, Vec<f64>)> {
    let mut models = Vec::new();
    for path in cases() {
        let mut case = Case::read(&path);
        let bytes = std::fs::read(path.with_file_name(&case.model)).unwrap();
        let forest = Forest::from_bytes(&bytes, &LoadOptions::default()).unwrap();
        case.encode(&forest);
        let rows = case.input.clone();
        models.push((path.display().to_string(), forest, rows));
    }
    models
}

fn margins(forest: &Forest, rows: &[f64]) -> Vec<u64> {
    let width = forest.width(OutputKind::Margin).unwrap();
    let mut out = vec![0.0; rows.len() / forest.features().len() * width];
    let mut scratch = Scratch::default();
    forest
        .predict(OutputKind::Margin, rows, &mut out, &mut scratch)
        .unwrap();
    out.into_iter().map(f64::to_bits).collect()
}

/// The number that the model takes for `value`, so that a number between two steps stays there when it is rounded.
fn as_model_takes(value: f64, down: bool) -> f64 {
    let near = value as f32;
    let beyond = if down {
        f64::from(near) >= value
    } else {
        f64::from(near) < value
    };
    f64::from(if beyond && down { near.next_down() } else { near })
}

#[test]
fn margins_change_at_steps_only() {
    let mut random = RandomSource(7);
    let (mut compared, mut linear, mut changes) = (0, 0, 0);
    for (name, forest, rows) in models() {
        let steps = match forest.steps() {
            Err(PredictError::Linear) => {
                linear += 1;
                continue;
            }
            steps => steps.unwrap(),
        };
        let width = forest.features().len();
        for (feature, steps) in steps.iter().enumerate() {
            assert!(steps.is_sorted_by(|a, b| a < b), "{name}: {steps:?}");
            for _ in 0..3 {
                let row = random.below(rows.len() / width);
                let row = &rows[row * width..][..width];
                // Below the first step, and from each step up to just before the next.
                let ends = steps.iter().copied().chain([f64::MAX]);
                let begins = [-1e30].into_iter().chain(steps.iter().copied());
                let mut previous = None;
                for (from, end) in begins.zip(ends) {
                    let last = as_model_takes(end, true).max(from);
                    let both = [from, last].map(|value| {
                        let mut row = row.to_vec();
                        row[feature] = value;
                        margins(&forest, &row)
                    });
                    assert_eq!(
                        both[0], both[1],
                        "{name}: feature {feature} from {from} to {last}"
                    );
                    changes += usize::from(previous.is_some_and(|previous| previous != both[0]));
                    previous = Some(both[0].clone());
                    compared += 1;
                }
            }
        }
    }
    assert!(
        compared > 10_000 && changes > 1_000 && linear > 0,
        "{compared} {changes} {linear}"
    );
}

#[test]
fn margins_stay_within_their_bounds() {
    let mut random = RandomSource(11);
    let (mut compared, mut tight) = (0, 0);
    for (name, forest, rows) in models() {
        if forest.steps().is_err() {
            continue;
        }
        let (width, groups) = (forest.features().len(), forest.summary().groups);
        for _ in 0..20 {
            let [first, second] = [(); 2].map(|()| random.below(rows.len() / width) * width);
            let (mut lower, mut upper) = (rows[first..][..width].to_vec(), rows[first..][..width].to_vec());
            // A few features vary between the numbers of two rows.
            let free: Vec<usize> = (0..1 + random.below(3)).map(|_| random.below(width)).collect();
            for &feature in &free {
                let other = rows[second + feature];
                if !other.is_nan() && !lower[feature].is_nan() {
                    (lower[feature], upper[feature]) = (lower[feature].min(other), upper[feature].max(other));
                }
            }
            let bounds: Vec<_> = (0..groups)
                .map(|group| forest.margin_bounds(&lower, &upper, group).unwrap())
                .collect();
            for _ in 0..20 {
                let mut row = lower.clone();
                for &feature in &free {
                    let share = random.below(1001) as f64 / 1000.0;
                    let span = upper[feature] - lower[feature];
                    if span > 0.0 {
                        row[feature] = (lower[feature] + share * span).min(upper[feature]);
                    }
                }
                for (group, margin) in margins(&forest, &row).into_iter().enumerate() {
                    let (margin, bounds) = (f64::from_bits(margin), bounds[group]);
                    assert!(
                        bounds.low <= margin && margin <= bounds.high,
                        "{name}: {margin} outside {bounds:?}"
                    );
                    compared += 1;
                    tight += usize::from(bounds.high - bounds.low < 1e-3);
                }
            }
        }
    }
    assert!(
        compared > 10_000 && tight > 100 && tight < compared,
        "{compared} {tight}"
    );
}

#[test]
fn a_wrong_row_or_group_is_an_error() {
    let (_, forest, rows) = models()
        .into_iter()
        .find(|(_, forest, _)| forest.steps().is_ok())
        .unwrap();
    let row = &rows[..forest.features().len()];
    assert!(forest.margin_bounds(row, &row[1..], 0).is_err());
    assert!(forest.margin_bounds(row, row, forest.summary().groups).is_err());
}
