//! Shows what a model sees of an entity, feature by feature: for people who ask why a score is what it is, and for tests
//! that compare it with the feature store's own client.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::models::ModelVersion;
use crate::scoring::admission::Permit;
use crate::scoring::assemble::{FeatureTrace, trace};
use crate::scoring::batch::fetch;
use crate::scoring::client::Client;
use crate::scoring::outcome::FeatureOrigin;
use crate::scoring::request::{Entity, ModelRef};
use crate::scoring::servable::Servable;
use crate::scoring::{Scorer, Wanted};
use crate::values::entity_id::EntityId;
use crate::values::issues::{PRESENT, STATUSES};
use crate::values::time;

/// The features of an entity.
#[derive(Debug)]
pub struct EntityFeatures {
    /// The version that uses them.
    pub model: Arc<ModelVersion>,
    /// Where the features come from.
    pub from: FeatureOrigin,
    /// Names of unavailable sources.
    pub unavailable: Vec<String>,
    /// One per input of the model.
    pub features: Vec<FeatureDetail>,
}

/// One feature of an entity.
#[derive(Debug)]
pub struct FeatureDetail {
    /// The value that the model sees; NaN for missing.
    pub value: f64,
    /// Its status: `present`, or all that apply of `missing`, `null`, `stale`, `out_of_range` and `default`.
    pub status: Vec<&'static str>,
    /// Its `as_of` time in seconds since the Unix epoch, if the source has one.
    pub as_of: Option<f64>,
}

/// An entity, and what a version sees of it.
pub(super) struct Traced {
    pub(super) servable: Arc<Servable>,
    pub(super) entity: Entity,
    pub(super) trace: FeatureTrace,
    /// The present, in seconds since the Unix epoch.
    pub(super) now: f64,
    /// Ends with the work on it.
    pub(super) permit: Permit,
}

impl Traced {
    /// Checks that enough is known for a score, as for every score.
    ///
    /// # Errors
    /// Too little is known.
    pub(super) fn check(servable: &Servable, trace: &FeatureTrace) -> Result<(), Error> {
        let model = &servable.model;
        model.known.check(&trace.issues, &model.inputs)
    }
}

impl Scorer {
    /// Finds what a model sees of an entity, as one admitted request for the wanted reasons.
    ///
    /// # Errors
    /// The model or entity is unknown, or the contract rejects its values.
    pub(super) async fn traced(
        self: &Arc<Self>,
        client: &Client,
        model: &ModelRef,
        id: EntityId,
        deadline: Option<Instant>,
        wanted: Wanted,
    ) -> Result<Traced, Error> {
        let entity = Entity {
            id: Some(id),
            features: Vec::new(),
        };
        let cost = Self::cost(1, wanted);
        self.traced_at(client, model, entity, deadline, cost).await
    }

    /// Finds what a model sees of an entity, as one admitted request of this cost in scored entities.
    ///
    /// # Errors
    /// The model or entity is unknown, or the contract rejects its values.
    pub(super) async fn traced_at(
        self: &Arc<Self>,
        client: &Client,
        model: &ModelRef,
        entity: Entity,
        deadline: Option<Instant>,
        cost: usize,
    ) -> Result<Traced, Error> {
        client.check_model(&model.name)?;
        let permit = self.permit(client, 1, cost, 0)?;
        let servable = self.live().find(model)?.clone();
        servable.scorable()?;
        let now = time::now();
        let fetched = fetch(
            &servable,
            std::slice::from_ref(&entity),
            now,
            deadline,
            client.span(),
        )
        .await;
        let trace = trace(&servable, &entity, &fetched, now)?;
        Ok(Traced {
            servable,
            entity,
            trace,
            now,
            permit,
        })
    }

    /// Returns what a model sees of an entity.
    ///
    /// # Errors
    /// The model or entity is unknown, or the contract rejects its values.
    pub async fn features(
        self: &Arc<Self>,
        client: &Client,
        model: &ModelRef,
        id: EntityId,
        deadline: Option<Instant>,
    ) -> Result<EntityFeatures, Error> {
        let Traced {
            servable,
            trace,
            permit: _permit,
            ..
        } = self
            .traced(client, model, id, deadline, Wanted::default())
            .await?;
        let FeatureTrace {
            row,
            issues,
            as_of,
            from,
            unavailable,
        } = trace;
        let lists = issues.lists();
        let view = |(position, (&value, &as_of)): (usize, (&f64, &Option<f64>))| {
            let mut status: Vec<&str> = STATUSES
                .iter()
                .zip(lists)
                .filter(|(_, list)| list.contains(&position))
                .map(|(&label, _)| label)
                .collect();
            if status.is_empty() {
                status.push(PRESENT);
            }
            FeatureDetail { value, status, as_of }
        };
        let features = row.iter().zip(&as_of).enumerate().map(view).collect();
        Ok(EntityFeatures {
            model: servable.model.clone(),
            from,
            unavailable,
            features,
        })
    }
}
