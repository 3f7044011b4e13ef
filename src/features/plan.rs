//! Where each value of a model's row comes from: worked out once, when a model, a snapshot or a store changes.

use std::sync::Arc;
use std::time::Instant;

use super::layout::Vector;
use super::remote::{Held, Remote};
use super::row::Found;
use super::snapshot::{EntityId, Snapshot};
use crate::config::source::OnFailure;
use crate::models::ModelVersion;
use crate::models::contract::FeatureType;

/// A source that a model takes values from.
#[derive(Clone, Debug)]
pub enum Feed {
    /// A table in memory.
    Table(Arc<Snapshot>),
    /// A store, with what to do when it cannot be asked.
    Remote(Arc<Remote>, OnFailure),
}

/// The sources of a model's row.
#[derive(Debug)]
pub struct Plan {
    feeds: Vec<Feed>,
    /// By slot of the model; `None` for derived inputs.
    places: Vec<Option<Place>>,
}

/// Where a slot's value is.
#[derive(Debug)]
struct Place {
    feed: usize,
    /// The column of a table, or the field of a layout.
    column: usize,
    /// For a category: the model's code for each code of the source; NaN where the model does not know it.
    codes: Option<Vec<f64>>,
}

/// Where a slot's value is to be found, before it is bound: the position among the feeds, and in the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) feed: usize,
    pub(super) column: usize,
}

/// What the remote sources gave, by feed and entity; empty for tables.
#[derive(Debug, Default)]
pub struct Gathered(Vec<Vec<Held>>);

/// What all sources have for one entity, by feed.
#[derive(Debug)]
pub struct Record<'a> {
    plan: &'a Plan,
    parts: Vec<Part<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Row(usize),
    Vector(&'a Vector),
    Nothing,
}

/// What an entity's record is worth.
#[derive(Debug)]
pub enum Known<'a> {
    /// Some source has it, or may have: `unavailable` names those that could not be asked.
    Record {
        /// The values.
        record: Record<'a>,
        /// Where they come from.
        from: Origin,
        /// Names of the sources that could not be asked.
        unavailable: Vec<String>,
    },
    /// No source knows the entity.
    Unknown,
    /// A source without which there shall be no score could not be asked.
    Unavailable(String),
}

/// Where an entity's values come from; of several, the one furthest away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A table in memory.
    Snapshot,
    /// The cache in front of a store.
    Cache,
    /// A store.
    Store,
}

impl Plan {
    pub(super) fn new(model: &ModelVersion, feeds: Vec<Feed>, spots: &[Option<Spot>]) -> Self {
        let place = |(slot, spot): (usize, &Option<Spot>)| {
            let Spot { feed, column } = (*spot)?;
            let categories = match &feeds[feed] {
                Feed::Table(table) => table.dictionary(column),
                Feed::Remote(remote, _) => &remote.layout.fields[column].categories,
            };
            let code = |text: &String| model.slot_code(slot, text).unwrap_or(f64::NAN);
            let category = model
                .slots()
                .nth(slot)
                .is_some_and(|slot| slot.kind == FeatureType::Category);
            let codes = category.then(|| categories.iter().map(code).collect());
            Some(Place { feed, column, codes })
        };
        let places = spots.iter().enumerate().map(place).collect();
        Self { feeds, places }
    }

    /// Whether some value comes from a remote store.
    pub fn is_remote(&self) -> bool {
        self.feeds.iter().any(|feed| matches!(feed, Feed::Remote(..)))
    }

    /// Asks the remote sources for `ids`, all at the same time. Returns by `deadline`.
    pub async fn gather(&self, ids: &[EntityId], now: f64, deadline: Option<Instant>) -> Gathered {
        let asked = self.feeds.iter().map(|feed| async move {
            match feed {
                Feed::Table(_) => Vec::new(),
                Feed::Remote(remote, _) => remote.get(ids, now, deadline).await,
            }
        });
        Gathered(futures_util::future::join_all(asked).await)
    }

    /// What there is for `id`, the entity at `position` among those gathered.
    pub fn find<'a>(&'a self, id: &EntityId, gathered: &'a Gathered, position: usize) -> Known<'a> {
        let mut parts = Vec::with_capacity(self.feeds.len());
        let mut unavailable = Vec::new();
        let mut from = None;
        for (number, feed) in self.feeds.iter().enumerate() {
            let held = gathered.0.get(number).and_then(|held| held.get(position));
            let part = match (feed, held) {
                (Feed::Table(table), _) => table
                    .find(id.as_ref())
                    .map(|row| (Part::Row(row), Origin::Snapshot)),
                (Feed::Remote(..), Some(Held::Vector(vector, true))) => {
                    Some((Part::Vector(vector), Origin::Cache))
                }
                (Feed::Remote(..), Some(Held::Vector(vector, false))) => {
                    Some((Part::Vector(vector), Origin::Store))
                }
                (Feed::Remote(..), Some(Held::Unknown)) => None,
                (Feed::Remote(remote, OnFailure::Degrade), _) => {
                    unavailable.push(remote.name.clone());
                    Some((Part::Nothing, Origin::Store))
                }
                (Feed::Remote(remote, OnFailure::Reject), _) => {
                    return Known::Unavailable(remote.name.clone());
                }
            };
            from = from.max(part.map(|(_, origin)| origin));
            parts.push(part.map_or(Part::Nothing, |(part, _)| part));
        }
        let Some(from) = from else {
            return Known::Unknown;
        };
        Known::Record {
            record: Record { plan: self, parts },
            from,
            unavailable,
        }
    }
}

impl Record<'_> {
    /// What is there for a slot, since when it is true (seconds since the Unix epoch), and the age in seconds from which
    /// it is stale by the store's own rules. Where a store does not say since when, that is since it was fetched: it is at
    /// least that old.
    pub fn get(&self, slot: usize) -> (Found, Option<f64>, Option<f64>) {
        let Some(Some(place)) = self.plan.places.get(slot) else {
            return (Found::Absent, None, None);
        };
        let (found, as_of, limit) = match (&self.plan.feeds[place.feed], self.parts[place.feed]) {
            (Feed::Table(table), Part::Row(row)) => {
                let value = table.value(row, place.column);
                let found = if value.is_nan() {
                    Found::Null
                } else {
                    Found::Value(value)
                };
                (found, table.as_of(row), None)
            }
            (Feed::Remote(remote, _), Part::Vector(vector)) => {
                let layout = &remote.layout;
                let group = layout.group_of(place.column);
                let as_of = vector.as_of(group).unwrap_or_else(|| vector.fetched());
                (
                    vector.get(layout, place.column),
                    Some(as_of),
                    remote.max_age(group),
                )
            }
            _ => (Found::Absent, None, None),
        };
        (place.translate(found), as_of, limit)
    }

    /// The oldest instant at which one of the sources says its values were true.
    pub fn as_of(&self) -> Option<f64> {
        let parts = self.parts.iter().zip(&self.plan.feeds);
        let instants = parts.filter_map(|(part, feed)| match (part, feed) {
            (Part::Row(row), Feed::Table(table)) => table.as_of(*row),
            (Part::Vector(vector), Feed::Remote(remote, _)) => {
                let groups = 0..remote.layout.groups.len();
                groups
                    .filter_map(|group| vector.as_of(group))
                    .min_by(f64::total_cmp)
            }
            _ => None,
        });
        instants.min_by(f64::total_cmp)
    }
}

impl Place {
    /// A source's code as the model's.
    fn translate(&self, found: Found) -> Found {
        let (Some(codes), Found::Value(value)) = (&self.codes, found) else {
            return found;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position in a list"
        )]
        let code = codes.get(value as usize).copied().unwrap_or(f64::NAN);
        if code.is_nan() {
            Found::UnknownCategory
        } else {
            Found::Value(code)
        }
    }
}
