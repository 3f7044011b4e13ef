//! Ranked customers as CSV, safe to open in a spreadsheet: a text that a spreadsheet would take for a formula begins with an
//! apostrophe. Numbers stay numbers.

use std::borrow::Cow;

use super::wire::Items;
use crate::error::Error;
use crate::scoring::ranking::RankedItem;

/// What a formula can begin with, also in the wide letters of East Asian keyboards, and what spreadsheets skip before one.
const RISKY: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠'];

/// Where a spreadsheet of some country, or one that does not know quotes, begins another cell.
const ENDS: [char; 4] = [';', '\t', '\r', '\n'];

/// Makes a text safe for a cell, also for what may be taken for cells in it.
fn safe(text: &str) -> Cow<'_, str> {
    let parts = || text.split_inclusive(ENDS);
    if !parts().any(|part| part.starts_with(RISKY)) {
        return Cow::Borrowed(text);
    }
    let marked = parts().map(|part| match part.starts_with(RISKY) {
        true => format!("'{part}"),
        false => part.to_owned(),
    });
    Cow::Owned(marked.collect())
}

/// A row of cells in the making.
#[derive(Default)]
struct Cells(Vec<String>);

impl Cells {
    fn text(&mut self, text: Option<&str>) {
        self.0.push(text.map(safe).unwrap_or_default().into_owned());
    }

    fn number(&mut self, number: Option<impl ToString>) {
        self.0
            .push(number.map(|number| number.to_string()).unwrap_or_default());
    }

    fn value(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::Null => self.text(None),
            serde_json::Value::String(text) => self.text(Some(text)),
            other => self.number(Some(other)),
        }
    }
}

/// Writes customers, after the names of the columns if wanted.
///
/// # Errors
/// Never for valid texts.
pub(super) fn write(items: &Items<'_>, with_header: bool) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(items.items.len() * 64));
    let failed = |error: csv::Error| Error::internal(error.to_string());
    if with_header {
        writer.write_record(header(items).0).map_err(failed)?;
    }
    for item in items.items {
        writer.write_record(row(items, item).0).map_err(failed)?;
    }
    writer
        .into_inner()
        .map_err(|error| Error::internal(error.to_string()))
}

fn header(items: &Items<'_>) -> Cells {
    let fields = items.fields;
    let mut cells = Cells::default();
    let mut add = |wanted: bool, names: &[&str]| {
        names
            .iter()
            .filter(|_| wanted)
            .for_each(|name| cells.text(Some(name)));
    };
    add(fields.rank, &["rank"]);
    add(fields.id, &["id"]);
    add(fields.score, &["score"]);
    add(fields.band, &["band"]);
    add(fields.change, &["change", "score_before", "band_before"]);
    let contact = [
        "contact_action",
        "contact_detail",
        "contact_time",
        "result",
        "result_time",
    ];
    add(fields.contact, &contact);
    add(fields.hold_out, &["hold_out"]);
    for number in 1..=fields.reasons {
        cells.text(Some(&format!("reason_{number}")));
    }
    for input in items
        .inputs
        .iter()
        .filter_map(|&input| items.model.inputs.get(input))
    {
        cells.text(Some(&input.contract.name));
    }
    cells
}

fn row(items: &Items<'_>, item: &RankedItem) -> Cells {
    let fields = items.fields;
    let mut cells = Cells::default();
    if fields.rank {
        cells.number(Some(item.rank));
    }
    if fields.id {
        // An id of digits is a text, too: it is not to be computed with, and cannot begin with a sign.
        cells.text(Some(&item.id.to_string()));
    }
    if fields.score {
        cells.number(Some(item.score));
    }
    if fields.band {
        cells.text(item.band.as_deref());
    }
    if fields.change {
        let before = item.before.as_ref();
        cells.number(before.map(|before| item.score - before.score));
        cells.number(before.map(|before| before.score));
        cells.text(before.and_then(|before| before.band.as_deref()));
    }
    if fields.contact {
        let contact = items.contact_body(item);
        let contact = contact.as_ref();
        cells.text(contact.and_then(|contact| contact.action));
        cells.text(contact.and_then(|contact| contact.detail));
        cells.number(contact.and_then(|contact| contact.time));
        cells.text(contact.and_then(|contact| contact.result));
        cells.number(contact.and_then(|contact| contact.result_time));
    }
    if fields.hold_out {
        cells.number(Some(item.hold_out));
    }
    let texts = items.reason_texts(item);
    for number in 0..fields.reasons {
        cells.text(texts.get(number).map(String::as_str));
    }
    for (&input, &value) in items.inputs.iter().zip(&item.values) {
        if let Some(input) = items.model.inputs.get(input) {
            cells.value(&input.present(value));
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_compute_begins_with_an_apostrophe() {
        for text in ["=1+1", "+1", "-1", "@A1", "\0=1", "＝1", "＋1", "－1", "＠A1"] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        // Also behind what some spreadsheets take for the end of a cell.
        for (text, expected) in [
            ("\t=1", "'\t'=1"),
            ("x;=HYPERLINK(\"http://a\")", "x;'=HYPERLINK(\"http://a\")"),
            ("a\r\n+1; b", "a\r'\n'+1; b"),
        ] {
            assert_eq!(safe(text), expected);
        }
        for text in ["", "C-1042", "1", "'=1", "a=b", " x"] {
            assert_eq!(safe(text), text);
        }
    }

    #[test]
    fn numbers_stay_numbers() {
        let mut cells = Cells::default();
        cells.number(Some(-0.5));
        cells.value(&serde_json::json!(-3));
        cells.value(&serde_json::json!("-3"));
        cells.value(&serde_json::json!(true));
        cells.value(&serde_json::Value::Null);
        assert_eq!(cells.0, ["-0.5", "-3", "'-3", "true", ""]);
    }
}
