//! Administration on the operations port: reads model states and sends commands to the lifecycle thread.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::models::{ModelBody, ModelsBody, model_body, models_body};
use super::parameters::{PathParameters, path};
use crate::api::client::RequestClient;
use crate::app::App;
use crate::config::models::ShareSection;
use crate::error::Error;
use crate::lifecycle::Command;

/// Returns the administration routes.
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

/// Body with an optional version.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = r#"an object such as {"version": 3}"#
)]
struct VersionQueryBody {
    version: Option<u64>,
}

/// Body of a rollback: the version to return to, the reason, and whether to stay there.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = r#"an object such as {"version": 3, "reason": "wrong bands", "hold": true}"#
)]
struct RollbackBody {
    version: Option<u64>,
    reason: Option<String>,
    hold: bool,
}

type ModelName = PathParameters<String>;
type CommandResult = Result<Json<Value>, Error>;

async fn execute(app: &App, command: Command) -> CommandResult {
    let done = app.lifecycle.execute(command).await?;
    Ok(Json(json!({"done": done})))
}

async fn models(State(app): State<Arc<App>>, RequestClient(client): RequestClient) -> Json<ModelsBody> {
    Json(models_body(&app.scorer.live(), &client))
}

async fn model(State(app): State<Arc<App>>, parameters: ModelName) -> Result<Json<ModelBody>, Error> {
    let name = path(parameters)?;
    let live = app.scorer.live();
    live.entry(&name)
        .map(|entry| Json(model_body(name.clone(), entry)))
}

async fn refresh(State(app): State<Arc<App>>) -> CommandResult {
    execute(&app, Command::Refresh).await
}

async fn load(State(app): State<Arc<App>>, parameters: ModelName, body: Body) -> CommandResult {
    let VersionQueryBody { version } = body.json_or_default().await?;
    let model = path(parameters)?;
    execute(&app, Command::Load { model, version }).await
}

async fn unload(State(app): State<Arc<App>>, parameters: ModelName, body: Body) -> CommandResult {
    let VersionQueryBody { version } = body.json_or_default().await?;
    let model = path(parameters)?;
    execute(&app, Command::Unload { model, version }).await
}

async fn rollback(State(app): State<Arc<App>>, parameters: ModelName, body: Body) -> CommandResult {
    let RollbackBody {
        version,
        reason,
        hold,
    } = body.json_or_default().await?;
    let command = Command::Rollback {
        model: path(parameters)?,
        version,
        reason: reason.unwrap_or_else(|| "requested by an operator".to_owned()),
        hold,
    };
    execute(&app, command).await
}

async fn release(State(app): State<Arc<App>>, parameters: ModelName) -> CommandResult {
    let model = path(parameters)?;
    execute(&app, Command::Release { model }).await
}

type ModelLabel = PathParameters<(String, String)>;

async fn label(State(app): State<Arc<App>>, parameters: ModelLabel, body: Body) -> CommandResult {
    let VersionQueryBody { version } = body.json().await?;
    if version.is_none() {
        return Err(Error::invalid(
            "version: missing; expected the version for the label, such as {\"version\": 8}".to_owned(),
        )
        .about("version"));
    }
    set_label(&app, parameters, version).await
}

async fn drop_label(State(app): State<Arc<App>>, parameters: ModelLabel) -> CommandResult {
    set_label(&app, parameters, None).await
}

async fn set_label(app: &App, parameters: ModelLabel, version: Option<u64>) -> CommandResult {
    let (model, label) = path(parameters)?;
    execute(
        app,
        Command::Label {
            model,
            label,
            version,
        },
    )
    .await
}

async fn canary(State(app): State<Arc<App>>, parameters: ModelName, body: Body) -> CommandResult {
    let share: ShareSection = body.json().await?;
    let model = path(parameters)?;
    let share = Some(share);
    execute(&app, Command::Canary { model, share }).await
}

async fn end_canary(State(app): State<Arc<App>>, parameters: ModelName) -> CommandResult {
    let model = path(parameters)?;
    execute(&app, Command::Canary { model, share: None }).await
}

async fn shadow(State(app): State<Arc<App>>, parameters: ModelName, body: Body) -> CommandResult {
    let share: ShareSection = body.json().await?;
    let model = path(parameters)?;
    let share = Some(share);
    execute(&app, Command::Shadow { model, share }).await
}

async fn end_shadow(State(app): State<Arc<App>>, parameters: ModelName) -> CommandResult {
    let model = path(parameters)?;
    execute(&app, Command::Shadow { model, share: None }).await
}
