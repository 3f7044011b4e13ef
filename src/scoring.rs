//! The scoring path: a request takes one snapshot of what is live and uses it to its end.
//!
//! admit → model → features → vector → forest → answer. REST, gRPC and the offline command all come through here.

mod admission;
mod answer;
pub(crate) mod calibration;
mod domain;
pub(crate) mod live;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

pub use domain::{Entity, EntityScore, From, ModelRef, Outcome, Reason, ScoreRequest, Scored, Scores};
pub use live::{Live, Served};

use crate::error::Error;
use crate::telemetry::Metrics;
use admission::Admission;

/// Limits of one request and of all together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entities in a request.
    pub batch: usize,
    /// Most entities being scored at the same time.
    pub in_flight: usize,
}

/// Entities above which a request is moved off the threads that serve connections: small requests are done before
/// a hand-over would be, large ones must not keep others waiting.
const INLINE_ENTITIES: usize = 64;

/// Scores requests against what is live.
#[derive(Debug)]
pub struct Scorer {
    live: ArcSwap<Live>,
    limits: Limits,
    admission: Admission,
    metrics: Arc<Metrics>,
}

impl Scorer {
    /// A scorer for `live`.
    pub fn new(live: Live, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            live: ArcSwap::from_pointee(live),
            limits,
            admission: Admission::new(limits.in_flight),
            metrics,
        }
    }

    /// What is live now.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Scores a request; a large one on a thread of its own.
    ///
    /// # Errors
    /// See [`Scorer::score`].
    pub async fn answer(self: &Arc<Self>, request: ScoreRequest) -> Result<Scores, Error> {
        if request.entities.len() <= INLINE_ENTITIES {
            return self.score(request);
        }
        let scorer = self.clone();
        let task = tokio::task::spawn_blocking(move || scorer.score(request));
        task.await
            .unwrap_or_else(|error| Err(Error::Internal(format!("scoring stopped: {error}"))))
    }

    /// Scores a request on this thread. Each entity has its own outcome.
    ///
    /// # Errors
    /// Only what concerns the request as a whole: no such model, no or too many entities, too much work at once.
    pub fn score(&self, request: ScoreRequest) -> Result<Scores, Error> {
        let start = Instant::now();
        let _permit = self.admit(&request)?;
        let live = self.live();
        let served = live.find(&request.model)?;
        served.scorable()?;
        let results = answer::score_all(served, request, &self.metrics)?;
        self.metrics.whole.observe(start.elapsed().as_secs_f64());
        self.metrics
            .entities_scored(results.iter().map(EntityScore::result));
        Ok(Scores {
            model: served.model.clone(),
            results,
        })
    }

    fn admit(&self, request: &ScoreRequest) -> Result<admission::Permit<'_>, Error> {
        let entities = request.entities.len();
        if entities == 0 {
            return Err(Error::Invalid(
                "entities: the list is empty; send at least one".to_owned(),
            ));
        }
        if entities > self.limits.batch {
            let most = self.limits.batch;
            return Err(Error::TooLarge(format!(
                "entities: {entities} in one request, at most {most} are allowed"
            )));
        }
        self.admission.enter(entities)
    }
}
