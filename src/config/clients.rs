//! `[clients]`: limits of each client. A client is an API key or, without `auth.file`, an address.

use serde::{Deserialize, Serialize};

use crate::values::network::Network;

/// Limits of each client: an API key or, without `auth.file`, an address (of IPv6 the first 64 bits). A key's entry in
/// the key file can have `rate`, `burst` and `share` of its own, and `models`, the only models that it may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientsSection {
    /// Entities per second that a client may have scored; an explained one counts as ten, or as its reasons if they are more. With
    /// each come 4 KiB of bodies, also of requests that fail. Requests beyond either are refused
    /// (429, RESOURCE_EXHAUSTED) with the time of the next try. 0: no limit.
    pub rate: f64,
    /// Entities that a client may have scored at once after a pause. 0: those of one second of `rate`.
    pub burst: u64,
    /// Largest share of `limits.in_flight` that one client may have in use, from 0 to 1. Whatever it is, above half of
    /// `limits.in_flight` a client is refused that has its equal share already, and so are bulk requests.
    pub share: f64,
    /// Networks of proxies whose `X-Forwarded-For` or `Forwarded` names the client, such as `"10.0.0.0/8"`. The
    /// right-most address outside of them counts. Empty: the address of the connection counts.
    pub trusted_proxies: Vec<Network>,
}

impl Default for ClientsSection {
    fn default() -> Self {
        Self {
            rate: 0.0,
            burst: 0,
            share: 1.0,
            trusted_proxies: Vec::new(),
        }
    }
}

impl ClientsSection {
    /// Checks the ranges of the values.
    pub(super) fn validate(&self) -> Result<(), String> {
        check_limits(Some(self.rate), Some(self.share))
            .map_err(|(key, expected)| format!("clients.{key}: expected {expected}"))
    }
}

/// Checks a rate and a share, of the settings or of a key.
///
/// # Errors
/// The name of the wrong one, and what was expected.
pub fn check_limits(rate: Option<f64>, share: Option<f64>) -> Result<(), (&'static str, String)> {
    if let Some(rate) = rate.filter(|rate| !(*rate == 0.0 || (0.001..=1e9).contains(rate))) {
        let expected = format!("0 or 0.001 to 1e9 entities per second, such as 500, found {rate}");
        return Err(("rate", expected));
    }
    if let Some(share) = share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        let expected = format!("more than 0 and at most 1, such as 0.25, found {share}");
        return Err(("share", expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_limits_are_named() {
        assert!(ClientsSection::default().validate().is_ok());
        for (rate, share, key) in [
            (-1.0, 1.0, "rate"),
            (f64::NAN, 1.0, "rate"),
            (1.0, 0.0, "share"),
            (1.0, 1.5, "share"),
        ] {
            assert!(check_limits(Some(rate), Some(share)).is_err_and(|(found, _)| found == key));
        }
    }
}
