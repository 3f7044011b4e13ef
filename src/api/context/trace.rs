//! W3C Trace Context: reads `traceparent`, returns `traceresponse`.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::spans::ParentSpan;

const TRACEPARENT: &str = "traceparent";

/// Response header of the W3C draft, with the trace id and this server's span id.
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Length of `00-<trace>-<parent>-<flags>` in bytes. Later versions may add fields after another dash.
const LENGTH: usize = 55;

/// The flags of version 00 and level 2: sampled, random.
const FLAGS: u8 = 0b11;

/// The flag of a sampled trace.
const SAMPLED: u8 = 0b01;

/// A trace id.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceId(pub(super) u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A trace that a client started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    id: u128,
    flags: u8,
    /// The client's span id.
    parent: u64,
    /// This server's span id.
    span: u64,
}

impl Trace {
    /// Reads a request's trace. An invalid header counts as none, as the specification requires.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (id, parent, flags) = parse(values.next()?.as_bytes())?;
        if values.next().is_some() {
            return None;
        }
        let span = fastrand::u64(1..);
        Some(Self {
            id,
            flags,
            parent,
            span,
        })
    }

    /// The trace of a sampled span of this server.
    pub(super) fn sampled(id: u128, span: u64) -> Self {
        Self {
            id,
            flags: SAMPLED,
            parent: 0,
            span,
        }
    }

    /// The client's span.
    pub(super) fn parent(&self) -> ParentSpan {
        ParentSpan {
            trace: self.id,
            span: self.parent,
            sampled: self.flags & SAMPLED != 0,
        }
    }

    /// Returns the trace id, which displays as 32 hexadecimal digits.
    pub(super) fn id(&self) -> TraceId {
        TraceId(self.id)
    }

    /// Returns the response header.
    pub(super) fn response(&self) -> Option<(HeaderName, HeaderValue)> {
        let Self { id, flags, span, .. } = self;
        let value = HeaderValue::try_from(format!("00-{id:032x}-{span:016x}-{flags:02x}"));
        Some((TRACERESPONSE, value.ok()?))
    }
}

/// Parses the trace id, the client's span id and the flags.
fn parse(text: &[u8]) -> Option<(u128, u64, u8)> {
    let (head, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = head.split(|&byte| byte == b'-');
    let version = hex(parts.next()?, 2)?;
    let id = hex(parts.next()?, 32)?;
    let parent = hex(parts.next()?, 16)?;
    let flags = hex(parts.next()?, 2)?;
    let ended = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    let valid = ended && parts.next().is_none() && id != 0 && parent != 0;
    valid.then_some((id, u64::try_from(parent).ok()?, u8::try_from(flags).ok()? & FLAGS))
}

/// Parses exactly `count` lower-case hexadecimal digits.
fn hex(digits: &[u8], count: usize) -> Option<u128> {
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != count || !digits.iter().all(lower) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_a_trace_as_specified() {
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(parse(VALID.as_bytes()), Some((id, 0xb7ad_6b71_6920_3331, 1)));
        let later = format!("cc{}-what-comes-later", &VALID[2..]);
        assert_eq!(parse(later.as_bytes()), Some((id, 0xb7ad_6b71_6920_3331, 1)));
        for wrong in [
            String::new(),
            VALID.to_uppercase(),
            format!("{VALID}-more"),
            format!("ff{}", &VALID[2..]),
            VALID.replace('-', "_"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
            format!("cc{}x", &VALID[2..]),
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn ignores_two_traces() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(Trace::read(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(Trace::read(&headers).is_none());
    }
}
