//! Page tokens: where a page ended, and of which ranking, order and filters. They are opaque to clients, who send them back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::order::{Order, Place};
use crate::error::Error;
use crate::values::entity_id::{EntityId, IdRef};

/// Marks the layout of a token.
const LAYOUT: u8 = 1;

/// Longest token in bytes of text: room for an id of some thousand bytes.
pub const MOST_TOKEN_BYTES: usize = 8192;

/// The number whose bits stand for no value in a token.
const NONE: u64 = u64::MAX;

const INT: u8 = 0;
const TEXT: u8 = 1;

/// What a token is for. It is of no use with anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenScope {
    /// The version of the model.
    pub(super) version: u64,
    /// The identity of the ranking.
    pub(super) ranking: [u8; 16],
    /// The order.
    pub(super) order: Order,
    /// The hash of the filters.
    pub(super) filters: u64,
}

/// A page token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PageToken {
    pub(super) scope: TokenScope,
    /// The score or the change of the last customer of the page.
    value: Option<f64>,
    /// The id of that customer.
    id: EntityId,
}

impl PageToken {
    /// The token of a page that ended at `place`.
    pub(super) fn new(scope: TokenScope, place: Place<'_>) -> Self {
        let id = match place.id {
            IdRef::Int(id) => EntityId::Int(id),
            IdRef::Text(id) => EntityId::Text(id.to_owned()),
        };
        Self {
            scope,
            value: place.value,
            id,
        }
    }

    /// Where the page ended.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            value: self.value,
            id: self.id.as_ref(),
        }
    }

    /// Writes the token.
    pub(super) fn encode(&self) -> String {
        let TokenScope {
            version,
            ranking,
            order,
            filters,
        } = self.scope;
        let mut bytes = vec![LAYOUT, order.code()];
        bytes.extend(version.to_le_bytes());
        bytes.extend(ranking);
        bytes.extend(filters.to_le_bytes());
        bytes.extend(self.value.map_or(NONE, f64::to_bits).to_le_bytes());
        match &self.id {
            EntityId::Int(id) => {
                bytes.push(INT);
                bytes.extend(id.to_le_bytes());
            }
            EntityId::Text(id) => {
                bytes.push(TEXT);
                bytes.extend(id.as_bytes());
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// It is not one of this server's tokens.
    pub(super) fn decode(text: &str) -> Result<Self, Error> {
        Self::read(text).ok_or_else(|| {
            Error::invalid(
                "page_token: expected next_page_token of the last page, unchanged; leave it out for the first page",
            )
            .about("page_token")
        })
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > MOST_TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = bytes.as_slice();
        if take::<1>(&mut rest)? != [LAYOUT] {
            return None;
        }
        let [order] = take::<1>(&mut rest)?;
        let scope = TokenScope {
            order: Order::of_code(order)?,
            version: u64::from_le_bytes(take(&mut rest)?),
            ranking: take(&mut rest)?,
            filters: u64::from_le_bytes(take(&mut rest)?),
        };
        let value = match u64::from_le_bytes(take(&mut rest)?) {
            NONE => None,
            bits => Some(f64::from_bits(bits))
                .filter(|value| value.is_finite())
                .map(Some)?,
        };
        let id = match take::<1>(&mut rest)? {
            [INT] => {
                let id = i64::from_le_bytes(take(&mut rest)?);
                rest.is_empty().then_some(EntityId::Int(id))?
            }
            [TEXT] => EntityId::Text(std::str::from_utf8(rest).ok()?.to_owned()),
            _ => return None,
        };
        Some(Self { scope, value, id })
    }

    /// Checks that the token is for this list.
    ///
    /// # Errors
    /// It is for another order or other filters, or for a ranking that is gone.
    pub(super) fn check(&self, scope: TokenScope) -> Result<(), Error> {
        if self.scope.order != scope.order || self.scope.filters != scope.filters {
            return Err(Error::invalid(
                "page_token: expected the order and the filters of the page that it is from; leave it out for the first page",
            )
            .about("page_token"));
        }
        if (self.scope.version, self.scope.ranking) != (scope.version, scope.ranking) {
            return Err(Error::command_refused(
                "page_token: the ranking that it is from has been replaced; begin again with the first page",
            )
            .about("page_token"));
        }
        Ok(())
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Reads a page token, for the fuzz targets: whether it is one, and whether it is written as it was read.
#[cfg(feature = "fuzzing")]
pub fn fuzz(text: &str) -> Option<bool> {
    let token = PageToken::decode(text).ok()?;
    Some(PageToken::decode(&token.encode()) == Ok(token))
}

#[cfg(test)]
mod tests {
    use super::super::order::OrderKey;
    use super::*;
    use crate::error::ErrorKind;

    fn scope() -> TokenScope {
        TokenScope {
            version: 7,
            ranking: *b"0123456789abcdef",
            order: Order::default(),
            filters: 42,
        }
    }

    fn token(value: Option<f64>, id: IdRef<'_>) -> PageToken {
        PageToken::new(scope(), Place { value, id })
    }

    #[test]
    fn a_token_survives_the_way_to_the_client_and_back() {
        for value in [Some(0.25), Some(-0.0), None, Some(f64::MIN_POSITIVE)] {
            for id in [IdRef::Int(i64::MIN), IdRef::Text(""), IdRef::Text("Zoë/1?&=")] {
                let token = token(value, id);
                let text = token.encode();
                assert!(
                    text.bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                );
                let read = PageToken::decode(&text).unwrap();
                assert_eq!(read.place().id, id);
                assert_eq!(read.place().value.map(f64::to_bits), value.map(f64::to_bits));
                assert!(read.check(scope()).is_ok());
            }
        }
    }

    #[test]
    fn a_token_is_of_no_use_with_another_list() {
        let token = token(Some(0.5), IdRef::Text("C-1"));
        let kind = |scope| token.check(scope).unwrap_err().kind();
        let other = TokenScope {
            filters: 43,
            ..scope()
        };
        assert_eq!(kind(other), ErrorKind::Invalid);
        let mut other = scope();
        other.order.key = OrderKey::Change;
        assert_eq!(kind(other), ErrorKind::Invalid);
        let other = TokenScope {
            version: 8,
            ..scope()
        };
        assert_eq!(kind(other), ErrorKind::CommandRefused);
        let ranking = [0; 16];
        assert_eq!(kind(TokenScope { ranking, ..scope() }), ErrorKind::CommandRefused);
    }

    #[test]
    fn nothing_else_is_a_token_and_nothing_panics() {
        let whole = token(Some(0.5), IdRef::Text("Zoë")).encode();
        for text in ["", "!", "AA", "é", "AQEA", &"A".repeat(MOST_TOKEN_BYTES + 4)] {
            assert!(PageToken::decode(text).is_err(), "{text}");
        }
        for end in 0..whole.len() {
            // Every part, and every part with another last letter.
            let _ = PageToken::decode(&whole[..end]);
            let _ = PageToken::decode(&format!("{}_", &whole[..end]));
        }
        let mut random = fastrand::Rng::with_seed(18);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(..96)).map(|_| random.u8(..)).collect();
            if let Some(first) = bytes.first_mut().filter(|_| random.bool()) {
                *first = LAYOUT;
            }
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            if let Ok(token) = PageToken::decode(&text) {
                assert_eq!(PageToken::decode(&token.encode()).unwrap(), token);
            }
        }
        let nan = token(Some(f64::NAN), IdRef::Int(1)).encode();
        assert!(PageToken::decode(&nan).is_err());
    }
}
