//! One request's list: the customers that it selects, and pages of them.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::cursor::{PageToken, TokenScope};
use super::filter::{FeatureFilter, MOST_FILTERS, RowFilters, Search};
use super::item::{Details, RankedItem, items};
use super::order::Order;
use super::query::{Fields, RankingQuery};
use super::select::{Candidates, Exclusion, Selection, SelectionKey};
use super::{Ranking, Rankings};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::scoring::client::Client;
use crate::scoring::servable::Servable;
use crate::suggest::unknown;
use crate::work::off_thread;

/// Customers of a page without details that a worker of the runtime may build.
const INLINE_ITEMS: usize = 100;

/// Customers that a scan looks at for the cost of one score.
const SCAN_PART: usize = 16;

/// Bytes that a customer takes on a page without reasons, in memory and as text.
const ITEM_BYTES: usize = 512;

/// Bytes that a reason takes, and a feature.
const REASON_BYTES: usize = 2048;
const FEATURE_BYTES: usize = 96;

/// The customers that a request selects, in its order. It holds the ranking that they are from.
#[derive(Clone, Debug)]
pub struct RankedList {
    ranking: Arc<Ranking>,
    /// Whether a newer ranking is due.
    pub stale: bool,
    selection: Selection,
    /// Whether customers were to be excluded.
    excludes: bool,
    scope: TokenScope,
    details: Details,
}

impl Rankings {
    /// Selects customers of the last ranking of a model.
    ///
    /// # Errors
    /// As [`Self::ranking`]; or a filter is not valid, or the server has too many scans to do.
    pub async fn list(
        self: &Arc<Self>,
        client: &Client,
        model: &str,
        query: &RankingQuery,
        exclusion: Option<Exclusion>,
    ) -> Result<RankedList, Error> {
        let (ranking, stale) = self.ranking(client, model)?;
        let filters = filters(ranking.model(), query)?;
        let ranges = ranges(&ranking, &query.bands)?;
        let details = Details {
            inputs: query.fields.inputs(ranking.model())?,
            fields: query.fields.clone(),
            now: ranking.ranked_at,
        };
        let scope = TokenScope {
            version: ranking.model().version,
            ranking: ranking.identities.of(query.order.key),
            order: query.order,
            filters: hash(&filters, query),
        };
        let excludes = exclusion.is_some();
        let key = SelectionKey {
            ranking: ranking.serial,
            key: query.order.key,
            filters: scope.filters,
            exclusion: exclusion.as_ref().map(|exclusion| exclusion.key),
        };
        let request = SelectionRequest {
            ranking: ranking.clone(),
            ranges,
            filters,
            exclusion,
            key,
        };
        Ok(RankedList {
            selection: self.select(client, request).await?,
            ranking,
            stale,
            excludes,
            scope,
            details,
        })
    }

    async fn select(
        self: &Arc<Self>,
        client: &Client,
        request: SelectionRequest,
    ) -> Result<Selection, Error> {
        let key = request.key;
        if let Some(selection) = request.at_once()? {
            return Ok(selection);
        }
        if let Some(selection) = self.selections.get(&key) {
            return Ok(selection);
        }
        let busy = |_| Error::overloaded("too many filters of rankings are being evaluated; retry shortly");
        let waiting = self.waiting_scans.clone().try_acquire_owned().map_err(busy)?;
        let closed = |_| Error::internal("scans have ended");
        let turn = self.scans.clone().acquire_owned().await.map_err(closed)?;
        // Another request may have wanted the same.
        if let Some(selection) = self.selections.get(&key) {
            return Ok(selection);
        }
        let customers = request.ranking.table.len();
        let permit = self.scorer.permit(
            client,
            1,
            (customers / SCAN_PART).max(1),
            customers * size_of::<u32>(),
        )?;
        let rankings = self.clone();
        // What is begun is finished and kept, also if the client has gone, and its turn ends with it.
        let selection = off_thread(move || {
            let selection = request.scan()?;
            rankings.selections.put(key, selection.clone());
            drop((permit, turn, waiting));
            Ok(selection)
        });
        selection.await?
    }
}

/// What a request selects.
struct SelectionRequest {
    ranking: Arc<Ranking>,
    ranges: Vec<std::ops::Range<usize>>,
    filters: RowFilters,
    exclusion: Option<Exclusion>,
    key: SelectionKey,
}

impl SelectionRequest {
    fn candidates(&self) -> Result<Candidates<'_>, Error> {
        let servable = &self.ranking.servable;
        Ok(Candidates {
            servable,
            plan: plan(servable)?,
            table: &self.ranking.table,
            now: self.ranking.ranked_at,
            ranges: self.ranges.clone(),
            filters: self.filters.clone(),
            exclusion: self.exclusion.clone(),
        })
    }

    fn at_once(&self) -> Result<Option<Selection>, Error> {
        Ok(self.candidates()?.at_once(self.key.key))
    }

    fn scan(&self) -> Result<Selection, Error> {
        Ok(self.candidates()?.scan(self.key.key))
    }
}

fn plan(servable: &Servable) -> Result<&crate::features::plan::Plan, Error> {
    let plan = servable.plan.as_deref();
    plan.ok_or_else(|| Error::internal("a ranking without a plan"))
}

pub(super) fn filters(model: &ModelVersion, query: &RankingQuery) -> Result<RowFilters, Error> {
    let found = query.filters.len();
    if found > MOST_FILTERS {
        let message = format!("filter: expected at most {MOST_FILTERS}, found {found}");
        return Err(Error::invalid(message).about("filter"));
    }
    let features = query.filters.iter().map(|text| FeatureFilter::parse(text, model));
    Ok(RowFilters {
        search: Search::parse(&query.search)?,
        features: features.collect::<Result<_, _>>()?,
    })
}

/// Checks that there are bands of these names.
///
/// # Errors
/// There is none of one of them.
pub(super) fn check_bands<'a>(
    known: impl Iterator<Item = &'a str> + Clone,
    names: &[String],
) -> Result<(), Error> {
    for name in names {
        if !known.clone().any(|known| known == name) {
            let message = format!("band: {}", unknown("band", name, known));
            return Err(Error::invalid(message).about("band"));
        }
    }
    Ok(())
}

/// The positions of the customers in the named bands; neighbouring ranges are joined.
fn ranges(ranking: &Ranking, names: &[String]) -> Result<Vec<std::ops::Range<usize>>, Error> {
    if names.is_empty() {
        let all = 0..ranking.table.len();
        return Ok(vec![all]);
    }
    check_bands(ranking.bands.iter().map(|band| &*band.name), names)?;
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    for band in &ranking.bands {
        let end = start + band.customers;
        if names.iter().any(|name| **name == *band.name) {
            match ranges.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end = end,
                None => ranges.push(start..end),
            }
        }
        start = end;
    }
    Ok(ranges)
}

/// A hash of all that selects customers.
fn hash(filters: &RowFilters, query: &RankingQuery) -> u64 {
    let mut hash = Sha256::new();
    let mut bands: Vec<&str> = query.bands.iter().map(String::as_str).collect();
    bands.sort_unstable();
    bands.dedup();
    for band in bands {
        hash.update(b"band");
        hash.update((band.len() as u64).to_le_bytes());
        hash.update(band);
    }
    if let Some(days) = query.hide_contacted_days {
        hash.update(b"hide");
        hash.update(days.to_le_bytes());
    }
    filters.hash(&mut hash);
    let digest = hash.finalize();
    let mut head = [0; 8];
    for (byte, digest) in head.iter_mut().zip(digest) {
        *byte = digest;
    }
    u64::from_le_bytes(head)
}

/// Memory that a customer of a list takes, in bytes. An estimate from above.
pub(super) fn item_bytes(model: &ModelVersion, fields: &Fields, features: usize, with_row: bool) -> usize {
    let width = model.inputs.len();
    let row = match with_row {
        true => width * 2 * size_of::<f64>(),
        false => 0,
    };
    let contributions = match fields.reasons {
        0 => 0,
        _ => model.forest.summary().groups * (width + 1) * size_of::<f64>(),
    };
    ITEM_BYTES + row + contributions + fields.reasons * REASON_BYTES + features * FEATURE_BYTES
}

impl RankedList {
    /// The ranking that the customers are from.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Number of selected customers.
    pub fn total(&self) -> usize {
        self.selection.sequence.len()
    }

    /// Number of customers that match but are excluded; `None` if none were to be.
    pub fn excluded(&self) -> Option<usize> {
        self.excludes.then_some(self.selection.excluded)
    }

    /// The positions of the returned features among the inputs of the model.
    pub fn inputs(&self) -> &[usize] {
        &self.details.inputs
    }

    /// The index of the first customer behind a page token; 0 for none.
    ///
    /// # Errors
    /// The token is not valid, or for another list.
    pub fn start(&self, token: Option<&str>) -> Result<usize, Error> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(0);
        };
        let token = PageToken::decode(token)?;
        token.check(self.scope)?;
        let table = &self.ranking.table;
        Ok(table.index_after(&self.selection.sequence, self.scope.order, token.place()))
    }

    /// The token of the page that begins at `index`; empty if none does.
    pub fn token(&self, index: usize) -> String {
        let Order { key, descending } = self.scope.order;
        let last = index.checked_sub(1).filter(|_| index < self.total());
        let last = last.and_then(|last| self.selection.sequence.position(last, descending));
        let token = last.map(|position| PageToken::new(self.scope, self.ranking.table.place(position, key)));
        token.map(|token| token.encode()).unwrap_or_default()
    }

    /// Memory that a page of this many customers takes, in bytes. An estimate from above.
    pub fn page_bytes(&self, customers: usize) -> usize {
        let details = &self.details;
        let model = self.ranking.model();
        let item = item_bytes(model, &details.fields, details.inputs.len(), details.needs_rows());
        customers.saturating_mul(item)
    }

    /// The customers from `index` on, at most `most`. They count as one request for scores of the client.
    ///
    /// # Errors
    /// The server or the client is at its limit, or the deadline has passed.
    pub async fn items(
        &self,
        rankings: &Arc<Rankings>,
        client: &Client,
        index: usize,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<RankedItem>, Error> {
        let end = index.saturating_add(most).min(self.total());
        if index >= end {
            return Ok(Vec::new());
        }
        let count = end - index;
        let scorer = &rankings.scorer;
        crate::scoring::check_deadline(deadline)?;
        let wanted = self.details.fields.wanted();
        let permit = scorer.permit(
            client,
            count,
            crate::scoring::Scorer::cost(count, wanted),
            self.page_bytes(count),
        )?;
        let descending = self.scope.order.descending;
        let list = self.clone();
        let scorer = scorer.clone();
        let work = move || {
            let sequence = &list.selection.sequence;
            let positions = (index..end).filter_map(|index| sequence.position(index, descending));
            let positions: Vec<usize> = positions.collect();
            let servable = &list.ranking.servable;
            let mut items = items(
                servable,
                plan(servable)?,
                &list.ranking.table,
                &positions,
                &list.details,
            )?;
            for item in &mut items {
                item.hold_out = scorer.hold_out.includes(Some(&item.id));
            }
            drop(permit);
            Ok(items)
        };
        match count > INLINE_ITEMS || self.details.needs_rows() {
            true => off_thread(work).await?,
            false => work(),
        }
    }
}
