//! Lines for machines: one JSON object per event, with its fields beside `timestamp`, `level`, `message` and `target`, and
//! the spans around it.

use jiff::Timestamp;
use tracing::Metadata;

use super::fields::{Fields, LINE_BYTES, Value};

/// Writes a line without its end.
pub(super) fn line(
    time: Timestamp,
    metadata: &Metadata<'_>,
    event: &Fields,
    spans: &[(&'static str, String)],
) -> String {
    let mut out = format!(
        r#"{{"timestamp":"{time:.6}","level":"{}","message":"#,
        metadata.level()
    );
    push_text(&mut out, &event.message);
    out.push_str(&members(event));
    out.push_str(r#","target":"#);
    push_text(&mut out, metadata.target());
    let spans: Vec<String> = spans
        .iter()
        .map(|(name, fields)| format!(r#"{{"name":"{name}"{fields}}}"#))
        .collect();
    if let Some(innermost) = spans.last() {
        out.push_str(r#","span":"#);
        out.push_str(innermost);
        out.push_str(r#","spans":["#);
        out.push_str(&spans.join(","));
        out.push(']');
    }
    out.push('}');
    out
}

/// Writes fields as members of an object that has others before them.
pub(super) fn members(fields: &Fields) -> String {
    let mut out = String::new();
    for (name, value) in &fields.values {
        if out.len() > LINE_BYTES {
            out.push_str(r#","cut":true"#);
            break;
        }
        out.push(',');
        push_text(&mut out, name);
        out.push(':');
        match value {
            Value::Plain(text) => out.push_str(text),
            Value::Text(text) | Value::Quoted(text) => push_text(&mut out, text),
        }
    }
    out
}

fn push_text(out: &mut String, text: &str) {
    // Cannot fail: a string is always valid JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_json_whatever_they_hold() {
        let fields = Fields {
            message: String::new(),
            values: vec![
                ("count", Value::Plain("3".to_owned())),
                ("reason", Value::Quoted("a\n\"\u{1b}".to_owned())),
            ],
        };
        let object: serde_json::Value =
            serde_json::from_str(&format!(r#"{{"first":1{}}}"#, members(&fields))).unwrap();
        assert_eq!(
            (object["count"].as_u64(), object["reason"].as_str()),
            (Some(3), Some("a\n\"\u{1b}"))
        );
    }
}
