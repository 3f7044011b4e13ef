//! One request, two versions: a canary's entities are scored by it, the others by the version that answers; copies go
//! to the mirror.

use std::sync::Arc;

use super::mirror::{Job, Mirror, said};
use super::{Rollout, Share};
use crate::error::Error;
use crate::scoring::answer;
use crate::scoring::domain::{Entity, EntityScore, ScoreRequest, Scores};
use crate::scoring::live::Served;
use crate::telemetry::Metrics;

/// What scores while a version is being tried.
pub(crate) struct Split<'a> {
    /// The version that answers.
    pub(crate) served: &'a Arc<Served>,
    pub(crate) rollout: &'a Rollout,
    pub(crate) metrics: &'a Metrics,
    pub(crate) mirror: &'a Mirror,
}

/// Entities to be scored by one version, and a share of them by another.
struct Part<'a> {
    by: &'a Arc<Served>,
    /// The trial, and the version that scores copies.
    trial: Option<(&'a Share, &'a Arc<Served>)>,
}

fn takes(share: Option<&Share>, entity: &Entity) -> bool {
    share
        .zip(entity.id.as_ref())
        .is_some_and(|(share, id)| share.takes(id))
}

impl Split<'_> {
    /// Scores a request.
    pub(crate) fn score(&self, mut request: ScoreRequest) -> Result<Scores, Error> {
        let entities = std::mem::take(&mut request.entities);
        let canary = self.rollout.canary.as_ref();
        let tried: Vec<bool> = entities.iter().map(|entity| takes(canary, entity)).collect();
        let (mut for_canary, mut own) = (Vec::new(), Vec::new());
        for (entity, &tried) in entities.into_iter().zip(&tried) {
            (if tried { &mut for_canary } else { &mut own }).push(entity);
        }
        let (all, none) = (own.is_empty(), for_canary.is_empty());
        let shadow = self
            .rollout
            .shadow
            .as_ref()
            .map(|shadow| (shadow, &shadow.served));
        let part = Part {
            by: self.served,
            trial: shadow,
        };
        let own = self.part(&part, own, &request)?;
        let Some(canary) = canary.filter(|_| !none) else {
            return Ok(Scores {
                model: self.served.model.clone(),
                results: own,
            });
        };
        let part = Part {
            by: &canary.served,
            trial: Some((canary, self.served)),
        };
        let mut by_canary = self.part(&part, for_canary, &request)?.into_iter();
        let model = canary.served.model.clone();
        if all {
            let results = by_canary.collect();
            return Ok(Scores { model, results });
        }
        let mut own = own.into_iter();
        let merged = tried.into_iter().filter_map(|tried| {
            let result = if tried { by_canary.next()? } else { own.next()? };
            let model = tried.then(|| model.clone());
            Some(EntityScore { model, ..result })
        });
        Ok(Scores {
            model: self.served.model.clone(),
            results: merged.collect(),
        })
    }

    /// Scores entities by one version, and has the mirror score the trial's share of them by the other.
    fn part(
        &self,
        part: &Part<'_>,
        entities: Vec<Entity>,
        request: &ScoreRequest,
    ) -> Result<Vec<EntityScore>, Error> {
        if entities.is_empty() {
            return Ok(Vec::new());
        }
        let copied = |(share, _): (&Share, _)| -> Vec<(usize, Entity)> {
            let chosen = entities
                .iter()
                .enumerate()
                .filter(|(_, entity)| takes(Some(share), entity));
            chosen.map(|(place, entity)| (place, entity.clone())).collect()
        };
        let copies = part.trial.map(copied).unwrap_or_default();
        let request = ScoreRequest {
            model: request.model.clone(),
            entities,
            explain: request.explain,
            deadline: request.deadline,
        };
        let results = answer::score_all(part.by, request, self.metrics)?;
        if let Some((share, other)) = part.trial.filter(|_| !copies.is_empty()) {
            let (places, entities): (Vec<usize>, Vec<Entity>) = copies.into_iter().unzip();
            let answered = places
                .into_iter()
                .map(|place| said(results.get(place)?, &part.by.bands));
            self.mirror.send(Job {
                answered: answered.collect(),
                entities,
                other: other.clone(),
                by_candidate: Arc::ptr_eq(part.by, &share.served),
                comparison: share.comparison.clone(),
            });
        }
        Ok(results)
    }
}
