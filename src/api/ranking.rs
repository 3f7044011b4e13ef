//! What REST and gRPC share of rankings: reading the options of a list, and contacts with its customers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Error;
use crate::models::ModelVersion;
use crate::record::outcomes::LastContact;
use crate::record::service::OutcomeService;
use crate::scoring::Client;
use crate::scoring::ranking::query::{MOST_HIDDEN_DAYS, MOST_PAGE_SIZE, PAGE_SIZE};
use crate::scoring::ranking::{
    Exclusion, Fields, MOST_TOKEN_BYTES, Order, RankedItem, RankingQuery, Rankings,
};

/// Contacts by the one spelling of a customer's id.
pub(super) type Contacts = HashMap<String, LastContact>;

/// What a client says about a list, before it is checked.
#[derive(Debug, Default)]
pub(super) struct ListOptions {
    pub(super) bands: Vec<String>,
    pub(super) search: Option<String>,
    pub(super) filters: Vec<String>,
    pub(super) order_by: Option<String>,
    pub(super) fields: Vec<String>,
    pub(super) reasons: Option<u64>,
    pub(super) features: Option<Vec<String>>,
    pub(super) hide_contacted_days: Option<u64>,
}

impl ListOptions {
    /// Checks the options.
    ///
    /// # Errors
    /// One is not valid; the error names it.
    pub(super) fn query(self) -> Result<RankingQuery, Error> {
        let order = self.order_by.as_deref().filter(|order| !order.is_empty());
        Ok(RankingQuery {
            order: order.map(Order::parse).transpose()?.unwrap_or_default(),
            bands: self.bands,
            search: self.search.unwrap_or_default(),
            filters: self.filters,
            hide_contacted_days: self.hide_contacted_days.map(hidden_days).transpose()?,
            fields: Fields::parse(&self.fields, self.reasons, self.features)?,
        })
    }
}

fn hidden_days(found: u64) -> Result<u32, Error> {
    let days = u32::try_from(found).ok().filter(|days| *days <= MOST_HIDDEN_DAYS);
    days.ok_or_else(|| {
        let message =
            format!("hide_contacted_days: expected 0 to {MOST_HIDDEN_DAYS}, such as 30, found {found}");
        Error::invalid(message).about("hide_contacted_days")
    })
}

/// The number of customers on a page, from what a client asks for; 0 for the default.
pub(super) fn page_size(wanted: u64) -> usize {
    match usize::try_from(wanted).unwrap_or(usize::MAX) {
        0 => PAGE_SIZE,
        size => size.min(MOST_PAGE_SIZE),
    }
}

/// Checks the length of a page token.
///
/// # Errors
/// It is longer than any of this server.
pub(super) fn page_token(text: String) -> Result<String, Error> {
    let found = text.len();
    if found > MOST_TOKEN_BYTES {
        let message = format!("page_token: expected at most {MOST_TOKEN_BYTES} bytes, found {found}");
        return Err(Error::invalid(message).about("page_token"));
    }
    Ok(text)
}

/// The store of outcomes.
///
/// # Errors
/// The settings name none.
pub(super) fn outcomes(outcomes: Option<&Arc<OutcomeService>>) -> Result<&OutcomeService, Error> {
    outcomes.map(|outcomes| &**outcomes).ok_or_else(|| {
        Error::command_refused(
            "outcomes are off; set outcomes.folder or [outcomes.postgres] in the settings of the server",
        )
    })
}

/// The customers whom a request hides.
///
/// # Errors
/// The client may not use the model, there is none, the settings name no store of outcomes, or the store cannot be read.
pub(super) async fn exclusion(
    service: Option<&Arc<OutcomeService>>,
    rankings: &Rankings,
    client: &Client,
    model: &str,
    query: &RankingQuery,
) -> Result<Option<Exclusion>, Error> {
    let Some(days) = query.hide_contacted_days else {
        return Ok(None);
    };
    // Before the store is read, which costs more.
    rankings.live(client, model)?;
    let service = service.ok_or_else(|| {
        Error::invalid(
            "hide_contacted_days: outcomes are off, so contacts are not known; set outcomes.folder or [outcomes.postgres] in \
             the settings of the server",
        )
        .about("hide_contacted_days")
    })?;
    service.handled(model, days).await.map(Some)
}

/// The last contacts with customers, if they are wanted and recorded.
///
/// # Errors
/// The store of outcomes cannot be read.
pub(super) async fn contacts(
    service: Option<&Arc<OutcomeService>>,
    fields: &Fields,
    model: &ModelVersion,
    items: &[RankedItem],
) -> Result<Contacts, Error> {
    match service.filter(|_| fields.contact) {
        None => Ok(Contacts::new()),
        Some(service) => {
            service
                .contacts(&model.name, items.iter().map(|item| &item.id))
                .await
        }
    }
}
