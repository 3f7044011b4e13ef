//! Where each value of a model's row comes from: worked out once, when a model, a snapshot or a store changes.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::layout::Vector;
use super::remote::{Held, Remote};
use super::snapshot::Snapshot;
use crate::config::source::OnFailure;
use crate::models::ModelVersion;
use crate::values::entity_id::EntityId;
use crate::values::feature_type::FeatureType;
use crate::values::slot_value::Found;

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
    /// The age in seconds from which a value is stale, by the contract.
    max_age: Option<f64>,
}

/// Where a slot's value is to be found, before it is bound: the position among the feeds, and in the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) feed: usize,
    pub(super) column: usize,
}

/// What the remote sources gave, by feed; nothing for tables.
#[derive(Debug, Default)]
pub struct Gathered(Vec<Answer>);

/// What a remote source gave.
#[derive(Debug, Default)]
struct Answer {
    /// By entity.
    held: Vec<Held>,
    /// By group, the age in seconds from which its values are stale by the store's own rules.
    max_ages: Vec<Option<f64>>,
}

/// What all sources have for one entity, by feed.
#[derive(Debug)]
pub struct Record<'a> {
    plan: &'a Plan,
    parts: SmallVec<[Part<'a>; 2]>,
}

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// A table's row, and when it was true.
    Row(usize, Option<f64>),
    /// A store's vector, and the ages at which its groups are stale.
    Vector(&'a Vector, &'a [Option<f64>]),
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
            let contract = model.slot(slot)?;
            let category = contract.kind == FeatureType::Category;
            let codes = category.then(|| categories.iter().map(code).collect());
            Some(Place {
                feed,
                column,
                codes,
                max_age: contract.max_age_duration.map(|limit| limit.as_secs_f64()),
            })
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
                Feed::Table(_) => Answer::default(),
                Feed::Remote(remote, _) => Answer {
                    held: remote.get(ids, now, deadline).await,
                    max_ages: remote.max_ages(),
                },
            }
        });
        Gathered(futures_util::future::join_all(asked).await)
    }

    /// What there is for `id`, the entity at `position` among those gathered.
    pub fn find<'a>(&'a self, id: &EntityId, gathered: &'a Gathered, position: usize) -> Known<'a> {
        let mut parts = SmallVec::with_capacity(self.feeds.len());
        let mut unavailable = Vec::new();
        let mut from = None;
        for (number, feed) in self.feeds.iter().enumerate() {
            let answer = gathered.0.get(number);
            let held = answer.and_then(|answer| answer.held.get(position));
            let max_ages = answer.map_or(&[][..], |answer| &answer.max_ages);
            let part = match (feed, held) {
                (Feed::Table(table), _) => table
                    .find(id.as_ref())
                    .map(|row| (Part::Row(row, table.as_of(row)), Origin::Snapshot)),
                (Feed::Remote(..), Some(Held::Vector(vector, cached))) => {
                    let origin = if *cached { Origin::Cache } else { Origin::Store };
                    Some((Part::Vector(vector, max_ages), origin))
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
    /// What is there for a slot, and whether that is too old at the instant `now`: by the contract's limit, or by the
    /// store's own rules.
    pub fn get(&self, slot: usize, now: f64) -> (Found, bool) {
        let Some(Some(place)) = self.plan.places.get(slot) else {
            return (Found::Absent, false);
        };
        let old = |as_of: f64, limit: Option<f64>| limit.is_some_and(|limit| now - as_of > limit);
        let (found, stale) = match (&self.plan.feeds[place.feed], self.parts[place.feed]) {
            (Feed::Table(table), Part::Row(row, as_of)) => {
                let value = table.value(row, place.column);
                let found = if value.is_nan() {
                    Found::Null
                } else {
                    Found::Value(value)
                };
                (found, as_of.is_some_and(|as_of| old(as_of, place.max_age)))
            }
            (Feed::Remote(remote, _), Part::Vector(vector, max_ages)) => {
                let group = remote.layout.group_of(place.column);
                let own = max_ages.get(group).copied().flatten();
                let stale = (place.max_age.is_some() || own.is_some()) && {
                    let as_of = since(vector, group);
                    old(as_of, place.max_age) || old(as_of, own)
                };
                (vector.get(&remote.layout, place.column), stale)
            }
            _ => (Found::Absent, false),
        };
        (place.translate(found), stale)
    }

    /// Since when a slot's value is true: seconds since the Unix epoch.
    pub fn slot_as_of(&self, slot: usize) -> Option<f64> {
        let place = self.plan.places.get(slot)?.as_ref()?;
        match (&self.plan.feeds[place.feed], self.parts[place.feed]) {
            (Feed::Table(_), Part::Row(_, as_of)) => as_of,
            (Feed::Remote(remote, _), Part::Vector(vector, _)) => {
                Some(since(vector, remote.layout.group_of(place.column)))
            }
            _ => None,
        }
    }

    /// The oldest instant at which one of the sources says its values were true.
    pub fn as_of(&self) -> Option<f64> {
        let parts = self.parts.iter().zip(&self.plan.feeds);
        let instants = parts.filter_map(|(part, feed)| match (*part, feed) {
            (Part::Row(_, as_of), _) => as_of,
            (Part::Vector(vector, _), Feed::Remote(remote, _)) => {
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

/// Since when a group's values are true. Where a store does not say, that is since they were fetched: they are at least
/// that old.
fn since(vector: &Vector, group: usize) -> f64 {
    vector.as_of(group).unwrap_or_else(|| vector.fetched())
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
