//! One request, two versions: a canary's entities are scored by it, the others by the version that answers; copies go
//! to the mirror.

use std::sync::Arc;

use crate::error::Error;
use crate::scoring::Scorer;
use crate::scoring::admission::Permit;
use crate::scoring::live_set::Servable;
use crate::scoring::request::{Entity, EntityScore, ScoreRequest, Scores};
use crate::scoring::rollout::shadow::{ShadowJob, said};
use crate::scoring::rollout::{Rollout, Share};

/// Entities to be scored by one version, and a share of them by another.
struct Part<'a> {
    by: &'a Arc<Servable>,
    /// The trial, and the version that scores copies.
    trial: Option<(&'a Share, &'a Arc<Servable>)>,
    request: ScoreRequest,
}

fn takes(share: Option<&Share>, entity: &Entity) -> bool {
    share
        .zip(entity.id.as_ref())
        .is_some_and(|(share, id)| share.takes(id))
}

/// Scores a request while a version is being tried.
pub(in crate::scoring) async fn answer(
    scorer: &Arc<Scorer>,
    served: &Arc<Servable>,
    rollout: &Rollout,
    mut request: ScoreRequest,
    permit: &Arc<Permit>,
) -> Result<Scores, Error> {
    let entities = std::mem::take(&mut request.entities);
    let canary = rollout.canary.as_ref();
    let tried: Vec<bool> = entities.iter().map(|entity| takes(canary, entity)).collect();
    let (mut for_canary, mut own) = (Vec::new(), Vec::new());
    for (entity, &tried) in entities.into_iter().zip(&tried) {
        (if tried { &mut for_canary } else { &mut own }).push(entity);
    }
    let all = own.is_empty();
    let of = |entities| ScoreRequest {
        entities,
        ..request.clone()
    };
    let own = Part {
        by: served,
        trial: rollout.shadow.as_ref().map(|shadow| (shadow, &shadow.served)),
        request: of(own),
    };
    let Some(canary) = canary.filter(|_| !for_canary.is_empty()) else {
        return Ok(Scores {
            results: own.score(scorer, permit).await?,
            model: served.model.clone(),
        });
    };
    let tried_out = Part {
        by: &canary.served,
        trial: Some((canary, served)),
        request: of(for_canary),
    };
    let both = futures_util::future::join(own.score(scorer, permit), tried_out.score(scorer, permit));
    let (own, by_canary) = both.await;
    let (mut own, mut by_canary) = (own?.into_iter(), by_canary?.into_iter());
    let model = canary.served.model.clone();
    if all {
        let results = by_canary.collect();
        return Ok(Scores { model, results });
    }
    let merged = tried.into_iter().filter_map(|tried| {
        let result = if tried { by_canary.next()? } else { own.next()? };
        let model = tried.then(|| model.clone());
        Some(EntityScore { model, ..result })
    });
    Ok(Scores {
        results: merged.collect(),
        model: served.model.clone(),
    })
}

impl Part<'_> {
    /// Scores the entities by one version, and has the mirror score the trial's share of them by the other.
    async fn score(self, scorer: &Arc<Scorer>, permit: &Arc<Permit>) -> Result<Vec<EntityScore>, Error> {
        if self.request.entities.is_empty() {
            return Ok(Vec::new());
        }
        let copied = |(share, _): (&Share, _)| -> Vec<(usize, Entity)> {
            let chosen = self.request.entities.iter().enumerate();
            chosen
                .filter(|(_, entity)| takes(Some(share), entity))
                .map(|(place, entity)| (place, entity.clone()))
                .collect()
        };
        let copies = self.trial.map(copied).unwrap_or_default();
        let results = scorer.score(self.by, self.request, permit.clone()).await?;
        if let Some((share, other)) = self.trial.filter(|_| !copies.is_empty()) {
            let (places, entities): (Vec<usize>, Vec<Entity>) = copies.into_iter().unzip();
            let answered = places
                .into_iter()
                .map(|place| said(results.get(place)?, &self.by.bands));
            scorer.mirror.send(ShadowJob {
                answered: answered.collect(),
                entities,
                other: other.clone(),
                by_candidate: Arc::ptr_eq(self.by, &share.served),
                comparison: share.comparison.clone(),
                runtime: tokio::runtime::Handle::current(),
            });
        }
        Ok(results)
    }
}
