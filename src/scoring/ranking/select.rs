//! Selects the customers of a ranking that match the filters of a request. Without filters, and for neighbouring bands, that
//! is a range; otherwise every customer is looked at once, and the result is kept for the next pages.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::filter::RowFilters;
use super::order::OrderKey;
use super::table::{RankTable, Sequence};
use crate::features::plan::Plan;
use crate::models::ModelVersion;
use crate::scoring::servable::Servable;
use crate::values::id_hash::IdHasher;
use crate::values::issues::FeatureIssues;

/// Selections that are kept, the least recently used of which goes first.
pub(super) const MOST_KEPT: usize = 8;

/// Customers that a request does not want to see, such as those who were called lately.
#[derive(Clone, Debug)]
pub struct Exclusion {
    /// What makes it differ from others, such as the time since when contacts count.
    pub key: [u64; 3],
    /// The customers, by [`customer_hash`].
    pub customers: Arc<HashSet<u64>>,
}

/// The hash of a customer in [`Exclusion`].
pub fn customer_hash(model: &str, id: crate::values::entity_id::IdRef<'_>) -> u64 {
    IdHasher::new(model).hash(id)
}

/// What is selected of which ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SelectionKey {
    /// The serial number of the ranking.
    pub(super) ranking: u64,
    pub(super) key: OrderKey,
    pub(super) filters: u64,
    pub(super) exclusion: Option<[u64; 3]>,
}

/// Selected customers.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) sequence: Sequence,
    /// Customers that match, but are excluded.
    pub(super) excluded: usize,
}

/// Recent selections.
#[derive(Debug, Default)]
pub(super) struct SelectionCache(Mutex<Vec<(SelectionKey, Selection)>>);

impl SelectionCache {
    fn kept(&self) -> MutexGuard<'_, Vec<(SelectionKey, Selection)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept selection.
    pub(super) fn get(&self, key: &SelectionKey) -> Option<Selection> {
        let mut kept = self.kept();
        let at = kept.iter().position(|(known, _)| known == key)?;
        let found = kept.remove(at);
        let selection = found.1.clone();
        kept.push(found);
        Some(selection)
    }

    /// Keeps a selection.
    pub(super) fn put(&self, key: SelectionKey, selection: Selection) {
        let mut kept = self.kept();
        kept.retain(|(known, _)| *known != key);
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push((key, selection));
    }

    /// Forgets the selections of rankings that are not among `present`.
    pub(super) fn retain(&self, present: &[u64]) {
        self.kept().retain(|(key, _)| present.contains(&key.ranking));
    }
}

/// What to select from.
pub(super) struct Candidates<'a> {
    pub(super) servable: &'a Servable,
    pub(super) plan: &'a Plan,
    pub(super) table: &'a RankTable,
    /// The time of the ranking, in seconds since the Unix epoch.
    pub(super) now: f64,
    /// Ranges of positions, for the wanted bands.
    pub(super) ranges: Vec<std::ops::Range<usize>>,
    pub(super) filters: RowFilters,
    pub(super) exclusion: Option<Exclusion>,
}

impl Candidates<'_> {
    /// Selects without looking at any customer; `None` if each must be looked at.
    pub(super) fn at_once(&self, key: OrderKey) -> Option<Selection> {
        if !self.filters.is_empty() || self.exclusion.is_some() {
            return None;
        }
        let sequence = match self.ranges.as_slice() {
            [range] if range.len() == self.table.len() => self.table.all(key),
            [range] if key == OrderKey::Score || !self.table.has_before() => Sequence::Range(range.clone()),
            _ => return None,
        };
        Some(Selection {
            sequence,
            excluded: 0,
        })
    }

    /// Looks at every customer. Takes some hundred nanoseconds for each.
    pub(super) fn scan(&self, key: OrderKey) -> Selection {
        let model = &*self.servable.model;
        let mut issues = FeatureIssues::default();
        let mut excluded = 0;
        let mut matches = |position: usize| {
            let matches = self.matches(model, position, &mut issues);
            let hidden = matches && self.is_excluded(model, position);
            excluded += usize::from(hidden);
            matches && !hidden
        };
        let sequence = match self.table.all(key) {
            Sequence::Range(_) => {
                let positions = self.ranges.iter().cloned().flatten().filter(|&at| matches(at));
                let positions: Arc<[u32]> = positions.map(narrow).collect();
                Sequence::List {
                    reversible: positions.len(),
                    positions,
                }
            }
            Sequence::List {
                positions,
                reversible,
            } => {
                let (changed, others) = positions.split_at(reversible);
                let mut chosen = |list: &[u32]| -> Vec<u32> {
                    let inside = |&&at: &&u32| self.ranges.iter().any(|range| range.contains(&(at as usize)));
                    let list = list.iter().filter(inside);
                    list.copied().filter(|&at| matches(at as usize)).collect()
                };
                let (mut changed, others) = (chosen(changed), chosen(others));
                let reversible = changed.len();
                changed.extend(others);
                Sequence::List {
                    positions: changed.into(),
                    reversible,
                }
            }
        };
        Selection { sequence, excluded }
    }

    fn matches(&self, model: &ModelVersion, position: usize, issues: &mut FeatureIssues) -> bool {
        let (row, id) = (self.table.row(position), self.table.id(position));
        self.filters.matches(model, self.plan, row, id, self.now, issues)
    }

    fn is_excluded(&self, model: &ModelVersion, position: usize) -> bool {
        let hash = || customer_hash(&model.name, self.table.id(position));
        self.exclusion
            .as_ref()
            .is_some_and(|exclusion| exclusion.customers.contains(&hash()))
    }
}

fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
