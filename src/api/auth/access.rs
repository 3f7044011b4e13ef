//! The role that each operation needs. An operation that is not listed needs `administer`.

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Score entities and read their features
    Score,
    /// Read models and their versions; every key may
    Read,
    /// Record what became of customers
    Record,
    /// Load, unload and roll back versions, empty caches
    Administer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Score, Self::Read, Self::Record, Self::Administer];

    /// The name in the key file and in answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Read => "read",
            Self::Record => "record",
            Self::Administer => "administer",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// The route of sessions.
pub(super) const SESSION: &str = "/v1/session";

/// Who may use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone, without a key.
    Open,
    /// Keys with this role.
    Needs(Role),
}

const SCORE: Access = Access::Needs(Role::Score);
const READ: Access = Access::Needs(Role::Read);
const RECORD: Access = Access::Needs(Role::Record);
const ADMINISTER: Access = Access::Needs(Role::Administer);

/// Returns the access that a REST route needs; `None` is a path that matches no route.
pub(super) fn rest(method: &Method, route: Option<&str>) -> Access {
    let reads = method == Method::GET || method == Method::HEAD;
    match route {
        Some("/openapi.json" | "/v2/health/live" | "/v2/health/ready") => Access::Open,
        // The page holds no data. Who signs in has no session yet; who has one is asked by the handler.
        Some("/" | "/model" | "/customers/{id}" | SESSION) => Access::Open,
        Some(route) if route.starts_with("/assets/") => Access::Open,
        Some(route) if route.starts_with("/docs") => Access::Open,
        Some(
            "/v1/score"
            | "/v1/models/{model}/scores"
            | "/v1/models/{model}/scores/{id}"
            | "/v1/models/{model}/scores/{id}/paths"
            | "/v1/models/{model}/scores/{id}/changes"
            | "/v1/models/{model}/scores/{id}/history"
            | "/v1/models/{model}/what-if"
            | "/v1/models/{model}/features/{id}"
            | "/v1/models/{model}/ranking"
            | "/v2/models/{model}/infer"
            | "/v2/models/{model}/versions/{version}/infer",
        ) => SCORE,
        // What was done about a customer is read by who reads the score.
        Some("/v1/outcomes") if reads => SCORE,
        Some("/v1/outcomes") => RECORD,
        Some(
            "/v1/models"
            | "/v1/models/{model}"
            | "/v1/models/{model}/drift"
            | "/v1/models/{model}/performance"
            | "/v2"
            | "/v2/models/stats"
            | "/v2/repository/index"
            | "/v2/models/{model}"
            | "/v2/models/{model}/ready"
            | "/v2/models/{model}/config"
            | "/v2/models/{model}/stats"
            | "/v2/models/{model}/versions/{version}"
            | "/v2/models/{model}/versions/{version}/ready"
            | "/v2/models/{model}/versions/{version}/config"
            | "/v2/models/{model}/versions/{version}/stats",
        )
        // Unknown routes need only `read`.
        | None => READ,
        Some(_) => ADMINISTER,
    }
}

/// Returns the access that a gRPC path (`/service/method`) needs.
pub(super) fn grpc(path: &str) -> Access {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    match (service, method) {
        ("grpc.health.v1.Health", _) => Access::Open,
        (service, _) if service.starts_with("grpc.reflection.") => Access::Open,
        ("inference.GRPCInferenceService", "ServerLive" | "ServerReady") => Access::Open,
        (
            "evergreen.v1.ScoringService",
            "Score" | "ScoreStream" | "GetPaths" | "GetChanges" | "ListRanking" | "RankIds",
        )
        | ("inference.GRPCInferenceService", "ModelInfer") => SCORE,
        ("evergreen.v1.ScoringService", "ListModels" | "GetModel")
        | (
            "inference.GRPCInferenceService",
            "ServerMetadata" | "ModelReady" | "ModelMetadata" | "ModelConfig" | "ModelStatistics"
            | "RepositoryIndex",
        ) => READ,
        _ => ADMINISTER,
    }
}

/// Returns the access that a route of the operations port needs.
pub(super) fn operations(method: &Method, route: Option<&str>) -> Access {
    match route {
        Some("/livez" | "/readyz" | "/metrics") => Access::Open,
        None => READ,
        Some(_) if method == Method::GET || method == Method::HEAD => READ,
        Some(_) => ADMINISTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_operation_of_the_openapi_description() {
        for path in crate::api::http::openapi().paths.paths.keys() {
            let changes = path.starts_with("/v2/repository/models/");
            assert_eq!(rest(&Method::POST, Some(path)) == ADMINISTER, changes, "{path}");
        }
    }

    #[test]
    fn unknown_operations_need_administer_and_unknown_paths_need_a_key() {
        assert_eq!(rest(&Method::GET, Some("/v1/models/{model}/new")), ADMINISTER);
        assert_eq!(grpc("/evergreen.v1.NewService/New"), ADMINISTER);
        assert_eq!(grpc("nonsense"), ADMINISTER);
        assert_eq!(
            (rest(&Method::GET, None), operations(&Method::PUT, None)),
            (READ, READ)
        );
    }

    #[test]
    fn probes_and_reflection_need_no_key_and_scores_need_one() {
        for path in [
            "/grpc.health.v1.Health/Check",
            "/inference.GRPCInferenceService/ServerReady",
        ] {
            assert_eq!(grpc(path), Access::Open, "{path}");
        }
        assert_eq!(operations(&Method::GET, Some("/readyz")), Access::Open);
        for path in [
            "/v1/score",
            "/v1/models/{model}/scores",
            "/v1/models/{model}/scores/{id}",
        ] {
            assert_eq!(rest(&Method::POST, Some(path)), SCORE, "{path}");
        }
        assert_eq!(grpc("/evergreen.v1.ScoringService/ScoreStream"), SCORE);
        assert_eq!(rest(&Method::GET, Some("/v1/models")), READ);
        assert_eq!(rest(&Method::POST, Some("/v1/outcomes")), RECORD);
        assert_eq!(rest(&Method::GET, Some("/v1/outcomes")), SCORE);
        assert_eq!(rest(&Method::PUT, Some("/v1/outcomes")), RECORD);
    }

    #[test]
    fn changes_need_administer() {
        for path in ["load", "unload"] {
            let path = format!("/v2/repository/models/{{model}}/{path}");
            assert_eq!(rest(&Method::POST, Some(&path)), ADMINISTER);
        }
        assert_eq!(
            grpc("/inference.GRPCInferenceService/RepositoryModelLoad"),
            ADMINISTER
        );
        assert_eq!(grpc("/evergreen.v1.ScoringService/Scores"), ADMINISTER);
        assert_eq!(
            operations(&Method::POST, Some("/v1/models/{model}/load")),
            ADMINISTER
        );
        assert_eq!(operations(&Method::DELETE, Some("/cache")), ADMINISTER);
        assert_eq!(operations(&Method::GET, Some("/v1/models")), READ);
        assert_eq!(operations(&Method::HEAD, Some("/v1/models")), READ);
        assert_eq!(operations(&Method::GET, Some("/metrics")), Access::Open);
    }
}
