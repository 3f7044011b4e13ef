//! The gRPC port: scoring, Open Inference, health and reflection services.

mod codec;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod open_inference;
mod options;
mod scoring;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tonic_health::server::HealthReporter;

use super::auth::{ApiKind, Guard};
use super::context::ContextLayer;
use super::incoming;
use super::incoming::BodyTimeout;
use super::precheck::CheckLayer;
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

/// Maximum size of a request for health or reflection, in bytes.
const SMALL_MESSAGE: usize = 64 << 10;

/// Refuses what is no gRPC: another method, or another type of content.
fn not_grpc(request: &mut Request) -> Option<Response> {
    if request.method() != Method::POST {
        return Some((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response());
    }
    let content = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    let grpc = content.and_then(|content| content.strip_prefix(b"application/grpc"));
    // The type itself, or with a format or a parameter: `application/grpc+proto`.
    let known = grpc.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
    (!known).then(|| StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response())
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
        .add_service(with_options!(health, SMALL_MESSAGE))
        .add_service(with_options!(v1, SMALL_MESSAGE))
        .add_service(with_options!(v1alpha, SMALL_MESSAGE));
    let router = routes.routes().prepare().into_axum_router();
    let router = router.layer(incoming::layer(app, select_timeout, true, |ended| {
        axum::Error::new(tonic::Status::from(Error::from(ended)))
    }));
    Ok((
        guard
            .protect(ApiKind::Grpc, router, refuse)
            .layer((ContextLayer::grpc(app), CheckLayer(not_grpc))),
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
