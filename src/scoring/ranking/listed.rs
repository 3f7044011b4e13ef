//! Ranks the customers that a request lists: for models whose customers cannot be enumerated, and for lists that people bring.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::Rankings;
use super::filter::RowFilters;
use super::item::{RankedItem, ScoreBefore};
use super::list::{check_bands, filters};
use super::order::{OrderKey, Place};
use super::query::RankingQuery;
use super::select::{Exclusion, customer_hash};
use super::summary::{BandSummary, summarize_scores};
use crate::error::{Error, ErrorKind};
use crate::features::plan::FetchedFeatures;
use crate::features::snapshot::Snapshot;
use crate::models::ModelVersion;
use crate::scoring::assemble::{AssembledRow, as_of, assemble};
use crate::scoring::batch::fetch;
use crate::scoring::calibration::band;
use crate::scoring::client::Client;
use crate::scoring::evaluate::evaluate;
use crate::scoring::outcome::Outcome;
use crate::scoring::predict::ScoreOutputs;
use crate::scoring::request::Entity;
use crate::scoring::servable::Servable;
use crate::spans::RequestSpan;
use crate::suggest::Suggestions;
use crate::values::entity_id::EntityId;
use crate::values::time;
use crate::work::off_thread;

/// The listed customers, ranked.
#[derive(Debug)]
pub struct RankedIds {
    /// The version that scored them.
    pub model: Arc<ModelVersion>,
    /// The snapshot that their features come from, if all do.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The customers that the filters select. Ranks are those among all listed ones.
    pub items: Vec<RankedItem>,
    /// The positions of the returned features among the inputs of the model.
    pub inputs: Vec<usize>,
    /// The bands, the highest first, of all listed customers.
    pub bands: Vec<BandSummary>,
    /// Ids that no source knows.
    pub not_found: Vec<EntityId>,
    /// Number of customers without a score for another reason.
    pub unscored: usize,
    /// Number of customers that match but are excluded; `None` if none were to be.
    pub excluded: Option<usize>,
    /// The oldest and the latest `as_of` time of the customers, in seconds since the Unix epoch.
    pub as_of: Option<(f64, f64)>,
    /// When they were scored, in seconds since the Unix epoch.
    pub ranked_at: f64,
}

/// A list of customers in the making.
struct Listed {
    servable: Arc<Servable>,
    entities: Vec<Entity>,
    fetched: FetchedFeatures,
    now: f64,
    query: RankingQuery,
    filters: RowFilters,
    inputs: Vec<usize>,
    exclusion: Option<Exclusion>,
}

/// The rows of the customers that have one.
#[derive(Default)]
struct ListedRows {
    /// By row, the customer's place in the list.
    places: Vec<usize>,
    assembled: Vec<AssembledRow>,
    values: Vec<f64>,
    not_found: Vec<EntityId>,
    unscored: usize,
    as_of: Option<(f64, f64)>,
}

impl Rankings {
    /// Ranks the listed customers by the live version. One that is listed twice counts once.
    ///
    /// # Errors
    /// The client may not use the model, the model is unknown, there are no ids or too many, an option is not valid, or the
    /// server or the client is at its limit.
    pub async fn rank_ids(
        self: &Arc<Self>,
        client: &Client,
        model: &str,
        ids: Vec<EntityId>,
        query: RankingQuery,
        exclusion: Option<Exclusion>,
        deadline: Option<Instant>,
    ) -> Result<RankedIds, Error> {
        let servable = self.live(client, model)?;
        let filters = filters(&servable.model, &query)?;
        check_bands(servable.bands.iter().map(|band| &*band.name), &query.bands)?;
        let inputs = query.fields.inputs(&servable.model)?;
        let bytes = super::list::item_bytes(&servable.model, &query.fields, inputs.len(), true);
        let count = ids.len();
        let wanted = query.fields.wanted();
        let permit = self
            .scorer
            .permit(
                client,
                count,
                crate::scoring::Scorer::cost(count, wanted),
                bytes.saturating_mul(count),
            )
            .map_err(|error| error.about("ids"))?;
        let mut seen = HashSet::with_capacity(ids.len());
        let entities = ids.into_iter().filter(|id| seen.insert(id.canonical()));
        let entities: Vec<Entity> = entities
            .map(|id| Entity {
                id: Some(id),
                features: Vec::new(),
            })
            .collect();
        drop(seen);
        let now = time::now();
        let fetched = fetch(&servable, &entities, now, deadline, client.span()).await;
        crate::scoring::check_deadline(deadline)?;
        let listed = Listed {
            servable,
            entities,
            fetched,
            now,
            query,
            filters,
            inputs,
            exclusion,
        };
        let scorer = self.scorer.clone();
        off_thread(move || {
            let mut ranked = listed.rank()?;
            for item in &mut ranked.items {
                item.hold_out = scorer.hold_out.includes(Some(&item.id));
            }
            drop(permit);
            Ok(ranked)
        })
        .await?
    }
}

impl Listed {
    fn rank(self) -> Result<RankedIds, Error> {
        let model = &self.servable.model;
        let mut rows = self.rows();
        let mut evaluation = evaluate(
            model,
            &rows.values,
            self.query.fields.wanted(),
            &RequestSpan::default(),
        )?;
        let width = model.inputs.len().max(1);
        let mut found: Vec<(RankedItem, usize)> = Vec::with_capacity(rows.places.len());
        for (row, assembled) in std::mem::take(&mut rows.assembled).into_iter().enumerate() {
            let Some(id) = rows.places.get(row).and_then(|&place| self.id(place)) else {
                continue;
            };
            match evaluation.outcome(&self.servable, assembled) {
                Outcome::Failed(_) => rows.unscored += 1,
                Outcome::Scored(score) => {
                    let values = rows
                        .values
                        .get(row * width..(row + 1) * width)
                        .unwrap_or_default();
                    let item = RankedItem {
                        rank: 0,
                        id: id.clone(),
                        score: score.score,
                        band: score.band,
                        before: None,
                        reasons: score.reasons,
                        values: self
                            .inputs
                            .iter()
                            .filter_map(|&input| values.get(input).copied())
                            .collect(),
                        hold_out: false,
                    };
                    found.push((item, row));
                }
            }
        }
        if self.query.fields.change || self.query.order.key == OrderKey::Change {
            self.add_changes(&mut found)?;
        }
        let place = |item: &RankedItem, key: OrderKey| {
            let change = item.before.as_ref().map(|before| item.score - before.score);
            match key {
                OrderKey::Score => Some(item.score),
                OrderKey::Change => change,
            }
        };
        let compare = |one: &RankedItem, other: &RankedItem, key: OrderKey, descending: bool| {
            let of = |item: &RankedItem| place(item, key);
            let place = |value, id| Place { value, id };
            let (one, other) = (
                place(of(one), one.id.as_ref()),
                place(of(other), other.id.as_ref()),
            );
            one.compare(other, descending)
        };
        found.sort_by(|(one, _), (other, _)| compare(one, other, OrderKey::Score, true));
        for (position, (item, _)) in found.iter_mut().enumerate() {
            item.rank = position + 1;
        }
        let scores: Vec<f64> = found.iter().map(|(item, _)| item.score).collect();
        let bands = summarize_scores(&self.servable, &scores);
        let mut excluded = 0;
        found.retain(|(item, row)| {
            let values = rows
                .values
                .get(row * width..(row + 1) * width)
                .unwrap_or_default();
            let matches = self.matches(item, values);
            let hidden = matches && self.is_excluded(item);
            excluded += usize::from(hidden);
            matches && !hidden
        });
        let mut items: Vec<RankedItem> = found.into_iter().map(|(item, _)| item).collect();
        let order = self.query.order;
        items.sort_by(|one, other| compare(one, other, order.key, order.descending));
        Ok(RankedIds {
            model: model.clone(),
            snapshot: self.servable.plan.as_ref().and_then(|plan| plan.table().cloned()),
            items,
            inputs: self.inputs,
            bands,
            not_found: rows.not_found,
            unscored: rows.unscored,
            excluded: self.exclusion.is_some().then_some(excluded),
            as_of: rows.as_of,
            ranked_at: self.now,
        })
    }

    fn id(&self, place: usize) -> Option<&EntityId> {
        self.entities.get(place)?.id.as_ref()
    }

    /// Assembles the row of each customer.
    fn rows(&self) -> ListedRows {
        let model = &self.servable.model;
        let mut rows = ListedRows::default();
        let suggestions = Suggestions::default();
        for (place, entity) in self.entities.iter().enumerate() {
            let before = rows.values.len();
            let fetch = self.fetched.entity(place);
            let assembled = assemble(
                &self.servable,
                entity,
                fetch,
                self.now,
                &suggestions,
                &mut rows.values,
            );
            let enough = assembled.and_then(|(assembled, _)| {
                model.known.check(&assembled.issues, &model.inputs)?;
                Ok(assembled)
            });
            match enough {
                Ok(assembled) => {
                    if let Some(at) = assembled.as_of {
                        let (oldest, latest) = rows.as_of.unwrap_or((at, at));
                        rows.as_of = Some((oldest.min(at), latest.max(at)));
                    }
                    rows.places.push(place);
                    rows.assembled.push(assembled);
                }
                Err(error) => {
                    rows.values.truncate(before);
                    match error.kind() {
                        ErrorKind::EntityNotFound => rows.not_found.extend(entity.id.clone()),
                        _ => rows.unscored += 1,
                    }
                }
            }
        }
        rows
    }

    /// Adds the scores by the previous snapshot, if there is one.
    fn add_changes(&self, found: &mut [(RankedItem, usize)]) -> Result<(), Error> {
        let Some(before) = self.servable.before() else {
            return Ok(());
        };
        let model = &self.servable.model;
        let nothing = FetchedFeatures::default();
        let (mut values, mut with_row) = (Vec::new(), Vec::new());
        let suggestions = Suggestions::default();
        for (item, _) in found.iter_mut() {
            let entity = Entity {
                id: Some(item.id.clone()),
                features: Vec::new(),
            };
            let at = |servable| as_of(servable, &entity, &nothing).ok().flatten();
            // Ages and times since an event are compared at the same distance from each snapshot.
            let between = at(&self.servable)
                .zip(at(&before))
                .map_or(0.0, |(now, then)| now - then);
            let end = values.len();
            let then = self.now - between;
            let fetch = nothing.entity(0);
            let Ok((assembled, _)) = assemble(&before, &entity, fetch, then, &suggestions, &mut values)
            else {
                continue;
            };
            match model.known.check(&assembled.issues, &model.inputs) {
                Ok(()) => with_row.push(item),
                Err(_) => values.truncate(end),
            }
        }
        let outputs = ScoreOutputs::of(model, &values)?;
        for (row, item) in with_row.into_iter().enumerate() {
            item.before = outputs.score(row).ok().map(|score| ScoreBefore {
                score,
                band: band(&self.servable.bands, score),
            });
        }
        Ok(())
    }

    fn matches(&self, item: &RankedItem, values: &[f64]) -> bool {
        let wanted = &self.query.bands;
        let in_band = || wanted.iter().any(|name| item.band.as_deref() == Some(name));
        (wanted.is_empty() || in_band())
            && self
                .filters
                .matches_row(&self.servable.model, item.id.as_ref(), values)
    }

    fn is_excluded(&self, item: &RankedItem) -> bool {
        let hash = || customer_hash(&self.servable.model.name, item.id.as_ref());
        self.exclusion
            .as_ref()
            .is_some_and(|exclusion| exclusion.customers.contains(&hash()))
    }
}
