//! Sessions of the web page. A session is a sealed token in a cookie: it names the API key by a tag, and when it began and
//! was last renewed, under a message authentication code (HMAC-SHA256). So the server keeps neither keys nor sessions,
//! servers with the same secret accept each other's sessions, and a session ends when its key is withdrawn.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::keys::KeyTag;
use crate::config::PageSection;
use crate::error::Error;
use crate::files;

/// First byte of a token, so that another layout is not taken for this one.
const LAYOUT: u8 = 1;

/// The parts of a token: layout, key, number of the session, beginning and renewal in seconds since 1970.
const PAYLOAD: usize = 1 + 16 + 16 + 8 + 8;
const TOKEN: usize = PAYLOAD + 32;

/// The least size of a secret in bytes.
const LEAST_SECRET: usize = 32;

/// Signed-out sessions that are remembered until they would have expired. Beyond it the oldest are forgotten.
const MOST_ENDED: usize = 10_000;

/// A session is renewed when this part of the idle time is over, so that not every answer carries a cookie.
const RENEWAL: i64 = 20;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) key: KeyTag,
    number: [u8; 16],
    began: i64,
    renewed: i64,
}

/// Seals and opens tokens.
pub(super) struct Sessions {
    seal: hmac::Key,
    idle: i64,
    longest: i64,
    /// The numbers of sessions that people have ended, with the time when they would have ended by themselves.
    ended: Mutex<BTreeMap<[u8; 16], i64>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Reads the secret, or draws one.
    ///
    /// # Errors
    /// The file cannot be read or is too short, or the random number generator failed.
    pub(super) fn start(section: &PageSection) -> Result<Self, String> {
        let secret = match section.secret.as_os_str().is_empty() {
            true => random::<32>().map_err(|error| error.to_string())?.to_vec(),
            false => read_secret(&section.secret)?,
        };
        let seconds = |span: crate::config::source::Span| i64::try_from(span.0.as_secs()).unwrap_or(i64::MAX);
        Ok(Self {
            seal: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            idle: seconds(section.idle),
            longest: seconds(section.session),
            ended: Mutex::default(),
        })
    }

    /// Begins a session of a key at a time in seconds since 1970.
    ///
    /// # Errors
    /// The random number generator failed.
    pub(super) fn begin(&self, key: KeyTag, now: i64) -> Result<Session, Error> {
        let number = random::<16>()?;
        Ok(Session {
            key,
            number,
            began: now,
            renewed: now,
        })
    }

    /// Writes a session as a token.
    pub(super) fn seal(&self, session: &Session) -> String {
        let mut token = Vec::with_capacity(TOKEN);
        token.push(LAYOUT);
        token.extend(session.key);
        token.extend(session.number);
        token.extend(session.began.to_be_bytes());
        token.extend(session.renewed.to_be_bytes());
        let code = hmac::sign(&self.seal, &token);
        token.extend(code.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Reads a token; `None` if it is not one of ours, or its session has ended.
    pub(super) fn open(&self, token: &[u8], now: i64) -> Option<Session> {
        if token.len() > 2 * TOKEN {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (payload, code) = token.split_at_checked(PAYLOAD)?;
        hmac::verify(&self.seal, payload, code).ok()?;
        let (layout, rest) = payload.split_first()?;
        let (key, rest) = rest.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<16>()?;
        let (began, rest) = rest.split_first_chunk::<8>()?;
        let (renewed, _) = rest.split_first_chunk::<8>()?;
        let session = Session {
            key: *key,
            number: *number,
            began: i64::from_be_bytes(*began),
            renewed: i64::from_be_bytes(*renewed),
        };
        let fresh = *layout == LAYOUT && now < self.end(&session);
        (fresh && !self.has_ended(&session)).then_some(session)
    }

    /// When a session ends by itself.
    fn end(&self, session: &Session) -> i64 {
        let idle = session.renewed.saturating_add(self.idle);
        idle.min(session.began.saturating_add(self.longest))
    }

    /// Seconds until a session ends in any case.
    pub(super) fn seconds_left(&self, session: &Session, now: i64) -> i64 {
        session
            .began
            .saturating_add(self.longest)
            .saturating_sub(now)
            .max(0)
    }

    /// The session with a new time of renewal, if it is due.
    pub(super) fn renewed(&self, session: &Session, now: i64) -> Option<Session> {
        let due = now.saturating_sub(session.renewed) > self.idle / RENEWAL;
        due.then_some(Session {
            renewed: now,
            ..*session
        })
    }

    /// Ends a session on this server before its time.
    pub(super) fn finish(&self, session: &Session, now: i64) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= MOST_ENDED {
            ended.retain(|_, end| *end > now);
        }
        if ended.len() >= MOST_ENDED {
            let first = ended
                .iter()
                .min_by_key(|(_, end)| **end)
                .map(|(number, _)| *number);
            first.and_then(|first| ended.remove(&first));
        }
        // It could have been renewed since, so the longest time counts.
        ended.insert(session.number, session.began.saturating_add(self.longest));
    }

    fn has_ended(&self, session: &Session) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.contains_key(&session.number)
    }
}

fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let text =
        files::read_text(path, files::SMALL).map_err(|error| format!("{}: {error}", path.display()))?;
    let secret = text.trim().as_bytes();
    if secret.len() < LEAST_SECRET {
        let (path, found) = (path.display(), secret.len());
        return Err(format!(
            "{path}: expected a secret of at least {LEAST_SECRET} bytes, such as the output of `openssl rand -hex 32`, \
             found {found}"
        ));
    }
    Ok(secret.to_vec())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the system's random number generator failed"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyTag = [7; 16];
    const HOUR: i64 = 3600;

    fn sessions() -> Sessions {
        Sessions::start(&PageSection::default()).unwrap()
    }

    #[test]
    fn a_token_is_valid_until_its_session_ends() {
        let sessions = sessions();
        let session = sessions.begin(KEY, 1000).unwrap();
        let token = sessions.seal(&session);
        assert_eq!(sessions.open(token.as_bytes(), 1000), Some(session));
        assert_eq!(
            sessions.open(token.as_bytes(), 1000 + 2 * HOUR - 1),
            Some(session)
        );
        assert_eq!(sessions.open(token.as_bytes(), 1000 + 2 * HOUR), None);
        // Renewal moves the idle time, not the longest time.
        assert_eq!(sessions.renewed(&session, 1060), None);
        let mut last = session;
        for hour in 1..12 {
            last = sessions.renewed(&last, 1000 + hour * HOUR).unwrap();
        }
        let token = sessions.seal(&last);
        assert!(sessions.open(token.as_bytes(), 1000 + 12 * HOUR - 1).is_some());
        assert_eq!(sessions.open(token.as_bytes(), 1000 + 12 * HOUR), None);
        assert_eq!(sessions.seconds_left(&last, 1000 + 11 * HOUR), HOUR);
    }

    #[test]
    fn a_signed_out_session_stays_ended() {
        let sessions = sessions();
        let session = sessions.begin(KEY, 0).unwrap();
        let other = sessions.begin(KEY, 0).unwrap();
        sessions.finish(&session, 1);
        let renewed = sessions.renewed(&session, HOUR).unwrap();
        assert_eq!(sessions.open(sessions.seal(&renewed).as_bytes(), HOUR), None);
        assert!(sessions.open(sessions.seal(&other).as_bytes(), HOUR).is_some());
        for _ in 0..MOST_ENDED + 10 {
            sessions.finish(&sessions.begin(KEY, 5).unwrap(), 5);
        }
        assert!(sessions.ended.lock().unwrap().len() <= MOST_ENDED);
    }

    #[test]
    fn what_was_changed_or_sealed_elsewhere_is_refused() {
        let sessions = sessions();
        let token = sessions.seal(&sessions.begin(KEY, 0).unwrap());
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(sessions.open(&changed, 1), None, "{position}");
        }
        for wrong in ["", "A", &token[1..], &format!("{token}A"), &"A".repeat(10_000)] {
            assert_eq!(sessions.open(wrong.as_bytes(), 1), None, "{wrong:.20}");
        }
        assert_eq!(self::sessions().open(token.as_bytes(), 1), None);
    }

    #[test]
    fn servers_with_one_secret_accept_each_others_sessions() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
        let section = PageSection {
            secret: secret.clone(),
            ..PageSection::default()
        };
        let [one, two] = [(); 2].map(|()| Sessions::start(&section).unwrap());
        let session = one.begin(KEY, 0).unwrap();
        assert_eq!(two.open(one.seal(&session).as_bytes(), 1), Some(session));
        std::fs::write(&secret, "short").unwrap();
        let error = Sessions::start(&section).unwrap_err();
        assert!(
            error.contains("at least 32 bytes") && error.contains("found 5"),
            "{error}"
        );
    }
}
