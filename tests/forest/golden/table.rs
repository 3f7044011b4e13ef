//! The result of a comparison: rows that differ, and by how much.

use std::fmt;

use evergreen_forest::{Forest, OutputKind, Scratch};

use super::case::{Case, Output};

/// The result of a case.
pub(crate) struct Line {
    pub(crate) case: String,
    rows: usize,
    margin: Option<Difference>,
    value: Option<Difference>,
    class: Option<Difference>,
    leaf: Option<Difference>,
    /// Greatest difference of a contribution, relative to the row's greatest contribution.
    contributions: Option<f64>,
    /// Greatest difference between a row's sum of contributions and its margin, relative likewise.
    sums: Option<f64>,
}

/// Rows that differ in any bit, and the greatest difference.
#[derive(Clone, Copy, Default)]
struct Difference {
    rows: usize,
    ulp: u64,
}

/// The difference that a case may have.
pub(crate) struct Allowance {
    pub(crate) value_ulp: u64,
    pub(crate) contributions: f64,
}

/// Cases that cannot agree with the library to the last bit, with the reason. All others must.
const ALLOWED: &[(&str, u64, &str)] = &[
    (
        "lightgbm/3.2.1/cross_entropy_lambda",
        32,
        "3.2 computes log(1 + e^x), later releases log1p(e^x), and their files look alike",
    ),
    ("catboost/1.2.10/MultiClass", 8, FAST_EXP),
    ("catboost/1.2.10/lossguide-classes", 8, FAST_EXP),
    ("catboost/1.2.10/Poisson", 8, FAST_EXP),
    ("catboost/1.2.10/Tweedie", 8, FAST_EXP),
];

const FAST_EXP: &str =
    "the library's exp is an approximation by table and polynomial, one of three chosen by the CPU";

pub(crate) fn allowance(case: &str) -> Allowance {
    let value_ulp = ALLOWED
        .iter()
        .find(|(name, ..)| case == *name)
        .map_or(0, |(_, ulp, _)| *ulp);
    // The libraries add contributions up in f32 (or f64) in another order.
    Allowance {
        value_ulp,
        contributions: 1e-4,
    }
}

impl Line {
    pub(crate) const HEAD: &str = "case\trows\tmargin differs\tvalue differs\tmax ulp\tclass differs\tleaf differs\tcontributions\tsum-margin\n";

    pub(crate) fn new(case: &str, rows: usize) -> Self {
        Self {
            case: case.to_owned(),
            rows,
            margin: None,
            value: None,
            class: None,
            leaf: None,
            contributions: None,
            sums: None,
        }
    }

    pub(crate) fn add(&mut self, output: &Output, ours: &[f64]) {
        let slot = match output.kind {
            OutputKind::Margin => &mut self.margin,
            OutputKind::Value => &mut self.value,
            OutputKind::Class => &mut self.class,
            OutputKind::Leaf => &mut self.leaf,
            // The libraries' contributions are recorded, not their interactions.
            OutputKind::Contributions | OutputKind::Interactions => {
                self.contributions = Some(greatest_part(output, ours));
                return;
            }
        };
        *slot = Some(difference(output, ours));
    }

    /// Compares each row's sum of contributions with its margin.
    pub(crate) fn check_sums(&mut self, forest: &Forest, case: &Case, ours: &[f64]) {
        let groups = forest.width(OutputKind::Margin).unwrap();
        let mut margins = vec![0.0; case.rows * groups];
        forest
            .predict(
                OutputKind::Margin,
                &case.input,
                &mut margins,
                &mut Scratch::default(),
            )
            .unwrap();
        let parts = ours.chunks_exact(case.features + 1);
        let worst = parts
            .zip(&margins)
            .map(|(parts, margin)| {
                let scale = parts.iter().fold(1.0f64, |most, part| most.max(part.abs()));
                (parts.iter().sum::<f64>() - margin).abs() / scale
            })
            .fold(0.0, f64::max);
        self.sums = Some(worst);
    }

    /// Describes the differences beyond the allowance.
    pub(crate) fn excess(&self, allowance: &Allowance) -> Vec<String> {
        let mut wrong = Vec::new();
        for (what, found, ulp) in [
            ("margin", self.margin, 0),
            ("value", self.value, allowance.value_ulp),
            ("class", self.class, 0),
            ("leaf", self.leaf, 0),
        ] {
            if let Some(found) = found.filter(|found| found.ulp > ulp) {
                wrong.push(format!(
                    "{}: {what} differs in {} of {} rows, by up to {} ulp",
                    self.case, found.rows, self.rows, found.ulp
                ));
            }
        }
        for (what, found) in [("contributions", self.contributions), ("sums", self.sums)] {
            if let Some(found) = found.filter(|found| found.is_nan() || *found > allowance.contributions) {
                wrong.push(format!("{}: {what} differ by {found:e}", self.case));
            }
        }
        wrong
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |found: Option<Difference>| found.map_or("-".into(), |found| found.rows.to_string());
        let part = |found: Option<f64>| found.map_or("-".into(), |found| format!("{found:.1e}"));
        writeln!(
            f,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            self.case,
            self.rows,
            rows(self.margin),
            rows(self.value),
            self.value.map_or("-".into(), |found| found.ulp.to_string()),
            rows(self.class),
            rows(self.leaf),
            part(self.contributions),
            part(self.sums),
        )
    }
}

fn difference(output: &Output, ours: &[f64]) -> Difference {
    let mut difference = Difference::default();
    for (theirs, ours) in output.answer.chunks(output.width).zip(ours.chunks(output.width)) {
        let ulp = theirs
            .iter()
            .zip(ours)
            .map(|(theirs, ours)| distance(*theirs, *ours, output.narrow))
            .max();
        let ulp = ulp.unwrap_or(0);
        difference.rows += usize::from(ulp > 0);
        difference.ulp = difference.ulp.max(ulp);
    }
    difference
}

/// Counts the floats between two numbers, in the library's float type. NaNs are equal; the zeros differ.
fn distance(theirs: f64, ours: f64, narrow: bool) -> u64 {
    if theirs.is_nan() && ours.is_nan() {
        return 0;
    }
    let (theirs, ours) = if narrow {
        #[expect(clippy::cast_possible_truncation)]
        (ordered(f64::from(theirs as f32), true), ordered(ours, true))
    } else {
        (ordered(theirs, false), ordered(ours, false))
    };
    theirs.abs_diff(ours)
}

/// Returns a float's position among all floats. Negative zero is next to zero.
fn ordered(x: f64, narrow: bool) -> i64 {
    let place = |bits: i64, min: i64| if bits < 0 { min - bits - 1 } else { bits };
    if narrow {
        #[expect(clippy::cast_possible_truncation)]
        let bits = i64::from((x as f32).to_bits().cast_signed());
        place(bits, i64::from(i32::MIN))
    } else {
        place(x.to_bits().cast_signed(), i64::MIN)
    }
}

fn greatest_part(output: &Output, ours: &[f64]) -> f64 {
    let rows = output.answer.chunks(output.width).zip(ours.chunks(output.width));
    rows.map(|(theirs, ours)| {
        let scale = theirs.iter().fold(1e-3f64, |most, part| most.max(part.abs()));
        let apart = theirs.iter().zip(ours).map(|(a, b)| (a - b).abs());
        apart.fold(0.0, f64::max) / scale
    })
    .fold(0.0, f64::max)
}
