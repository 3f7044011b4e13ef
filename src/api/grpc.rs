//! The gRPC port: scoring, Open Inference, health and reflection services.

mod health;
mod open_inference;
mod options;
mod scoring;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use tonic_health::server::HealthReporter;

use super::auth::{ApiKind, Guard};
use super::body_timeout;
use super::body_timeout::BodyTimeout;
use super::context::ContextLayer;
use crate::app::App;
use crate::error::Error;

use options::with_options;

/// Generated messages and service traits of Evergreen's own services.
#[expect(
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated from proto/"
)]
mod proto {
    tonic::include_proto!("evergreen.v1");
    pub(super) const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("evergreen");
}

/// Generated messages and service trait of the Open Inference Protocol.
#[expect(
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated from proto/"
)]
mod inference {
    tonic::include_proto!("inference");
}

/// Builds the response to a request that the guard refused.
fn refuse(error: Error) -> Response {
    tonic::Status::from(error).into_http()
}

/// Returns the encoded `FileDescriptorSet` of every service and message, as reflection serves it.
pub fn descriptors() -> &'static [u8] {
    proto::DESCRIPTORS
}

/// Builds the router of the gRPC port behind the guard, and the handle that sets the health status.
///
/// # Errors
/// The embedded descriptors cannot be read.
pub fn router(app: &Arc<App>, guard: &Guard) -> Result<(Router, HealthReporter), String> {
    let metrics = guard.request_metrics();
    let (reporter, health) = health::service(app.closing.clone());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Older clients, such as grpcio, support only v1alpha.
    let v1 = reflection().build_v1().map_err(|error| error.to_string())?;
    let v1alpha = reflection().build_v1alpha().map_err(|error| error.to_string())?;
    let mut routes = tonic::service::Routes::builder();
    routes
        .add_service(scoring::service(app, metrics))
        .add_service(open_inference::service(app, metrics))
        .add_service(with_options!(health, app.config))
        .add_service(with_options!(v1, app.config))
        .add_service(with_options!(v1alpha, app.config));
    let router = routes.routes().prepare().into_axum_router();
    let router = router.layer(body_timeout::layer(app, select_timeout, |slow| {
        axum::Error::new(tonic::Status::deadline_exceeded(slow.to_string()))
    }));
    Ok((
        guard
            .protect(ApiKind::Grpc, router, refuse)
            .layer(ContextLayer::grpc()),
        reporter,
    ))
}

/// Selects the body timeout. Score streams have limits of their own; reflection streams end when the client ends them.
fn select_timeout(_: Option<&str>, path: &str) -> BodyTimeout {
    match path {
        "/evergreen.v1.ScoringService/ScoreStream" => BodyTimeout::Stream,
        path if path.starts_with("/grpc.reflection.") => BodyTimeout::Conversation,
        _ => BodyTimeout::Whole,
    }
}

/// Names in the health service: the whole server (empty) and each scoring service.
const HEALTH_SERVICES: [&str; 3] = ["", scoring::NAME, open_inference::NAME];

/// Ends the streams of health watchers, which would otherwise never end.
pub async fn end_health(reporter: &mut HealthReporter) {
    for service in HEALTH_SERVICES {
        reporter.clear_service_status(service).await;
    }
}

/// Sets the status of the health service from the server's readiness.
pub async fn report_health(reporter: &HealthReporter, ready: bool) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let status = if ready { Serving } else { NotServing };
    for service in HEALTH_SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
