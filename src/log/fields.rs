//! The fields of events and spans. They are cut when they are recorded, so that a long value takes neither memory nor
//! time.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};

/// Most bytes of a value.
const VALUE_BYTES: usize = 256;

/// Most bytes of the fields of a line; further ones are left out.
pub(super) const LINE_BYTES: usize = 8 * 1024;

/// Most bytes of a message, and of the values that explain: `error` and `reason`.
const EXPLANATION_BYTES: usize = 1024;

/// Stands for what was cut off.
const CUT: char = '…';

/// A recorded value.
#[derive(Debug)]
pub(super) enum Value {
    /// A number or a truth value, as JSON writes it.
    Plain(String),
    /// Text, at most as long as is logged. A text line has it in quotes only where it could be taken for something else.
    Text(String),
    /// Text that a text line always has in quotes.
    Quoted(String),
}

/// The recorded fields of an event or a span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The event's fixed text; empty for a span.
    pub(super) message: String,
    pub(super) values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name, value)),
        }
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.set(field, Value::Plain(value.to_string()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = cut(format_args!("{value:?}"), limit(field));
        if field.name() == "message" {
            self.message = text;
        } else {
            self.set(field, Value::Text(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = cut(format_args!("{value}"), limit(field));
        self.set(field, Value::Quoted(text));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN.
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.set(field, Value::Text(value.to_string()));
        }
    }
}

/// Most bytes of a field's value.
fn limit(field: &Field) -> usize {
    match field.name() {
        "message" | "error" | "reason" => EXPLANATION_BYTES,
        _ => VALUE_BYTES,
    }
}

/// Formats at most `limit` bytes, and stops formatting there.
fn cut(text: fmt::Arguments<'_>, limit: usize) -> String {
    struct Cutter {
        text: String,
        limit: usize,
    }
    impl Write for Cutter {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = self.limit - self.text.len();
            if part.len() <= room {
                self.text.push_str(part);
                return Ok(());
            }
            let end = (0..=room).rev().find(|&end| part.is_char_boundary(end));
            self.text.push_str(&part[..end.unwrap_or(0)]);
            self.text.push(CUT);
            Err(fmt::Error)
        }
    }
    let mut cutter = Cutter {
        text: String::new(),
        limit,
    };
    // An error means that the text was cut.
    let _ = cutter.write_fmt(text);
    cutter.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_where_a_character_ends() {
        assert_eq!(cut(format_args!("{}{}", "ab", "cd"), 4), "abcd");
        assert_eq!(cut(format_args!("{}{}", "ab", "cde"), 4), "abcd…");
        assert_eq!(cut(format_args!("aéé"), 4), "aé…");
    }
}
