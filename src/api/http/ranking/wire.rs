//! JSON bodies of the ranking. Their doc comments are the OpenAPI descriptions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::super::outcomes::{ActionName, CustomerResultName};
use super::super::schema::{FeatureValue, Id};
use super::super::score::reason::{self, ReasonBody};
use super::super::score::wire::ModelVersionBody;
use crate::api::ranking::Contacts;
use crate::features::snapshot::Snapshot;
use crate::models::ModelVersion;
use crate::record::outcomes::LastContact;
use crate::scoring::ranking::{BandSummary, Fields, RankedIds, RankedItem, RankedList, Ranking, Release};
use crate::values::entity_id::EntityId;
use crate::values::time::instant;

/// A page of the ranking.
#[derive(Serialize, ToSchema)]
pub(super) struct RankingBody<'a> {
    #[serde(flatten)]
    head: HeadBody<'a>,
    /// The customers of the page.
    #[schema(value_type = Vec<ItemBody>)]
    pub(super) items: Items<'a>,
    /// The token of the next page; empty on the last one.
    next_page_token: String,
    /// Number of customers that the filters select.
    #[schema(example = 129)]
    total_size: usize,
    /// Customers that the filters would select, but whom `hide_contacted_days` leaves out; null without it.
    #[schema(required = true, example = 9)]
    contacted: Option<usize>,
}

/// The listed customers, ranked.
#[derive(Serialize, ToSchema)]
pub(in crate::api::http) struct ListedBody<'a> {
    #[serde(flatten)]
    head: HeadBody<'a>,
    /// The customers that the filters select.
    #[schema(value_type = Vec<ItemBody>)]
    items: Items<'a>,
    /// Number of customers that the filters select.
    #[schema(example = 2)]
    total_size: usize,
    /// Customers that the filters would select, but whom `hide_contacted_days` leaves out; null without it.
    #[schema(required = true, example = 0)]
    contacted: Option<usize>,
    /// Ids that no source knows.
    #[schema(value_type = Vec<Id>, example = json!([]))]
    not_found: Ids<'a>,
}

/// Ids, as the request gave them.
struct Ids<'a>(&'a [EntityId]);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(OneId))
    }
}

struct OneId<'a>(&'a EntityId);

impl Serialize for OneId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_id(&Some(self.0), serializer)
    }
}

/// What a ranking is of.
#[derive(Serialize, ToSchema)]
#[schema(as = RankingHead)]
pub(super) struct HeadBody<'a> {
    model: ModelVersionBody<'a>,
    /// When the customers were ranked.
    #[schema(value_type = String, format = DateTime, example = "2026-11-21T03:10:00Z")]
    ranked_at: Option<Timestamp>,
    data: DataBody,
    /// Whether the live version or the snapshot has changed since: a new ranking is being computed.
    #[schema(example = false)]
    stale: bool,
    /// Customers without a score: the contract rejects their values, or too little is known of them.
    #[schema(example = 0)]
    unscored: usize,
    /// The bands, the highest first, of all ranked customers, whatever the filters.
    bands: Vec<BandBody<'a>>,
    /// What the version changed; null if no other one has ranked the same data before it since the server started.
    #[schema(required = true)]
    release: Option<ReleaseBody>,
}

/// What a version changed for the customers that it and the version before score.
#[derive(Serialize, ToSchema)]
#[schema(as = RankedRelease)]
struct ReleaseBody {
    /// The version before.
    #[schema(example = 7)]
    before: u64,
    /// Customers with a score by both versions.
    #[schema(example = 3012)]
    customers: usize,
    /// Customers that are in a higher band now.
    #[schema(example = 51)]
    raised: usize,
    /// Customers that are in a lower band now.
    #[schema(example = 39)]
    lowered: usize,
}

/// The customers that are ranked.
#[derive(Serialize, ToSchema)]
#[schema(as = RankingData)]
struct DataBody {
    /// Where the customers were read from; null if their features come from stores.
    #[schema(required = true, example = "models/customers.parquet")]
    snapshot: Option<String>,
    /// When their features were observed; the oldest counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-21T03:00:00Z")]
    as_of: Option<Timestamp>,
    /// When the features of the customer with the latest ones were observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-21T03:00:00Z")]
    as_of_latest: Option<Timestamp>,
}

/// The customers of a band.
#[derive(Serialize, ToSchema)]
#[schema(as = RankedBand)]
pub(super) struct BandBody<'a> {
    /// The name of the band.
    #[schema(example = "high")]
    name: &'a str,
    /// The lowest score in the band; null for a band without an end.
    #[schema(value_type = Option<f64>, required = true, example = 0.3)]
    from: f64,
    /// Number of customers.
    #[schema(example = 129)]
    customers: usize,
    /// How many of them the model expects to leave: the sum of the scores. Null if scores are no probabilities.
    #[schema(required = true, example = 61.2)]
    expected: Option<f64>,
    /// Number of customers, less the number that the same version gives by the previous snapshot. Null without one.
    #[schema(required = true, example = -2)]
    change: Option<i64>,
}

/// A customer of the ranking, with the wanted fields.
#[derive(Serialize, ToSchema)]
#[schema(as = RankedCustomer)]
pub(in crate::api::http) struct ItemBody<'a> {
    /// The place in the order of the scores, from 1 for the highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1)]
    rank: Option<usize>,
    /// The customer's id.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_id")]
    #[schema(value_type = Id, required = false)]
    id: Option<&'a EntityId>,
    /// The score, exactly as the model computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.83)]
    score: Option<f64>,
    /// Name of the score's band; null below the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "high")]
    band: Option<Option<&'a str>>,
    /// The change since the previous snapshot, by the same version; null if there is none, or it lacks the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChangeBody>)]
    change: Option<Option<ChangeBody<'a>>>,
    /// The last contact and the last result; null if nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ContactBody>)]
    contact: Option<Option<ContactBody<'a>>>,
    /// `true` if nobody is to contact this customer, who is in the hold-out that measures the effect of contact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = false)]
    hold_out: Option<bool>,
    /// The strongest reasons, the largest contribution first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reasons: Option<Vec<ReasonBody<'a>>>,
    /// Values by feature name, as the model sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, FeatureValue>>, nullable = false)]
    features: Option<BTreeMap<&'a str, serde_json::Value>>,
}

/// A change since the previous snapshot.
#[derive(Serialize, ToSchema)]
#[schema(as = RankedChange)]
pub(super) struct ChangeBody<'a> {
    /// The score that the same version gives with the features of the previous snapshot.
    #[schema(example = 0.81)]
    score: f64,
    /// The score now, less that one.
    #[schema(example = 0.02)]
    difference: f64,
    /// Name of the earlier score's band; null below the first one.
    #[schema(required = true, example = "high")]
    band: Option<&'a str>,
}

/// The last contact with a customer and the last result.
#[derive(Serialize, ToSchema)]
#[schema(as = LastContact)]
pub(super) struct ContactBody<'a> {
    /// What was done last.
    #[schema(required = true, value_type = Option<ActionName>, example = "call")]
    pub(super) action: Option<&'a str>,
    /// Which call or offer.
    #[schema(required = true, example = "yearly contract")]
    pub(super) detail: Option<&'a str>,
    /// When it was done.
    #[schema(required = true, value_type = Option<String>, format = DateTime, example = "2026-11-20T09:30:00Z")]
    pub(super) time: Option<Timestamp>,
    /// Whether the customer was there at `result_time`.
    #[schema(required = true, value_type = Option<CustomerResultName>, example = "stayed")]
    pub(super) result: Option<&'a str>,
    /// When that was.
    #[schema(required = true, value_type = Option<String>, format = DateTime, example = "2026-11-27T00:00:00Z")]
    pub(super) result_time: Option<Timestamp>,
}

/// The customers of a page, converted one at a time during serialization.
pub(super) struct Items<'a> {
    pub(super) model: &'a ModelVersion,
    pub(super) fields: &'a Fields,
    /// The positions of the wanted features.
    pub(super) inputs: &'a [usize],
    pub(super) items: &'a [RankedItem],
    pub(super) contacts: &'a Contacts,
}

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.items.iter().map(|item| self.body(item)))
    }
}

impl<'a> Items<'a> {
    /// The wanted fields of a customer.
    pub(super) fn body(&self, item: &'a RankedItem) -> ItemBody<'a> {
        let fields = self.fields;
        let change = || {
            item.before.as_ref().map(|before| ChangeBody {
                score: before.score,
                difference: item.score - before.score,
                band: before.band.as_deref(),
            })
        };
        ItemBody {
            rank: fields.rank.then_some(item.rank),
            id: fields.id.then_some(&item.id),
            score: fields.score.then_some(item.score),
            band: fields.band.then_some(item.band.as_deref()),
            change: fields.change.then(change),
            contact: fields.contact.then(|| self.contact(item).map(ContactBody::from)),
            hold_out: fields.hold_out.then_some(item.hold_out),
            reasons: (fields.reasons > 0).then(|| reason::bodies(self.model, item.score, &item.reasons)),
            features: fields.features.is_some().then(|| self.features(item)),
        }
    }

    /// The last contact with a customer, for a table.
    pub(super) fn contact_body(&self, item: &RankedItem) -> Option<ContactBody<'a>> {
        self.contact(item).map(ContactBody::from)
    }

    /// The reasons of a customer as sentences.
    pub(super) fn reason_texts(&self, item: &RankedItem) -> Vec<String> {
        let views = item.reasons.iter();
        let views = views.filter_map(|reason| reason.view(self.model, item.score));
        views.map(|view| view.texts.text).collect()
    }

    /// The last contact with a customer.
    fn contact(&self, item: &RankedItem) -> Option<&'a LastContact> {
        self.contacts.get(&item.id.canonical().to_string())
    }

    fn features(&self, item: &RankedItem) -> BTreeMap<&'a str, serde_json::Value> {
        let values = self.inputs.iter().zip(&item.values);
        let features = values.filter_map(|(&input, &value)| {
            let input = self.model.inputs.get(input)?;
            Some((input.contract.name.as_str(), input.present(value)))
        });
        features.collect()
    }
}

impl<'a> From<&'a LastContact> for ContactBody<'a> {
    fn from(contact: &'a LastContact) -> Self {
        let at = |micros: i64| Timestamp::from_microsecond(micros).ok();
        let done = contact.done.as_ref();
        Self {
            action: done.map(|done| done.action.label()),
            detail: done.and_then(|done| done.detail.as_deref()),
            time: done.and_then(|done| at(done.at)),
            result: contact.result.map(|(result, _)| result.label()),
            result_time: contact.result.and_then(|(_, micros)| at(micros)),
        }
    }
}

impl<'a> From<&'a BandSummary> for BandBody<'a> {
    fn from(band: &'a BandSummary) -> Self {
        Self {
            name: &band.name,
            from: band.from,
            customers: band.customers,
            expected: band.expected,
            change: band.change,
        }
    }
}

impl From<Release> for ReleaseBody {
    fn from(release: Release) -> Self {
        let Release {
            before,
            customers,
            raised,
            lowered,
        } = release;
        Self {
            before,
            customers,
            raised,
            lowered,
        }
    }
}

impl DataBody {
    fn new(snapshot: Option<&Snapshot>, as_of: Option<(f64, f64)>) -> Self {
        Self {
            snapshot: snapshot.map(|snapshot| snapshot.path().display().to_string()),
            as_of: as_of.and_then(|(oldest, _)| instant(oldest)),
            as_of_latest: as_of.and_then(|(_, latest)| instant(latest)),
        }
    }
}

impl<'a> HeadBody<'a> {
    /// What `ranking` is of.
    fn of_ranking(ranking: &'a Ranking, stale: bool) -> Self {
        Self {
            model: (&**ranking.model()).into(),
            ranked_at: instant(ranking.ranked_at()),
            data: DataBody::new(Some(ranking.snapshot()), ranking.as_of()),
            stale,
            unscored: ranking.unscored(),
            bands: ranking.bands().iter().map(Into::into).collect(),
            release: ranking.release().map(Into::into),
        }
    }

    /// What a list of customers is of.
    fn of_ids(ranked: &'a RankedIds) -> Self {
        Self {
            model: (&*ranked.model).into(),
            ranked_at: instant(ranked.ranked_at),
            data: DataBody::new(ranked.snapshot.as_deref(), ranked.as_of),
            stale: false,
            unscored: ranked.unscored,
            bands: ranked.bands.iter().map(Into::into).collect(),
            release: None,
        }
    }
}

impl<'a> ListedBody<'a> {
    /// The answer for a list of customers.
    pub(super) fn new(ranked: &'a RankedIds, items: Items<'a>) -> Self {
        Self {
            head: HeadBody::of_ids(ranked),
            total_size: ranked.items.len(),
            contacted: ranked.excluded,
            not_found: Ids(&ranked.not_found),
            items,
        }
    }
}

impl<'a> RankingBody<'a> {
    /// A page of `list`.
    pub(super) fn new(list: &'a RankedList, items: Items<'a>, next_page_token: String) -> Self {
        Self {
            head: HeadBody::of_ranking(list.ranking(), list.stale),
            items,
            next_page_token,
            total_size: list.total(),
            contacted: list.excluded(),
        }
    }
}

fn write_id<S: Serializer>(id: &Option<&EntityId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(EntityId::Text(id)) => serializer.serialize_str(id),
        Some(EntityId::Int(id)) => serializer.serialize_i64(*id),
        None => serializer.serialize_none(),
    }
}
