//! Paths to one value in a JSON document: the part of JSONPath (RFC 9535) that selects exactly one value, such as
//! `$.events.subscribe_hover.count`, `$['odd key'].x` or `$.visits[0]`. A full JSONPath selects many values, which a feature
//! cannot use.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JsonPath(Vec<JsonStep>);

#[derive(Clone, Debug, PartialEq)]
enum JsonStep {
    Key(String),
    /// Counted from the end if negative.
    Index(i64),
}

impl JsonPath {
    /// Parses a path that begins with `$`.
    ///
    /// # Errors
    /// The path is not valid; the message says where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |rest: &str| {
            format!(
                "`{text}`: expected a path to one value such as $.a.b, $['a b'] or $.a[0], found `{rest}`"
            )
        };
        let mut rest = text.strip_prefix('$').ok_or_else(|| wrong(text))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest).ok_or_else(|| wrong(rest))?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() {
            return Err(wrong(text));
        }
        Ok(Self(steps))
    }

    /// The value at the end of the path.
    pub(super) fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |value, step| match step {
            JsonStep::Key(key) => value.get(key),
            JsonStep::Index(index) => {
                let list = value.as_array()?;
                let from_end = usize::try_from(index.unsigned_abs()).ok()?;
                list.get(if *index < 0 {
                    list.len().checked_sub(from_end)?
                } else {
                    from_end
                })
            }
        })
    }
}

/// The first step of a path and the rest.
fn step(text: &str) -> Option<(JsonStep, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (key, rest) = rest.split_at(end);
        return (!key.is_empty() && key != "*").then(|| (JsonStep::Key(key.to_owned()), rest));
    }
    let rest = text.strip_prefix('[')?;
    if let Some(quote @ ('\'' | '"')) = rest.chars().next() {
        let (key, rest) = rest[1..].split_once(quote)?;
        return Some((JsonStep::Key(key.to_owned()), rest.strip_prefix(']')?));
    }
    let (index, rest) = rest.split_once(']')?;
    Some((JsonStep::Index(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_one_value() {
        let document: Value =
            serde_json::from_str(r#"{"events": {"hover": {"count": 3}, "a:b c": [1, {"x": null}]}}"#)
                .unwrap();
        let find = |path: &str| JsonPath::parse(path).unwrap().find(&document).cloned();
        assert_eq!(find("$.events.hover.count"), Some(3.into()));
        assert_eq!(find("$.events['a:b c'][1].x"), Some(Value::Null));
        assert_eq!(find("$.events['a:b c'][-2]"), Some(1.into()));
        assert_eq!(find("$.events['a:b c'][-3]"), None);
        assert_eq!(find("$[\"events\"].nothing.count"), None);
        assert_eq!(find("$.events.hover[0]"), None);
        for path in ["$", "events", "$..count", "$.a[*]", "$.a[", "$.*", "$x", "$['a'"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
