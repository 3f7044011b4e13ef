//! Messages of rankings.

use std::sync::Arc;

use super::{feature_value, proto, reason, version};
use crate::api::ranking::{Contacts, ListOptions};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::record::outcomes::LastContact;
use crate::scoring::ranking::{
    BandSummary, Fields, RankedIds, RankedItem, RankedList, Ranking, RankingQuery, ScoreBefore,
};
use crate::values::entity_id::EntityId;

/// Approximate size of a customer in a message in bytes, and of a reason.
const ITEM_BYTES: usize = 256;
const REASON_BYTES: usize = 1024;

/// The bytes of a message with this many customers.
pub(super) fn message_bytes(fields: &Fields, customers: usize) -> usize {
    customers.saturating_mul(ITEM_BYTES + fields.reasons * REASON_BYTES)
}

/// Checks the options of a list.
///
/// # Errors
/// One is not valid.
pub(super) fn query(options: Option<proto::RankingOptions>) -> Result<RankingQuery, Error> {
    let options = options.unwrap_or_default();
    ListOptions {
        bands: options.bands,
        search: Some(options.search),
        filters: options.filters,
        order_by: Some(options.order_by),
        fields: options.fields,
        reasons: options.reasons.map(u64::from),
        features: Some(options.features).filter(|features| !features.is_empty()),
        hide_contacted_days: options.hide_contacted_days.map(u64::from),
    }
    .query()
}

/// A page of a ranking.
pub(super) fn page(
    list: &RankedList,
    fields: &Fields,
    items: &[RankedItem],
    contacts: &Contacts,
    next_page_token: String,
) -> proto::ListRankingResponse {
    let model = list.ranking().model();
    let customer = |item| customer(model, fields, list.inputs(), item, contacts);
    proto::ListRankingResponse {
        head: Some(head(list.ranking(), list.stale)),
        items: items.iter().map(customer).collect(),
        next_page_token,
        total_size: list.total() as u64,
        contacted: list.excluded().map(|excluded| excluded as u64),
    }
}

/// The listed customers, ranked.
pub(super) fn listed(ranked: &RankedIds, fields: &Fields, contacts: &Contacts) -> proto::RankIdsResponse {
    let customer = |item| customer(&ranked.model, fields, &ranked.inputs, item, contacts);
    let head = proto::RankingHead {
        model: Some(version(&ranked.model)),
        ranked_at: ranked.ranked_at,
        snapshot: ranked
            .snapshot
            .as_ref()
            .map(|snapshot| snapshot.path().display().to_string()),
        as_of: ranked.as_of.map(|(oldest, _)| oldest),
        as_of_latest: ranked.as_of.map(|(_, latest)| latest),
        stale: false,
        unscored: ranked.unscored as u64,
        bands: ranked.bands.iter().map(band).collect(),
        release: None,
    };
    proto::RankIdsResponse {
        head: Some(head),
        items: ranked.items.iter().map(customer).collect(),
        not_found: ranked.not_found.iter().map(EntityId::to_string).collect(),
        contacted: ranked.excluded.map(|excluded| excluded as u64),
    }
}

fn head(ranking: &Ranking, stale: bool) -> proto::RankingHead {
    proto::RankingHead {
        model: Some(version(ranking.model())),
        ranked_at: ranking.ranked_at(),
        snapshot: Some(ranking.snapshot().path().display().to_string()),
        as_of: ranking.as_of().map(|(oldest, _)| oldest),
        as_of_latest: ranking.as_of().map(|(_, latest)| latest),
        stale,
        unscored: ranking.unscored() as u64,
        bands: ranking.bands().iter().map(band).collect(),
        release: ranking.release().map(|release| proto::RankedRelease {
            before: release.before,
            customers: release.customers as u64,
            raised: release.raised as u64,
            lowered: release.lowered as u64,
        }),
    }
}

fn band(band: &BandSummary) -> proto::RankedBand {
    proto::RankedBand {
        name: band.name.to_string(),
        from: band.from,
        customers: band.customers as u64,
        expected: band.expected,
        change: band.change,
    }
}

fn customer(
    model: &Arc<ModelVersion>,
    fields: &Fields,
    inputs: &[usize],
    item: &RankedItem,
    contacts: &Contacts,
) -> proto::RankedCustomer {
    let id = fields.id.then(|| match &item.id {
        EntityId::Text(id) => proto::ranked_customer::Id::TextId(id.clone()),
        EntityId::Int(id) => proto::ranked_customer::Id::IntegerId(*id),
    });
    let contact = || contacts.get(&item.id.canonical().to_string());
    let values = inputs.iter().zip(&item.values);
    let features = values.filter_map(|(&input, &value)| {
        let input = model.inputs.get(input)?;
        let value = feature_value(&input.present(value)).unwrap_or_default();
        Some((input.contract.name.clone(), value))
    });
    proto::RankedCustomer {
        id,
        rank: fields.rank.then_some(item.rank as u64),
        score: fields.score.then_some(item.score),
        band: item.band.as_deref().filter(|_| fields.band).map(str::to_owned),
        before: item.before.as_ref().filter(|_| fields.change).map(before),
        contact: fields.contact.then(contact).flatten().map(last_contact),
        hold_out: fields.hold_out.then_some(item.hold_out),
        reasons: reason::messages(model, item.score, &item.reasons),
        features: features.collect(),
    }
}

fn before(before: &ScoreBefore) -> proto::ScoreAt {
    proto::ScoreAt {
        score: before.score,
        band: before.band.as_deref().map(str::to_owned),
        as_of: None,
    }
}

fn last_contact(contact: &LastContact) -> proto::LastContact {
    #[expect(clippy::cast_precision_loss, reason = "a time in microseconds")]
    let seconds = |micros: i64| micros as f64 / 1e6;
    let done = contact.done.as_ref();
    proto::LastContact {
        action: done.map(|done| done.action.label().to_owned()),
        detail: done.and_then(|done| done.detail.clone()),
        time: done.map(|done| seconds(done.at)),
        result: contact.result.map(|(result, _)| result.label().to_owned()),
        result_time: contact.result.map(|(_, at)| seconds(at)),
    }
}
