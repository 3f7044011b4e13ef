//! `/v1/session`: people sign in to the page with an API key, and out again.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::body::Body;
use super::problem::Problems;
use super::schema::labels;
use crate::api::auth::{Role, SignedIn};
use crate::api::incoming::BodyLimit;
use crate::error::Error;

/// Maximum size of the body with a key, in bytes: whoever sends it is not known yet.
const BODY_BYTES: usize = 1024;

/// The routes of sessions.
pub(super) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(enter, show, leave))
        .layer(Extension(BodyLimit(BODY_BYTES)))
}

labels! {
    /// What a key may do.
    RoleName = Role::ALL.map(Role::label)
}

/// The key to sign in with.
#[derive(Deserialize, ToSchema)]
#[serde(
    deny_unknown_fields,
    expecting = r#"an object such as {"key": "evergreen_…"}"#
)]
pub(super) struct SignInBody {
    /// An API key. It is compared and forgotten.
    #[schema(example = "evergreen_0000000000000000000000000000000000000000000000000000000000000000")]
    key: String,
}

/// Who has signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionBody {
    /// The name of the API key; null without a session, and if requests need no key.
    #[schema(required = true, example = "sales-desk")]
    client: Option<String>,
    /// What the session may do; nothing if nobody has signed in.
    #[schema(value_type = Vec<RoleName>)]
    roles: Vec<&'static str>,
    /// Address of a customer in another system, with `{id}` where the id belongs (`page.customer_link`); null without one, and
    /// without a role.
    #[schema(required = true, example = "https://crm.example.com/customers/{id}")]
    customer_link: Option<String>,
}

/// Begins a session: the answer sets a cookie that stands for the API key. Scripts cannot read it. It ends after
/// `page.idle` without a request, after `page.session`, and when the key is withdrawn.
#[utoipa::path(
    post, path = "/v1/session", tag = "session",
    request_body(content = SignInBody),
    responses(
        (status = 204, description = "Signed in", headers(("Set-Cookie" = String, description = "The session."))),
        Problems,
    )
)]
pub(super) async fn enter(
    State(state): State<HttpState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let result = async {
        let body: SignInBody = body.json().await?;
        let sign_in = state.sign_in.as_ref().ok_or_else(|| {
            Error::command_refused(
                "there is nothing to sign in to: auth.file is not set, or page.enabled is false",
            )
        })?;
        let cookie = sign_in.enter(&body.key, &headers)?;
        Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
    };
    state.counters.session.count(result.await)
}

/// Tells who has signed in. Without a session there is no role.
#[utoipa::path(
    get, path = "/v1/session", tag = "session",
    responses(
        (status = 200, description = "The session", body = SessionBody),
        Problems,
    )
)]
pub(super) async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
) -> Result<Json<SessionBody>, Error> {
    let session = match &state.sign_in {
        Some(sign_in) => sign_in.signed_in(&headers).map(SessionBody::from),
        None if state.needs_keys => None,
        None => Some(SessionBody {
            client: None,
            roles: Role::ALL.map(Role::label).to_vec(),
            customer_link: None,
        }),
    };
    let nobody = SessionBody {
        client: None,
        roles: Vec::new(),
        customer_link: None,
    };
    let link = || Some(state.customer_link.to_string()).filter(|link| !link.is_empty());
    let body = session.map_or(nobody, |session| SessionBody {
        customer_link: link(),
        ..session
    });
    state.counters.session.count(Ok(body)).map(Json)
}

/// Ends the session on this server and removes its cookie.
#[utoipa::path(
    delete, path = "/v1/session", tag = "session",
    responses((status = 204, description = "Signed out"), Problems)
)]
pub(super) async fn leave(State(state): State<HttpState>, headers: HeaderMap) -> Result<Response, Error> {
    let cookie = state.sign_in.as_ref().and_then(|sign_in| sign_in.leave(&headers));
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    state.counters.session.count(Ok(response))
}

impl From<SignedIn> for SessionBody {
    fn from(SignedIn { client, roles }: SignedIn) -> Self {
        Self {
            client: Some(client),
            roles: roles.into_iter().map(Role::label).collect(),
            customer_link: None,
        }
    }
}
