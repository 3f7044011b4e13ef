//! The client of a request: which models it may use, and its own limits. What it has in use outlives a reload of the key
//! file, which only replaces its profile.

pub mod metrics;
mod rate;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::error::Error;
use crate::spans::RequestSpan;
use metrics::RefusalCounters;
pub use rate::RateLimit;
use rate::RateMeter;

/// Bytes of bodies that come with each entity of a client's rate: more than nearly all entities take with their features.
/// Decoding so many takes several times as long as scoring one.
const BODY_BYTES: u32 = 4 << 10;

/// The client of a request. The default has no limits, for work that no client asked for.
#[derive(Clone, Debug, Default)]
pub struct Client {
    known: Option<KnownClient>,
    bulk: bool,
    /// The span of its request, if that is sampled.
    span: RequestSpan,
    /// The ids of its request, if the prediction log wants them.
    request: Option<RequestIds>,
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

    /// What limits its bodies, if its rate is limited.
    pub fn body_limits(&self) -> Option<BodyLimits> {
        let client = self.known.as_ref()?;
        let limit = client.profile.rate?.times(BODY_BYTES.into());
        Some(BodyLimits {
            client: client.clone(),
            limit,
        })
    }

    /// Charges the rate of the client for work of this cost.
    ///
    /// # Errors
    /// The client is above its rate; the error says when to try again.
    pub fn charge(&self, cost: usize) -> Result<(), Error> {
        let Some(KnownClient { profile, usage }) = &self.known else {
            return Ok(());
        };
        let Some(limit) = profile.rate else {
            return Ok(());
        };
        usage.rate.charge(limit, cost).map_err(|wait| {
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

/// The bodies of a client whose rate is limited. They are charged as they are decoded, whatever comes of them.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    client: KnownClient,
    limit: RateLimit,
}

impl BodyLimits {
    /// Charges for bytes that are about to be decoded.
    pub fn charge(&self, bytes: usize) {
        self.client.usage.bodies.charge_anyway(self.limit, bytes);
    }

    /// How long it takes until the client has paid for its earlier bodies; `None` if it has.
    pub fn debt(&self) -> Option<Duration> {
        self.client.usage.bodies.debt(self.limit)
    }

    /// The error of a body that is not read because of this debt.
    pub fn refuse(&self, debt: Duration) -> Error {
        let KnownClient { profile, .. } = &self.client;
        profile.refused.rate.inc();
        let (rate, seconds) = (self.limit.per_second(), debt.as_secs_f64());
        let setting = profile.setting("rate");
        Error::client_limit(format!(
            "{profile} is above {rate} bytes of bodies per second ({} KiB for each entity of {setting}); retry in {seconds:.3} s",
            BODY_BYTES >> 10
        ))
        .after(debt)
    }
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
    /// Bytes of bodies.
    bodies: RateMeter,
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
    fn a_client_owes_for_its_bodies_and_not_for_its_entities() {
        let known = client(RateLimit::new(2.0, 10), 1.0, None);
        let bodies = known.body_limits().unwrap();
        bodies.charge(10 << 12);
        assert_eq!(bodies.debt(), None);
        bodies.charge(6 << 12);
        let debt = bodies.debt().unwrap();
        assert!((2.5..=3.0).contains(&debt.as_secs_f64()), "{debt:?}");
        let error = bodies.refuse(debt);
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::ClientLimit, Some(debt))
        );
        assert!(
            error
                .to_string()
                .contains("above 8192 bytes of bodies per second"),
            "{error}"
        );
        assert!(known.charge(10).is_ok());
        assert!(client(None, 1.0, None).body_limits().is_none() && Client::default().body_limits().is_none());
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
}
