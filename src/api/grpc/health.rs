//! The gRPC health service. tonic's own ends a watch of an unknown service with an error; the protocol wants the status
//! `SERVICE_UNKNOWN` and an open stream.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

/// Builds the service, and the handle that sets the statuses. `closing` ends the watches of unknown services.
pub(super) fn service(closing: CancellationToken) -> (HealthReporter, HealthServer<WatchableHealth>) {
    let reporter = HealthReporter::new();
    let known = HealthService::from_health_reporter(reporter.clone());
    (reporter, HealthServer::new(WatchableHealth { known, closing }))
}

/// Health of the known services, and watches of any name.
#[derive(Debug)]
pub(super) struct WatchableHealth {
    known: HealthService,
    closing: CancellationToken,
}

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for WatchableHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.known.check(request).await
    }

    type WatchStream = Statuses;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        match self.known.watch(request).await {
            Ok(response) => Ok(response.map(|statuses| Box::pin(statuses) as Statuses)),
            Err(status) if status.code() == Code::NotFound => Ok(Response::new(self.unknown())),
            Err(status) => Err(status),
        }
    }
}

impl WatchableHealth {
    /// One status, then silence until the server stops: services never appear while it runs.
    fn unknown(&self) -> Statuses {
        let unknown = HealthCheckResponse {
            status: ServingStatus::ServiceUnknown.into(),
        };
        let closing = self.closing.clone();
        let end = stream::once(async move { closing.cancelled().await });
        let statuses = stream::once(async move { Ok(unknown) });
        Box::pin(statuses.chain(end.filter_map(|()| async { None })))
    }
}
