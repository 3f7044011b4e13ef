//! What a scoring request asks for, read without its content: a server that is full refuses it before it is parsed.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::scoring::Wanted;
use crate::values::json::standard;

/// A longer name is no model's; it is left to the parser.
const LONGEST_NAME: usize = 256;

/// The parts of a request that decide whether it is admitted.
#[derive(Debug)]
pub(super) struct Outline {
    /// The name of the model.
    pub(super) model: String,
    /// The number of entities.
    pub(super) entities: usize,
    /// The wanted reasons.
    pub(super) explain: Wanted,
}

/// The same as in the text. Everything else is left to the parser.
#[derive(Deserialize)]
struct OutlineBody {
    model: String,
    entities: Elements,
    #[serde(default)]
    explain: usize,
    #[serde(default)]
    explain_raising: usize,
    #[serde(default)]
    explain_lowering: usize,
}

/// The number of elements of a list.
struct Elements(usize);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;
        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Elements;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Elements(count))
            }
        }
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

/// Reads the outline of a request; `None` if it has none, which the parser judges.
pub(super) fn outline(text: &[u8]) -> Option<Outline> {
    let body: OutlineBody = serde_json::from_slice(&standard(text)).ok()?;
    Some(Outline {
        model: Some(body.model).filter(|name| name.len() <= LONGEST_NAME)?,
        entities: body.entities.0,
        explain: Wanted {
            strongest: body.explain,
            raising: body.explain_raising,
            lowering: body.explain_lowering,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_counted_and_not_read() {
        let text = br#"{"model": "m", "explain": 2, "entities": [{"id": "}]{"}, {"features": {"a": [NaN, {}]}}, 3]}"#;
        let outline_of = |text: &str| outline(text.as_bytes());
        let found = outline(text).unwrap();
        assert_eq!(
            (found.model.as_str(), found.entities, found.explain.most()),
            ("m", 3, 2)
        );
        for broken in ["{", "{}", r#"{"model": "m", "entities": 3}"#] {
            assert!(outline_of(broken).is_none(), "{broken}");
        }
        let long = "m".repeat(LONGEST_NAME + 1);
        assert!(outline_of(&format!(r#"{{"model": "{long}", "entities": []}}"#)).is_none());
    }
}
