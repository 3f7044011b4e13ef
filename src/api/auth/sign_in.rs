//! Sign-in of people: an API key for a session, and the check of sessions.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method};

use super::access::Role;
use super::keys::ApiKeys;
use super::sessions::{Session, Sessions};
use super::{client_of, cookie, missing_key, unknown_key};
use crate::config::PageSection;
use crate::error::Error;
use crate::file_backed::FileBacked;
use crate::scoring::Client;
use crate::values::time::now;

/// Begins, checks and ends sessions.
#[derive(Clone, Debug)]
pub(in crate::api) struct SignIn {
    keys: Arc<FileBacked<ApiKeys>>,
    sessions: Arc<Sessions>,
    tls: bool,
}

/// Who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct SignedIn {
    /// The name of the API key.
    pub(in crate::api) client: String,
    /// What it may do.
    pub(in crate::api) roles: Vec<Role>,
}

impl SignIn {
    /// Prepares sessions with the keys of the server; `tls` says whether its port has TLS.
    pub(super) fn start(
        section: &PageSection,
        keys: &Arc<FileBacked<ApiKeys>>,
        tls: bool,
    ) -> Result<Self, String> {
        Ok(Self {
            keys: keys.clone(),
            sessions: Arc::new(Sessions::start(section)?),
            tls,
        })
    }

    /// Begins a session with an API key, and returns its cookie.
    ///
    /// # Errors
    /// The key is not known, or the request comes from another site.
    pub(in crate::api) fn enter(&self, key: &str, headers: &HeaderMap) -> Result<HeaderValue, Error> {
        // Another site could sign a person in as somebody else, and read what they note.
        if cookie::tells_origin(headers) && !cookie::is_same_origin(&Method::POST, headers) {
            return Err(from_elsewhere());
        }
        let tag = {
            let keys = self.keys.get();
            let key = keys.find(key.trim().as_bytes()).ok_or_else(unknown_key)?;
            key.tag
        };
        let session = self.sessions.begin(tag, seconds())?;
        self.cookie(&session, self.tls || cookie::is_over_tls(headers))
    }

    /// Ends the session of a request, and returns the header that removes its cookie.
    pub(in crate::api) fn leave(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let (token, secure) = cookie::token(headers, self.tls)?;
        if cookie::is_same_origin(&Method::DELETE, headers)
            && let Some(session) = self.sessions.open(token, seconds())
        {
            self.sessions.finish(&session, seconds());
        }
        cookie::set("", 0, secure)
    }

    /// Tells who has signed in; `None` if nobody has, or the session has ended.
    pub(in crate::api) fn signed_in(&self, headers: &HeaderMap) -> Option<SignedIn> {
        let (session, _) = self.session(headers).ok()?;
        let keys = self.keys.get();
        let key = keys.find_tag(&session.key)?;
        Some(SignedIn {
            client: key.name.clone(),
            roles: key.granted(),
        })
    }

    /// Returns the client of a request with a session, and the cookie that renews it, if that is due.
    pub(super) fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        role: Role,
    ) -> Result<(Client, Option<HeaderValue>), Error> {
        let (session, secure) = self.session(headers)?;
        if !cookie::is_same_origin(method, headers) {
            return Err(from_elsewhere());
        }
        let keys = self.keys.get();
        let key = keys.find_tag(&session.key).ok_or_else(ended)?;
        let client = client_of(key, role)?;
        let renewed = self.sessions.renewed(&session, seconds());
        let cookie = renewed.map(|session| self.cookie(&session, secure)).transpose()?;
        Ok((client, cookie))
    }

    fn session(&self, headers: &HeaderMap) -> Result<(Session, bool), Error> {
        let (token, secure) = cookie::token(headers, self.tls).ok_or_else(missing_key)?;
        let session = self.sessions.open(token, seconds()).ok_or_else(ended)?;
        Ok((session, secure))
    }

    fn cookie(&self, session: &Session, secure: bool) -> Result<HeaderValue, Error> {
        let left = self.sessions.seconds_left(session, seconds());
        cookie::set(&self.sessions.seal(session), left, secure)
            .ok_or_else(|| Error::internal("the cookie of a session cannot be written"))
    }
}

fn ended() -> Error {
    Error::unauthenticated("the session has ended: sign in again".to_owned())
}

fn from_elsewhere() -> Error {
    Error::forbidden(
        "a request with a session must come from the page itself: expected `sec-fetch-site: same-origin`, or an `origin` \
         that is the host; programs send an API key instead"
            .to_owned(),
    )
}

/// The time in seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "whole seconds; a cast saturates")]
fn seconds() -> i64 {
    now() as i64
}
