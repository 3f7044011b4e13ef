//! Counts of one window of time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bins::ModelBins;
use super::distinct::MOST;
use crate::values::issues::{FeatureIssues, STATUSES};

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// From the full hour.
    Hour,
    /// From midnight in UTC.
    Day,
}

impl WindowKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// The name in requests, answers and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The length in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::Day => 86400,
        }
    }

    /// Past windows that are kept.
    pub fn kept(self) -> usize {
        match self {
            Self::Hour => 24,
            Self::Day => 30,
        }
    }

    /// The start of the window that holds a time, both in seconds since the Unix epoch.
    pub fn start(self, now: i64) -> i64 {
        now - now.rem_euclid(self.seconds())
    }
}

/// The counts of one window. Windows of the same bins add up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The start in seconds since the Unix epoch.
    pub from: i64,
    /// Entities.
    pub rows: u64,
    /// Rows by bin: those of the inputs one after the other, then those of the score.
    bins: Vec<u32>,
    /// By input and status, in the order of [`STATUSES`].
    statuses: Vec<[u32; STATUSES.len()]>,
    /// By input, the rows with a number that is below the least or above the greatest at training.
    beyond: Vec<u32>,
    /// By input, the least and the greatest value; infinite without values.
    #[serde(serialize_with = "to_bits", deserialize_with = "from_bits")]
    outer: Vec<[f64; 2]>,
}

/// JSON has no infinite numbers.
fn to_bits<S: Serializer>(outer: &[[f64; 2]], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(outer.iter().map(|pair| pair.map(f64::to_bits)))
}

fn from_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<[f64; 2]>, D::Error> {
    let outer = Vec::<[u64; 2]>::deserialize(deserializer)?;
    Ok(outer.into_iter().map(|pair| pair.map(f64::from_bits)).collect())
}

/// What one entity adds to a window.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The inputs as the model sees them.
    pub row: &'a [f64],
    /// The model's value before calibration; `None` without one.
    pub value: Option<f64>,
    /// Issues with the inputs.
    pub issues: &'a FeatureIssues,
}

impl Window {
    /// An empty window.
    pub fn new(from: i64, bins: &ModelBins) -> Self {
        Self {
            from,
            rows: 0,
            bins: vec![0; bins.count()],
            statuses: vec![[0; STATUSES.len()]; bins.inputs.len()],
            beyond: vec![0; bins.inputs.len()],
            outer: vec![[f64::INFINITY, f64::NEG_INFINITY]; bins.inputs.len()],
        }
    }

    /// Whether it counts in these bins, and has no more rows than a window can have.
    pub fn fits(&self, bins: &ModelBins) -> bool {
        let inputs = bins.inputs.len();
        let counts = self.bins.iter().chain(self.statuses.iter().flatten());
        let mut counts = counts.chain(&self.beyond);
        self.bins.len() == bins.count()
            && self.statuses.len() == inputs
            && self.outer.len() == inputs
            && self.beyond.len() == inputs
            && self.rows <= MOST as u64 + 1
            && counts.all(|&count| u64::from(count) <= self.rows)
    }

    /// Adds one entity.
    pub fn add(&mut self, bins: &ModelBins, observed: &Observed<'_>) {
        self.rows += 1;
        let mut first = 0;
        for (input, bins) in bins.inputs.iter().enumerate() {
            let value = observed.row.get(input).copied().unwrap_or(f64::NAN);
            self.bins[first + bins.bin(value)] += 1;
            first += bins.expected.len();
            self.beyond[input] += u32::from(bins.is_beyond(value));
            // Comparisons with NaN are false.
            let [low, high] = &mut self.outer[input];
            if value < *low {
                *low = value;
            }
            if value > *high {
                *high = value;
            }
        }
        if let (Some(bins), Some(value)) = (&bins.score, observed.value) {
            self.bins[first + bins.bin(value)] += 1;
        }
        for (status, inputs) in observed.issues.lists().iter().enumerate() {
            for &input in *inputs {
                if let Some(statuses) = self.statuses.get_mut(input) {
                    statuses[status] += 1;
                }
            }
        }
    }

    /// Adds the counts of another window of the same bins.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (count, more) in self.bins.iter_mut().zip(&other.bins) {
            *count += more;
        }
        for (counts, more) in self.statuses.iter_mut().zip(&other.statuses) {
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
        for (count, more) in self.beyond.iter_mut().zip(&other.beyond) {
            *count += more;
        }
        for ([low, high], [lower, higher]) in self.outer.iter_mut().zip(&other.outer) {
            *low = low.min(*lower);
            *high = high.max(*higher);
        }
    }

    /// By input, and then for the score, the rows in each bin.
    pub fn counts<'a>(&'a self, bins: &'a ModelBins) -> impl Iterator<Item = Vec<u64>> + 'a {
        let mut first = 0;
        bins.all().map(move |bins| {
            let from = first;
            first += bins.expected.len();
            self.bins[from..first]
                .iter()
                .map(|&count| u64::from(count))
                .collect()
        })
    }

    /// Rows by status of an input, in the order of [`STATUSES`].
    pub fn statuses(&self, input: usize) -> [u64; STATUSES.len()] {
        self.statuses
            .get(input)
            .map_or([0; STATUSES.len()], |statuses| statuses.map(u64::from))
    }

    /// Rows of an input with a number beyond those at training.
    pub fn beyond(&self, input: usize) -> u64 {
        self.beyond.get(input).copied().map_or(0, u64::from)
    }

    /// The least and the greatest value of an input; `None` without values.
    pub fn outer(&self, input: usize) -> Option<(f64, f64)> {
        let [low, high] = *self.outer.get(input)?;
        (low <= high).then_some((low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    #[test]
    fn windows_start_at_full_hours_and_days() {
        // 2026-11-29T01:41:31Z
        let now = 1_795_916_491;
        assert_eq!(WindowKind::Hour.start(now), 1_795_914_000);
        assert_eq!(WindowKind::Day.start(now), 1_795_910_400);
        assert_eq!(WindowKind::Hour.start(-1), -3600);
    }

    #[test]
    fn a_row_is_in_one_bin_of_each_input() {
        let model = sample::version(1);
        let bins = ModelBins::of(&model).unwrap();
        let mut window = Window::new(0, &bins);
        let mut row = vec![f64::NAN; model.inputs.len()];
        row[0] = 1.0;
        let issues = FeatureIssues {
            stale: vec![0],
            ..FeatureIssues::default()
        };
        let value = Some(0.25);
        window.add(
            &bins,
            &Observed {
                row: &row,
                value,
                issues: &issues,
            },
        );
        for counts in window.counts(&bins) {
            assert_eq!(counts.iter().sum::<u64>(), 1);
        }
        assert_eq!(window.statuses(0), [0, 0, 1, 0, 0]);
        assert_eq!((window.outer(0), window.outer(1)), (Some((1.0, 1.0)), None));
    }
}
