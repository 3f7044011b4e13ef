//! Recorded outcomes in memory: what repeated records are compared with, and what scores are evaluated by.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::super::interface::{CustomerEvent, Recorded};
use super::super::journal;
use super::super::{ActionTaken, CustomerResult, OutcomeRecord};
use super::lines::outcome_line;
use super::{customer_hash, hash};

/// Recorded outcomes by customer.
#[derive(Debug, Default)]
pub(super) struct KnownOutcomes {
    pub(super) customers: HashMap<u64, SmallVec<[KnownOutcome; 1]>>,
    pub(super) count: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct KnownOutcome {
    /// Hashes of the key, and of all that the record says.
    pub(super) key: u64,
    pub(super) content: u64,
    pub(super) event: CustomerEvent,
    /// Where its line is in the journal.
    pub(super) place: u64,
}

impl KnownOutcomes {
    /// Compares records with what is known. Returns what each one is, the lines to write, and the positions of the records that
    /// are written with the places of their lines among these.
    pub(super) fn compare(&self, records: &[OutcomeRecord]) -> (Recorded, Vec<u8>, Vec<(usize, u64)>) {
        let (mut recorded, mut block, mut places) = (Recorded::default(), Vec::new(), Vec::new());
        // What this request has said of the same key before.
        let mut said: HashMap<(u64, u64), u64> = HashMap::new();
        for (position, record) in records.iter().enumerate() {
            let (customer, known) = known(record);
            let before = said.insert((customer, known.key), known.content);
            let before = before.or_else(|| self.find(customer, known.key).map(|found| found.content));
            match before {
                Some(content) if content == known.content => {
                    recorded.known.push(position);
                    continue;
                }
                Some(_) => recorded.replaced.push(position),
                None => recorded.new.push(position),
            }
            places.push((position, block.len() as u64));
            journal::add_line(&mut block, &outcome_line(record));
        }
        (recorded, block, places)
    }

    pub(super) fn find(&self, customer: u64, key: u64) -> Option<&KnownOutcome> {
        self.customers
            .get(&customer)?
            .iter()
            .find(|known| known.key == key)
    }

    /// Whether this very record is known, not a later one of its key.
    pub(super) fn has(&self, record: &OutcomeRecord) -> bool {
        let (customer, own) = known(record);
        self.find(customer, own.key)
            .is_some_and(|found| found.content == own.content)
    }

    pub(super) fn put(&mut self, record: &OutcomeRecord, place: u64) {
        let (customer, own) = known(record);
        let own = KnownOutcome { place, ..own };
        let of_customer = self.customers.entry(customer).or_default();
        match of_customer.iter_mut().find(|known| known.key == own.key) {
            Some(known) => *known = own,
            None => {
                of_customer.push(own);
                self.count += 1;
            }
        }
    }

    /// Sets where the line of a known record is.
    pub(super) fn set_place(&mut self, record: &OutcomeRecord, place: u64) {
        let (customer, own) = known(record);
        let of_customer = self.customers.get_mut(&customer);
        let mut same = of_customer.into_iter().flatten();
        if let Some(found) = same.find(|found| found.key == own.key) {
            found.place = place;
        }
    }

    pub(super) fn events(&self, customer: u64) -> impl Iterator<Item = &KnownOutcome> {
        self.customers.get(&customer).into_iter().flatten()
    }

    pub(super) fn forget_before(&mut self, cutoff: i64) {
        self.customers.retain(|_, of_customer| {
            of_customer.retain(|known| known.event.at >= cutoff);
            !of_customer.is_empty()
        });
        self.count = self.customers.values().map(SmallVec::len).sum();
    }
}

/// The hash of a record's customer, and what is kept of the record in memory.
fn known(record: &OutcomeRecord) -> (u64, KnownOutcome) {
    let OutcomeRecord {
        model,
        customer,
        key,
        at,
        action,
        detail,
        result,
    } = record;
    let content = format!(
        "{at}\u{1}{}\u{1}{}\u{1}{}",
        action.map_or("", ActionTaken::label),
        detail.as_deref().unwrap_or_default(),
        result.map_or("", CustomerResult::label)
    );
    let known = KnownOutcome {
        key: hash("key", key),
        content: hash("content", &content),
        event: CustomerEvent {
            at: *at,
            action: *action,
            result: *result,
        },
        place: 0,
    };
    (customer_hash(model, customer), known)
}
