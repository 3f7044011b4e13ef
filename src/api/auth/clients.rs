//! Tells which client a request comes from: its API key or, without keys, its address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::Request;

use super::addresses::AddressTable;
use super::forwarded::client_address;
use super::keys::ApiKeys;
use crate::api::client::PeerAddress;
use crate::config::ClientsSection;
use crate::scoring::Client;
use crate::scoring::client::metrics::ClientMetrics;
use crate::scoring::client::{ClientProfile, RateLimit, Usage};
use crate::values::network::Network;

/// The name of clients without a key in metrics.
const ADDRESS: &str = "address";

/// The clients with API keys. What a key has in use is kept by its name over reloads of the key file.
#[derive(Debug)]
pub(super) struct KeyClients {
    defaults: ClientsSection,
    metrics: ClientMetrics,
    usages: Mutex<BTreeMap<String, Arc<Usage>>>,
}

impl KeyClients {
    pub(super) fn new(defaults: &ClientsSection, metrics: &ClientMetrics) -> Self {
        Self {
            defaults: defaults.clone(),
            metrics: metrics.clone(),
            usages: Mutex::default(),
        }
    }

    /// Gives each key its client.
    pub(super) fn attach(&self, mut keys: ApiKeys) -> ApiKeys {
        let mut usages = self.usages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = BTreeMap::new();
        for key in keys.iter_mut() {
            let usage = usages.remove(&key.name).unwrap_or_default();
            let (own, defaults) = (&key.limits, &self.defaults);
            // A key with a rate of its own does not take the burst that belongs to another rate.
            let burst = own
                .burst
                .unwrap_or(if own.rate.is_some() { 0 } else { defaults.burst });
            let profile = ClientProfile {
                key: Some(key.name.clone()),
                rate: RateLimit::new(own.rate.unwrap_or(defaults.rate), burst),
                share: own.share.unwrap_or(defaults.share),
                models: own.models.clone(),
                refused: self.metrics.counters(&key.name),
            };
            key.client = Client::new(Arc::new(profile), usage.clone());
            kept.insert(key.name.clone(), usage);
        }
        *usages = kept;
        keys
    }
}

/// The clients without keys.
#[derive(Debug)]
pub(super) struct AddressClients {
    profile: Arc<ClientProfile>,
    trusted: Vec<Network>,
    table: AddressTable,
}

impl AddressClients {
    pub(super) fn new(section: &ClientsSection, metrics: &ClientMetrics) -> Self {
        let profile = ClientProfile {
            key: None,
            rate: RateLimit::new(section.rate, section.burst),
            share: section.share,
            models: None,
            refused: metrics.counters(ADDRESS),
        };
        Self {
            profile: Arc::new(profile),
            trusted: section.trusted_proxies.clone(),
            table: AddressTable::new(),
        }
    }

    /// Returns the client of a request. One without an address has no limits; every connection over TCP has one.
    pub(super) fn identify(&self, request: &Request) -> Client {
        let Some(&PeerAddress(peer)) = request.extensions().get() else {
            return Client::default();
        };
        let address = client_address(peer, request.headers(), &self.trusted);
        Client::new(self.profile.clone(), self.table.usage(address))
    }
}
