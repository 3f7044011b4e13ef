//! A window that counts each entity once.

use serde::{Deserialize, Serialize};

use super::bins::ModelBins;
use super::distinct::{CLASSES, Distinct};
use super::window::{Observed, Window};

/// The counts of a window by class of hashes, so that a class can be given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DistinctWindow {
    /// The start in seconds since the Unix epoch.
    pub from: i64,
    distinct: Distinct,
    /// `None` without entities.
    classes: Vec<Option<Window>>,
}

impl DistinctWindow {
    /// An empty window.
    pub fn new(from: i64) -> Self {
        Self {
            from,
            distinct: Distinct::default(),
            classes: vec![None; CLASSES],
        }
    }

    /// Whether it counts in these bins.
    pub fn fits(&self, bins: &ModelBins) -> bool {
        let mut windows = self.classes.iter().flatten();
        self.distinct.is_valid() && self.classes.len() == CLASSES && windows.all(|window| window.fits(bins))
    }

    /// Adds an entity, unless it is there already.
    pub fn add(&mut self, hash: u64, bins: &ModelBins, observed: &Observed<'_>) {
        let class = self.distinct.admit(hash);
        if let Some(window) = class.and_then(|class| self.classes.get_mut(class)) {
            let window = window.get_or_insert_with(|| Window::new(self.from, bins));
            window.add(bins, observed);
        }
    }

    /// The counts.
    pub fn window(&self, bins: &ModelBins) -> Window {
        let mut sum = Window::new(self.from, bins);
        let counting = self.classes.iter().skip(self.distinct.first_class());
        counting.flatten().for_each(|window| sum.merge(window));
        sum
    }
}
