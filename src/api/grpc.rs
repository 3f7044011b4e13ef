//! gRPC: the scoring service, health and reflection.

mod open_inference;
mod options;
mod scoring;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use tonic_health::server::HealthReporter;

use super::auth::{Guard, PortApi};
use super::body_timeout;
use super::body_timeout::BodyTimeout;
use super::context::ContextLayer;
use crate::app::App;
use crate::error::Error;

use options::with_options;

/// The generated messages and service traits.
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

/// The messages and service of the Open Inference Protocol.
#[expect(
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated from proto/"
)]
mod inference {
    tonic::include_proto!("inference");
}

/// Answers a request that the guard refused.
fn refuse(_: &str, error: Error) -> Response {
    tonic::Status::from(error).into_http()
}

/// The descriptors of every service and message, as reflection serves them: an encoded `FileDescriptorSet`.
pub fn descriptors() -> &'static [u8] {
    proto::DESCRIPTORS
}

/// The services of the gRPC port behind the guard, and the handle that says whether they are healthy.
///
/// # Errors
/// The embedded descriptors cannot be read.
pub fn router(app: &Arc<App>, guard: &Guard) -> Result<(Router, HealthReporter), String> {
    let metrics = guard.request_metrics();
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Older clients, grpcio's among them, only ask for v1alpha.
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
    let router = router.layer(body_timeout::layer(app, patience, |slow| {
        axum::Error::new(tonic::Status::deadline_exceeded(slow.to_string()))
    }));
    Ok((
        guard.protect(PortApi::Grpc, router, refuse).layer(ContextLayer),
        reporter,
    ))
}

/// A batch of a stream is read when there is room for it; reflection goes on until its client has seen enough.
fn patience(_: Option<&str>, path: &str) -> BodyTimeout {
    match path {
        "/evergreen.v1.ScoringService/ScoreStream" => BodyTimeout::Stream,
        path if path.starts_with("/grpc.reflection.") => BodyTimeout::Conversation,
        _ => BodyTimeout::Whole,
    }
}

/// What health is asked of: the server, and each scoring service.
const WATCHED: [&str; 3] = ["", scoring::NAME, open_inference::NAME];

/// Ends the streams of those who watch the health service: they would stay for ever.
pub async fn end_health(reporter: &mut HealthReporter) {
    for service in WATCHED {
        reporter.clear_service_status(service).await;
    }
}

/// Makes the health service say what readiness says.
pub async fn report_health(reporter: &HealthReporter, ready: bool) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let status = if ready { Serving } else { NotServing };
    for service in WATCHED {
        reporter.set_service_status(service, status).await;
    }
}
