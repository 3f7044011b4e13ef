//! Polls the repository for versions, and the settings for policies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Lifecycle;
use super::known_version::Stage;
use crate::config::ModelsSection;
use crate::config::models::PolicySection;
use crate::models::repository::{Repository, VersionFiles};
use crate::models::signature::TrustedKeys;

/// Most folders without files that count as versions of a model, so that their publisher sees them refused.
const MOST_EMPTY: usize = 10;

impl Lifecycle {
    /// Polls the repository and reconciles every model with what was found.
    pub(super) fn poll_and_reconcile(&mut self) -> Result<(), String> {
        self.poll_repository()?;
        for name in self.names() {
            self.reconcile(&name);
        }
        self.record_decisions();
        Ok(())
    }

    /// Lists the repository and records what was found. What cannot be listed stays as it was.
    pub(super) fn poll_repository(&mut self) -> Result<(), String> {
        let scan = self.with_repository("listing the repository", Repository::scan);
        self.metrics.polled(scan.is_ok());
        if self.reachable != scan.is_ok() {
            self.reachable = scan.is_ok();
            match &scan {
                Ok(_) => tracing::info!("the repository can be read again"),
                Err(reason) => {
                    tracing::error!(reason, "the repository cannot be read; live models stay in use");
                }
            }
        }
        let mut found = scan?;
        let now = Instant::now();
        let none = PolicySection::default();
        for name in found.keys() {
            let policy = self.settings.policy.get(name).unwrap_or(&none);
            let state = self.models.entry(name.clone());
            state.or_insert_with(|| self.saved.restore(name, policy));
        }
        for (name, state) in &mut self.models {
            match found.remove(name).unwrap_or_else(|| Ok(BTreeMap::new())) {
                Ok(mut versions) => {
                    state.report_empty(name, remove_empty(&mut versions));
                    for version in state.observe(&versions, now) {
                        let reason = state.versions[&version].reason.as_deref().unwrap_or_default();
                        tracing::error!(model = name, version, reason, "version refused");
                    }
                }
                Err(reason) => tracing::warn!(model = name, reason, "listing the versions of a model failed"),
            }
        }
        self.models.retain(|name, state| {
            let exists = !state.versions.is_empty();
            if !exists {
                self.saved.set_aside(name, state);
            }
            exists
        });
        self.exchange_all_decisions();
        Ok(())
    }

    /// Applies changed settings: policies, poll interval, comparison of versions.
    pub(super) fn apply_settings(&mut self, settings: ModelsSection) {
        // Versions that are loaded stay; the keys count for those that come.
        match TrustedKeys::read(&settings.trusted_keys) {
            Ok(trusted) => self.trusted = trusted,
            Err(error) => tracing::error!(error, "trusted keys not read, keeping the previous ones"),
        }
        let none = PolicySection::default();
        for (name, state) in &mut self.models {
            let policy = settings.policy.get(name).unwrap_or(&none);
            let new_bands = state.policy.bands != policy.bands;
            state.apply_policy(policy);
            for version in state.versions.values_mut().filter(|_| new_bands) {
                if let Stage::Loaded(servable) = &version.stage {
                    version.stage = Stage::Loaded(Arc::new(servable.with_bands(&policy.bands)));
                }
            }
        }
        self.settings = settings;
        for name in self.names() {
            self.reconcile(&name);
        }
    }
}

/// Removes folders without files beyond the newest [`MOST_EMPTY`], which are refused by name. Returns how many it removed.
fn remove_empty(versions: &mut BTreeMap<u64, VersionFiles>) -> usize {
    let is_empty = |files: &VersionFiles| files.as_ref().is_ok_and(|listing| listing.files().is_empty());
    let empty = versions.iter().rev().filter(|(_, files)| is_empty(files));
    let beyond: Vec<u64> = empty.skip(MOST_EMPTY).map(|(&number, _)| number).collect();
    beyond.iter().for_each(|number| drop(versions.remove(number)));
    beyond.len()
}
