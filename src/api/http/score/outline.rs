//! What a scoring request asks for, read without its content: a server that is full refuses it before it is parsed.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::scoring::Wanted;

/// The parts of a request that decide what it costs. Everything else is left to the parser.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outline {
    entities: Elements,
    explain: usize,
    explain_raising: usize,
    explain_lowering: usize,
}

/// The number of elements of a list.
#[derive(Debug, Default)]
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

/// The number of entities and the reasons of a request; `None` if it is not plain JSON, which the parser judges.
pub(super) fn outline(text: &[u8]) -> Option<(usize, Wanted)> {
    let outline: Outline = serde_json::from_slice(text).ok()?;
    let wanted = Wanted {
        strongest: outline.explain,
        raising: outline.explain_raising,
        lowering: outline.explain_lowering,
    };
    Some((outline.entities.0, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_counted_and_not_read() {
        let text =
            br#"{"model": "m", "explain": 2, "entities": [{"id": "}]{"}, {"features": {"a": [1, {}]}}, 3]}"#;
        let (entities, wanted) = outline(text).unwrap();
        assert_eq!((entities, wanted.most()), (3, 2));
        assert_eq!(outline(b"{}").map(|(entities, _)| entities), Some(0));
        for broken in ["{", r#"{"entities": 3}"#, r#"{"entities": [NaN]}"#] {
            assert!(outline(broken.as_bytes()).is_none(), "{broken}");
        }
    }
}
