//! Lines for people: `TIME LEVEL SPAN{FIELDS}: MESSAGE FIELD=VALUE`. Everything is escaped, so that a value can forge neither
//! a line, nor a field, nor a terminal's commands.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use tracing::{Level, Metadata};

use super::fields::{Fields, LINE_BYTES, Value};

const DIM: Style = Style::new().dimmed();
const ITALIC: Style = Style::new().italic();
const BOLD: Style = Style::new().bold();

/// Writes a line without its end.
pub(super) fn line(
    time: Timestamp,
    metadata: &Metadata<'_>,
    event: &Fields,
    spans: &[(&'static str, String)],
    coloured: bool,
) -> String {
    let mut out = String::new();
    push_styled(&mut out, DIM, coloured, format_args!("{time:.6}"));
    let level = metadata.level();
    out.push(' ');
    push_styled(&mut out, colour(*level), coloured, format_args!("{level:>5}"));
    for (name, fields) in spans {
        out.push(' ');
        push_styled(&mut out, BOLD, coloured, format_args!("{name}"));
        push(&mut out, format_args!("{{{fields}}}:"));
    }
    out.push(' ');
    push_escaped(&mut out, &event.message);
    let fields = fields(event, coloured);
    if !fields.is_empty() {
        out.push(' ');
        out.push_str(&fields);
    }
    out
}

/// Writes fields, with spaces between them.
pub(super) fn fields(fields: &Fields, coloured: bool) -> String {
    let mut out = String::new();
    for (name, value) in &fields.values {
        if out.len() > LINE_BYTES {
            out.push_str(" cut=true");
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        push_styled(&mut out, ITALIC, coloured, format_args!("{name}"));
        push_styled(&mut out, DIM, coloured, format_args!("="));
        push_value(&mut out, value);
    }
    out
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Plain(text) => out.push_str(text),
        Value::Text(text) if !text.is_empty() && text.chars().all(is_plain) => out.push_str(text),
        Value::Text(text) | Value::Quoted(text) => push(out, format_args!("{text:?}")),
    }
}

/// Whether a character means nothing in a line.
fn is_plain(letter: char) -> bool {
    letter != ' ' && letter != '=' && letter.escape_debug().len() == 1
}

fn push_escaped(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => out.push(letter),
            _ => out.extend(letter.escape_debug()),
        }
    }
}

fn push_styled(out: &mut String, style: Style, coloured: bool, text: std::fmt::Arguments<'_>) {
    if coloured {
        push(out, format_args!("{style}{text}{style:#}"));
    } else {
        push(out, text);
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Cannot fail: a string takes everything.
    let _ = out.write_fmt(text);
}

fn colour(level: Level) -> Style {
    let colour = match level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Green,
        Level::DEBUG => AnsiColor::Blue,
        Level::TRACE => AnsiColor::Magenta,
    };
    colour.on_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_forges_nothing() {
        for (text, expected) in [
            ("plain-1.5", "plain-1.5"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            ("a\n\u{1b}[31m\u{85}\u{202e}", r#""a\n\u{1b}[31m\u{85}\u{202e}""#),
        ] {
            let mut out = String::new();
            push_value(&mut out, &Value::Text(text.to_owned()));
            assert_eq!(out, expected);
        }
        let mut message = String::new();
        push_escaped(&mut message, "it's\r\u{9b}\"so\"");
        assert_eq!(message, r#"it's\r\u{9b}"so""#);
    }

    #[test]
    fn a_line_has_an_end() {
        let value = || Value::Quoted("x".repeat(256));
        let many = Fields {
            message: String::new(),
            values: (0..1000).map(|_| ("name", value())).collect(),
        };
        let text = fields(&many, false);
        assert!(text.len() < LINE_BYTES + 300 && text.ends_with(" cut=true"));
    }
}
