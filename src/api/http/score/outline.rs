//! What a scoring request asks for, read without its content: a server that is full refuses it before it is parsed. Under
//! overload most requests come no further, so this reads each byte once and judges only what it needs.

use std::borrow::Cow;

use crate::scoring::Wanted;

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

/// Most bytes of a name in JSON, with six for each character and the quotes; and of a number.
const NAME_BYTES: usize = 6 * LONGEST_NAME + 2;
const NUMBER_BYTES: usize = 20;

/// Reads the outline of a request; `None` if it has none, which the parser judges.
pub(super) fn outline(text: &[u8]) -> Option<Outline> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut scanner = Scanner { text, at: 0 };
    let (mut model, mut entities) = (None, None);
    let mut explain = Wanted::default();
    scanner.expect(b'{')?;
    loop {
        let key = scanner.value()?;
        scanner.expect(b':')?;
        let value = scanner.value()?;
        match name(&key)?.as_ref() {
            "model" => model = Some(value),
            "entities" => entities = Some(value),
            "explain" => explain.strongest = number(&value)?,
            "explain_raising" => explain.raising = number(&value)?,
            "explain_lowering" => explain.lowering = number(&value)?,
            _ => {}
        }
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    Some(Outline {
        model: name(&model?)?.into_owned(),
        entities: entities.filter(|list| list.text.first() == Some(&b'['))?.elements,
        explain,
    })
}

/// A key or a name of a model, if it is short enough to be one.
fn name<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    let text = Some(value.text).filter(|text| text.len() <= NAME_BYTES)?;
    let inside = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let name = match inside.contains(&b'\\') {
        true => Cow::Owned(serde_json::from_slice(text).ok()?),
        false => Cow::Borrowed(std::str::from_utf8(inside).ok()?),
    };
    Some(name).filter(|name| name.len() <= LONGEST_NAME)
}

fn number(value: &Value<'_>) -> Option<usize> {
    let text = Some(value.text).filter(|text| text.len() <= NUMBER_BYTES)?;
    serde_json::from_slice(text).ok()
}

/// A value of JSON.
struct Value<'a> {
    text: &'a [u8],
    /// The number of elements if it is a list.
    elements: usize,
}

/// Finds where values of JSON end. It does not judge what is inside of them.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        let ahead = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.at += ahead + 1;
        Some(rest[ahead])
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// Passes a value.
    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next()?;
        let start = self.at - 1;
        let elements = match first {
            b'"' => self.string().map(|()| 0),
            b'[' | b'{' => self.nested(),
            _ => {
                let rest = &self.text[self.at..];
                self.at += rest.iter().position(|byte| b",:]} \t\r\n".contains(byte))?;
                Some(0)
            }
        }?;
        Some(Value {
            text: &self.text[start..self.at],
            elements,
        })
    }

    /// Passes the rest of a string.
    fn string(&mut self) -> Option<()> {
        loop {
            let rest = self.text.get(self.at..)?;
            let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Some(());
            }
            // What a backslash makes of the next byte does not matter.
            self.at += 1;
        }
    }

    /// Passes the rest of a list or an object; returns the number of its elements.
    fn nested(&mut self) -> Option<usize> {
        let (mut depth, mut commas) = (1usize, 0);
        let start = self.at;
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => self.string()?,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b',' => commas += usize::from(depth == 1),
                _ => {}
            }
            if depth == 0 {
                let inside = &self.text[start..self.at - 1];
                return Some(match inside.iter().all(u8::is_ascii_whitespace) {
                    true => 0,
                    false => commas + 1,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_counted_and_not_read() {
        let text = br#" {"model" : "m\u0020","x":[ ],"explain": 2, "entities": [ {"id": "}]{\"\\"}, {"features": {"a": [NaN, {}]}}, 3],
            "explain_lowering":1}"#;
        let found = outline(text).unwrap();
        assert_eq!((found.model.as_str(), found.entities), ("m ", 3));
        assert_eq!((found.explain.strongest, found.explain.lowering), (2, 1));
        let count = |list: &str| {
            let text = format!(r#"{{"model": "m", "entities": {list}}}"#);
            outline(text.as_bytes()).map(|found| found.entities)
        };
        let escaped = b"\xef\xbb\xbf{\"mod\\u0065l\": \"m\", \"entities\": [1]}";
        assert_eq!(outline(escaped).map(|found| found.entities), Some(1));
        assert_eq!(count("[ \n]"), Some(0));
        assert_eq!(count("[[]]"), Some(1));
        assert_eq!(count(r#"["[,","]"]"#), Some(2));
        assert_eq!(count(r#"{"a": 1}"#), None);
    }

    #[test]
    fn what_has_no_outline_is_left_to_the_parser() {
        let long = format!(
            r#"{{"model": "{}", "entities": []}}"#,
            "m".repeat(LONGEST_NAME + 1)
        );
        let whole = r#"{"model": "m", "entities": [{"id": "a\""}], "explain": 1}"#;
        assert!(outline(whole.as_bytes()).is_some());
        let mut broken = vec![
            "",
            "{}",
            "[]",
            "{\"model\"",
            r#"{"model": "m", "entities": 3}"#,
            &long,
        ];
        broken.extend([
            r#"{"model": 3, "entities": []}"#,
            r#"{"model": "m"; "entities": []}"#,
        ]);
        broken.extend([
            r#"{"model": "m", "entities": [], "explain": -1}"#,
            r#"{"model": "m"}"#,
        ]);
        let number = format!(r#"{{"model": "m", "entities": [], "explain": "{long}"}}"#);
        broken.push(&number);
        broken.extend((0..whole.len()).map(|end| &whole[..end]));
        for text in broken {
            assert!(outline(text.as_bytes()).is_none(), "{text}");
        }
    }

    /// Where the parser reads a request, the outline says the same of it.
    #[test]
    fn the_outline_is_that_of_the_parser() {
        let values = [
            "{}",
            "[]",
            "\"a,b\"",
            "{\"a\": [1, 2], \"b\": {\"c\": \"]\"}}",
            "-1.5e3",
            "null",
            "true",
        ];
        for (at, first) in values.iter().enumerate() {
            for second in &values[at..] {
                let text = format!(r#"{{"entities": [{first},{second} , {first}], "model": "\"m\\" }}"#);
                let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
                let found = outline(text.as_bytes()).unwrap();
                assert_eq!(
                    found.entities,
                    parsed["entities"].as_array().unwrap().len(),
                    "{text}"
                );
                assert_eq!(found.model, parsed["model"].as_str().unwrap());
            }
        }
    }
}
