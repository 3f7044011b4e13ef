//! Administration, on the operations port: what is there, and orders to the thread that loads models.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::body::{self, Body};
use super::models::{ModelBody, ModelsBody, model_body, models_body};
use crate::app::App;
use crate::config::models::ShareSection;
use crate::error::Error;
use crate::lifecycle::Command;

/// The routes.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/repository/refresh", post(refresh))
        .route("/v1/models/{model}/load", post(load))
        .route("/v1/models/{model}/unload", post(unload))
        .route("/v1/models/{model}/rollback", post(rollback))
        .route("/v1/models/{model}/release", post(release))
        .route(
            "/v1/models/{model}/labels/{label}",
            post(label).delete(drop_label),
        )
        .route("/v1/models/{model}/canary", post(canary).delete(end_canary))
        .route("/v1/models/{model}/shadow", post(shadow).delete(end_shadow))
}

/// A version, where one may be named.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VersionQueryBody {
    version: Option<u64>,
}

/// Where to go back to, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollbackBody {
    version: Option<u64>,
    reason: Option<String>,
    hold: bool,
}

type Named = Result<Path<String>, PathRejection>;
type CommandResult = Result<Json<Value>, Error>;

fn named(path: Named) -> Result<String, Error> {
    path.map(|Path(name)| name)
        .map_err(|rejection| Error::invalid(rejection.body_text()))
}

/// A JSON body, or the default where there is none.
fn optional<T: DeserializeOwned + Default>(body: Body) -> Result<T, Error> {
    let bytes = body::bytes(body)?;
    if bytes.is_empty() {
        Ok(T::default())
    } else {
        body::parse(&bytes)
    }
}

async fn order(app: &App, order: Command) -> CommandResult {
    let done = app.lifecycle.execute(order).await?;
    Ok(Json(json!({"done": done})))
}

async fn models(State(app): State<Arc<App>>) -> Json<ModelsBody> {
    Json(models_body(&app.scorer.live()))
}

async fn model(State(app): State<Arc<App>>, path: Named) -> Result<Json<ModelBody>, Error> {
    let name = named(path)?;
    let live = app.scorer.live();
    live.entry(&name)
        .map(|entry| Json(model_body(name.clone(), entry)))
}

async fn refresh(State(app): State<Arc<App>>) -> CommandResult {
    order(&app, Command::Refresh).await
}

async fn load(State(app): State<Arc<App>>, path: Named, body: Body) -> CommandResult {
    let VersionQueryBody { version } = optional(body)?;
    let model = named(path)?;
    order(&app, Command::Load { model, version }).await
}

async fn unload(State(app): State<Arc<App>>, path: Named, body: Body) -> CommandResult {
    let VersionQueryBody { version } = optional(body)?;
    let model = named(path)?;
    order(&app, Command::Unload { model, version }).await
}

async fn rollback(State(app): State<Arc<App>>, path: Named, body: Body) -> CommandResult {
    let RollbackBody {
        version,
        reason,
        hold,
    } = optional(body)?;
    let asked = Command::Rollback {
        model: named(path)?,
        version,
        reason: reason.unwrap_or_else(|| "asked for by an operator".to_owned()),
        hold,
    };
    order(&app, asked).await
}

async fn release(State(app): State<Arc<App>>, path: Named) -> CommandResult {
    let model = named(path)?;
    order(&app, Command::Release { model }).await
}

type NamedLabel = Result<Path<(String, String)>, PathRejection>;

async fn label(State(app): State<Arc<App>>, path: NamedLabel, body: Body) -> CommandResult {
    let VersionQueryBody { version } = body::json(body)?;
    if version.is_none() {
        return Err(Error::invalid(
            "version: which one should have the label?".to_owned(),
        ));
    }
    set_label(&app, path, version).await
}

async fn drop_label(State(app): State<Arc<App>>, path: NamedLabel) -> CommandResult {
    set_label(&app, path, None).await
}

async fn set_label(app: &App, path: NamedLabel, version: Option<u64>) -> CommandResult {
    let Path((model, label)) = path.map_err(|rejection| Error::invalid(rejection.body_text()))?;
    order(
        app,
        Command::Label {
            model,
            label,
            version,
        },
    )
    .await
}

async fn canary(State(app): State<Arc<App>>, path: Named, body: Body) -> CommandResult {
    let share: ShareSection = body::json(body)?;
    let model = named(path)?;
    let share = Some(share);
    order(&app, Command::Canary { model, share }).await
}

async fn end_canary(State(app): State<Arc<App>>, path: Named) -> CommandResult {
    let model = named(path)?;
    order(&app, Command::Canary { model, share: None }).await
}

async fn shadow(State(app): State<Arc<App>>, path: Named, body: Body) -> CommandResult {
    let share: ShareSection = body::json(body)?;
    let model = named(path)?;
    let share = Some(share);
    order(&app, Command::Shadow { model, share }).await
}

async fn end_shadow(State(app): State<Arc<App>>, path: Named) -> CommandResult {
    let model = named(path)?;
    order(&app, Command::Shadow { model, share: None }).await
}
