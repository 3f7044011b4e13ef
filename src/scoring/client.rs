//! The client of a request: which models it may use, and its own limits. What it has in use outlives a reload of the key
//! file, which only replaces its profile.

pub mod metrics;
mod rate;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;
use crate::spans::RequestSpan;
use metrics::RefusalCounters;
pub use rate::RateLimit;
use rate::RateMeter;

/// The client of a request. The default has no limits, for work that no client asked for.
#[derive(Clone, Debug, Default)]
pub struct Client {
    known: Option<KnownClient>,
    bulk: bool,
    /// The span of its request, if that is sampled.
    span: RequestSpan,
    /// The ids of its request, if the prediction log wants them.
    request: Option<RequestIds>,
    /// What its request has paid for its body and has not had scored yet, if its rate has a limit.
    prepaid: Option<Arc<AtomicUsize>>,
}

/// The ids of a request, under which the prediction log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// The id that the answer has in `x-request-id`.
    pub request_id: RequestId,
    /// The id of the client's trace (W3C Trace Context).
    pub trace_id: Option<u128>,
}

/// The id of a request. Nearly all have one of this server, so that one needs no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A random number of this server; its text is the 32 hexadecimal digits.
    Own(u128),
    /// The client's text.
    Given(Arc<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(number) => write!(f, "{number:032x}"),
            Self::Given(text) => f.write_str(text),
        }
    }
}

/// A client with limits.
#[derive(Clone, Debug)]
pub(super) struct KnownClient {
    pub(super) profile: Arc<ClientProfile>,
    pub(super) usage: Arc<Usage>,
}

impl Client {
    /// The client with this profile, which has this in use.
    pub fn new(profile: Arc<ClientProfile>, usage: Arc<Usage>) -> Self {
        Self {
            known: Some(KnownClient { profile, usage }),
            ..Self::default()
        }
    }

    /// The same client with the span of its request.
    #[must_use]
    pub fn with_span(self, span: RequestSpan) -> Self {
        Self { span, ..self }
    }

    /// The span of its request.
    pub(super) fn span(&self) -> &RequestSpan {
        &self.span
    }

    /// The same client with the ids of its request.
    #[must_use]
    pub fn with_request(self, request: Option<RequestIds>) -> Self {
        Self { request, ..self }
    }

    pub(super) fn request(&self) -> Option<&RequestIds> {
        self.request.as_ref()
    }

    /// The same client with bulk work, which gives way to other requests.
    #[must_use]
    pub fn in_bulk(self) -> Self {
        Self { bulk: true, ..self }
    }

    pub(super) fn is_bulk(&self) -> bool {
        self.bulk
    }

    pub(super) fn known(&self) -> Option<&KnownClient> {
        self.known.as_ref()
    }

    /// Whether the client may use only some models.
    pub fn is_restricted(&self) -> bool {
        self.models().is_some()
    }

    /// Whether the client may use a model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models()
            .is_none_or(|models| models.iter().any(|pattern| pattern.matches(model)))
    }

    fn models(&self) -> Option<&[ModelPattern]> {
        self.known.as_ref()?.profile.models.as_deref()
    }

    /// Checks that the client may use a model.
    ///
    /// # Errors
    /// It may not. The error does not tell whether the model exists.
    pub fn check_model(&self, model: &str) -> Result<(), Error> {
        match &self.known {
            Some(KnownClient { profile, .. }) if !self.may_use(model) => {
                profile.refused.model.inc();
                Err(Error::forbidden(format!(
                    "{profile} may not use this model; `models` of its entry in the key file lists those that it may"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The same client at the beginning of a request with a body, which [`Self::charge_body`] is called for. What that takes
    /// counts as paid when the same request is charged for its entities.
    #[must_use]
    pub fn with_body(self) -> Self {
        let prepaid = self.limit().map(|_| Arc::default());
        Self { prepaid, ..self }
    }

    /// Charges for a part of the body, in entities. It is never refused: what arrives is decoded, whatever comes of it, and what
    /// the client does next waits for it.
    pub fn charge_body(&self, cost: usize) {
        if let (Some((limit, known)), Some(prepaid)) = (self.limit(), &self.prepaid) {
            known.usage.rate.charge_anyway(limit, cost);
            prepaid.fetch_add(cost, Ordering::Relaxed);
        }
    }

    /// Whether what the client does costs its rate.
    pub fn has_rate(&self) -> bool {
        self.limit().is_some()
    }

    fn limit(&self) -> Option<(RateLimit, &KnownClient)> {
        let known = self.known.as_ref()?;
        Some((known.profile.rate?, known))
    }

    /// Charges the rate of the client for work of this cost. What the request has paid for its body counts. A cost of 0 asks
    /// whether the client is in debt.
    ///
    /// # Errors
    /// The client is above its rate; the error says when to try again.
    pub fn charge(&self, cost: usize) -> Result<(), Error> {
        let Some((limit, KnownClient { profile, usage })) = self.limit() else {
            return Ok(());
        };
        let prepaid = self.prepaid.as_deref().map_or(0, |prepaid| take(prepaid, cost));
        if prepaid > 0 && prepaid == cost {
            return Ok(());
        }
        usage.rate.charge(limit, cost, prepaid).map_err(|wait| {
            if let Some(all) = &self.prepaid {
                all.fetch_add(prepaid, Ordering::Relaxed);
            }
            profile.refused.rate.inc();
            let (rate, seconds) = (limit.per_second(), wait.as_secs_f64());
            let setting = profile.setting("rate");
            Error::client_limit(format!(
                "{profile} is above {rate} entities per second ({setting}); retry in {seconds:.3} s"
            ))
            .after(wait)
        })
    }
}

/// Takes at most this much; returns what it took.
fn take(from: &AtomicUsize, most: usize) -> usize {
    let rest = |there: usize| Some(there - there.min(most));
    let there = from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
    there.unwrap_or_else(|there| there).min(most)
}

/// What a client may do.
#[derive(Debug)]
pub struct ClientProfile {
    /// The name of its API key; `None` for an address.
    pub key: Option<String>,
    /// The limit of its rate, if it has one.
    pub rate: Option<RateLimit>,
    /// Largest share of `limits.in_flight` that it may have in use.
    pub share: f64,
    /// The models that it may use; `None` for all.
    pub models: Option<Vec<ModelPattern>>,
    /// Counts its refused requests.
    pub refused: RefusalCounters,
}

impl ClientProfile {
    /// Where a limit of this client is set.
    pub(super) fn setting(&self, limit: &str) -> String {
        match &self.key {
            Some(_) => format!("`{limit}` of its entry in the key file, or clients.{limit}"),
            None => format!("clients.{limit}"),
        }
    }
}

impl fmt::Display for ClientProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(name) => write!(f, "the API key `{name}`"),
            None => f.write_str("this client's address"),
        }
    }
}

/// What a client has in use.
#[derive(Debug, Default)]
pub struct Usage {
    rate: RateMeter,
    /// Cost of its entities that are being scored.
    pub(super) held: AtomicUsize,
}

/// The name of a model, or the beginning of names, such as `upsell-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPattern(String);

impl ModelPattern {
    /// Reads a pattern; `None` if it is empty or has a star before its end.
    pub fn parse(text: &str) -> Option<Self> {
        let start = text.strip_suffix('*').unwrap_or(text);
        (!text.is_empty() && !start.contains('*')).then(|| Self(text.to_owned()))
    }

    fn matches(&self, model: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => model.starts_with(start),
            None => model == self.0,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::metrics::ClientMetrics;
    use super::*;
    use crate::error::ErrorKind;
    use crate::metrics::Registry;

    /// A client with these limits.
    pub(in crate::scoring) fn client(rate: Option<RateLimit>, share: f64, models: Option<&[&str]>) -> Client {
        let metrics = ClientMetrics::new(&Registry::default()).unwrap();
        let profile = ClientProfile {
            key: Some("front-end".to_owned()),
            rate,
            share,
            models: models.map(|models| {
                models
                    .iter()
                    .map(|text| ModelPattern::parse(text).unwrap())
                    .collect()
            }),
            refused: metrics.counters("front-end"),
        };
        Client::new(Arc::new(profile), Arc::default())
    }

    #[test]
    fn a_client_uses_only_its_models() {
        let client = client(None, 1.0, Some(&["churn", "upsell-*"]));
        for (model, allowed) in [
            ("churn", true),
            ("churn2", false),
            ("upsell-", true),
            ("upsell-eu", true),
            ("upsell", false),
            ("", false),
        ] {
            assert_eq!(client.check_model(model).is_ok(), allowed, "{model}");
        }
        let error = client.check_model("fraud").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(!error.to_string().contains("fraud"), "{error}");
        assert!(Client::default().may_use("fraud") && !Client::default().is_restricted());
        assert!(ModelPattern::parse("").is_none() && ModelPattern::parse("a*b").is_none());
        assert!(ModelPattern::parse("*").is_some_and(|all| all.matches("any")));
    }

    #[test]
    fn a_client_above_its_rate_is_told_when_to_retry() {
        let client = client(RateLimit::new(2.0, 10), 1.0, None);
        assert!(client.charge(10).is_ok());
        let error = client.charge(2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ClientLimit);
        let wait = error.retry_after().unwrap().as_secs_f64();
        assert!((0.5..=1.0).contains(&wait), "{wait}");
        assert!(
            error.to_string().contains("above 2 entities per second"),
            "{error}"
        );
        assert!(Client::default().charge(usize::MAX).is_ok());
    }

    #[test]
    fn a_body_is_paid_for_and_its_entities_are_not_paid_twice() {
        let known = client(RateLimit::new(2.0, 10), 1.0, None);
        let request = known.clone().with_body();
        request.charge_body(6);
        // Six of the eight are paid; the last two of the burst are left.
        assert!(request.charge(5).is_ok() && request.charge(3).is_ok());
        assert!(known.charge(2).is_ok() && known.charge(1).is_err());
        // A body above the limit is not refused, but what comes next is.
        let failing = known.clone().with_body();
        failing.charge_body(100);
        assert!(known.charge(0).is_err() && known.with_body().charge(0).is_err());
        Client::default().with_body().charge_body(5);
    }
}
