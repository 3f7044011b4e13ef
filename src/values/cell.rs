//! One value as a source holds it, and its exact conversion to the number a model was trained on. Every input converts
//! here: files, stores, REST and gRPC. `docs/values.md` has the table of what is read as what.

use super::instant;
use crate::words::shorten::shorten;

use crate::values::feature_type::FeatureType;

/// A value before conversion. What cannot be converted exactly is refused, never rounded in silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// There, but null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; NaN counts as null.
    Float(f64),
    /// Text that is meant as text.
    Text(&'a str),
    /// Text of a file without types (CSV): read as whatever the feature is.
    Untyped(&'a str),
    /// Microseconds since the Unix epoch.
    Time(i64),
    /// A value of a file that nothing can take, such as a list.
    Unfit {
        /// The value, cut to a length that is fit to be read.
        shown: &'a str,
        /// What it is.
        what: &'static str,
    },
}

/// The largest whole number up to which every whole number is an `f64`.
pub(crate) const EXACT: i64 = 1 << 53;

/// Spellings of "no value" that writers use for numbers in text: pandas, R, PostgreSQL (`\N`). In any case of the letters;
/// besides them, whatever parses as NaN.
const NULLS: [&str; 9] = ["", "#N/A", "N/A", "NA", "NULL", "None", "<NA>", "NaT", "\\N"];

/// Whether a text of a file without types spells "no value" for a number.
fn is_null(text: &str) -> bool {
    NULLS.iter().any(|null| text.eq_ignore_ascii_case(null)) || text.parse::<f64>().is_ok_and(f64::is_nan)
}

impl Cell<'_> {
    /// The number that a feature of `kind` takes from this cell; `None` is null. Not for categories, whose codes
    /// belong to one model: see [`Cell::category`].
    ///
    /// # Errors
    /// The cell is not what `kind` says; the text says what it is.
    pub fn number(self, kind: FeatureType) -> Result<Option<f64>, String> {
        match (kind, self) {
            (_, Cell::Null) => Ok(None),
            (_, Cell::Float(value)) if value.is_nan() => Ok(None),
            (_, Cell::Untyped(text)) => untyped(text.trim(), kind),
            (FeatureType::Bool, cell) => bool_number(cell),
            (FeatureType::Timestamp, Cell::Time(micros)) => Ok(Some(instant::of_micros(micros))),
            (FeatureType::Timestamp, Cell::Text(text)) => instant::of_text(text.trim()).map(Some),
            (FeatureType::Timestamp, Cell::Int(value)) => instant::of_number(exact(value)?).map(Some),
            (FeatureType::Timestamp, Cell::Float(value)) => instant::of_number(value).map(Some),
            (FeatureType::Int, Cell::Float(value)) => whole(value).map(Some),
            (FeatureType::Float | FeatureType::Int, Cell::Int(value)) => exact(value).map(Some),
            (FeatureType::Float, Cell::Float(value)) => Ok(Some(value)),
            (_, cell) => Err(format!("expected {}, found {}", kind.noun(), cell.describe())),
        }
    }

    /// As [`Cell::number`], for stores whose writers were careless with types: a text that spells a number is one, with
    /// commas between groups of three digits if need be; a boolean counts as 1 or 0.
    ///
    /// # Errors
    /// Even so it is no number.
    pub fn tolerant(self, kind: FeatureType) -> Result<Option<f64>, String> {
        match self {
            Cell::Text(text) | Cell::Untyped(text) => match ungrouped(text) {
                Some(digits) => untyped(&digits, kind),
                None => untyped(text.trim(), kind),
            },
            Cell::Bool(value) => Cell::Int(value.into()).number(kind),
            cell => cell.number(kind),
        }
    }

    /// The text that names a category; `None` is null. A whole number names the category of the same digits, which
    /// are written to `digits`; `1.0` is `1`. A boolean names `true` or `false`.
    ///
    /// # Errors
    /// The cell cannot name a category.
    pub fn category<'b>(&'b self, digits: &'b mut String) -> Result<Option<&'b str>, String> {
        match *self {
            Cell::Null => Ok(None),
            Cell::Float(value) if value.is_nan() => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            Cell::Untyped(text) => Ok(Some(text).filter(|text| !text.is_empty() && *text != "\\N")),
            Cell::Int(value) => Ok(Some(write_digits(digits, value))),
            #[expect(clippy::cast_possible_truncation, reason = "a whole number within ±2^53")]
            Cell::Float(value) if whole(value).is_ok() => Ok(Some(write_digits(digits, value as i64))),
            Cell::Bool(value) => Ok(Some(if value { "true" } else { "false" })),
            cell => Err(format!(
                "expected {}, found {}",
                FeatureType::Category.noun(),
                cell.describe()
            )),
        }
    }

    /// Says why this cell is not what `kind` says, without its value: for logs, which hold no values of customers.
    pub fn misfit(self, kind: FeatureType) -> String {
        format!("expected {}, found {}", kind.noun(), self.noun())
    }

    fn noun(self) -> &'static str {
        match self {
            Cell::Null => "null",
            Cell::Bool(_) => "a boolean",
            Cell::Int(_) => "a whole number that does not fit",
            Cell::Float(_) => "a number that does not fit",
            Cell::Text(_) | Cell::Untyped(_) => "a text",
            Cell::Time(_) => "a timestamp",
            Cell::Unfit { what, .. } => what,
        }
    }

    fn describe(self) -> String {
        match self {
            Cell::Null => "null".to_owned(),
            Cell::Bool(value) => value.to_string(),
            Cell::Int(value) => value.to_string(),
            Cell::Float(value) => value.to_string(),
            Cell::Text(text) | Cell::Untyped(text) => format!("the text {:?}", shorten(text)),
            Cell::Time(_) => "a timestamp".to_owned(),
            Cell::Unfit { what, .. } => what.to_owned(),
        }
    }
}

fn write_digits(digits: &mut String, value: i64) -> &str {
    use std::fmt::Write as _;
    digits.clear();
    // Writing to a String cannot fail.
    let _ = write!(digits, "{value}");
    digits
}

/// A text such as `1,234.5` without its commas; `None` when it has none, or not between groups of three digits.
fn ungrouped(text: &str) -> Option<String> {
    let text = text.trim();
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut groups = whole.trim_start_matches(['+', '-']).split(',');
    let first = groups.next()?;
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let grouped = whole.contains(',')
        && (1..=3).contains(&first.len())
        && digits(first)
        && groups.all(|group| group.len() == 3 && digits(group));
    grouped.then(|| whole.replace(',', "") + rest)
}

fn bool_number(cell: Cell<'_>) -> Result<Option<f64>, String> {
    match cell {
        Cell::Bool(value) => Ok(Some(f64::from(u8::from(value)))),
        Cell::Int(value @ (0 | 1)) => Ok(Some(if value == 1 { 1.0 } else { 0.0 })),
        Cell::Float(value) if value == 0.0 || value == 1.0 => Ok(Some(value)),
        cell => Err(format!(
            "expected {}, found {}",
            FeatureType::Bool.noun(),
            cell.describe()
        )),
    }
}

fn untyped(text: &str, kind: FeatureType) -> Result<Option<f64>, String> {
    if is_null(text) {
        return Ok(None);
    }
    let refuse = || format!("expected {}, found the text {:?}", kind.noun(), shorten(text));
    let number = || text.parse::<f64>().map_err(|_| refuse());
    match kind {
        // PostgreSQL writes t and f.
        FeatureType::Bool if ["true", "t"].iter().any(|yes| text.eq_ignore_ascii_case(yes)) => Ok(Some(1.0)),
        FeatureType::Bool if ["false", "f"].iter().any(|no| text.eq_ignore_ascii_case(no)) => Ok(Some(0.0)),
        FeatureType::Bool => bool_number(Cell::Float(number()?)).map_err(|_| refuse()),
        FeatureType::Int => match text.parse::<i64>() {
            Ok(value) => exact(value).map(Some),
            Err(_) => whole(number()?).map(Some),
        },
        FeatureType::Timestamp => match text.parse::<f64>() {
            Ok(number) => instant::of_number(number).map(Some),
            Err(_) => instant::of_text(text).map(Some),
        },
        FeatureType::Float => {
            let value = number()?;
            // "1e999" would turn into infinity unnoticed; a spelt-out infinity is what the file says.
            if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
                return Err(format!("{text} is too large for a 64-bit float"));
            }
            Ok(Some(value))
        }
        FeatureType::Category => Err(refuse()),
    }
}

fn exact(value: i64) -> Result<f64, String> {
    if !(-EXACT..=EXACT).contains(&value) {
        return Err(format!(
            "{value} is beyond ±2^53, where whole numbers are no longer exact"
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "checked just above to be exact")]
    Ok(value as f64)
}

fn whole(value: f64) -> Result<f64, String> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
    if value.fract() == 0.0 && value.abs() <= EXACT as f64 {
        Ok(value)
    } else {
        Err(format!("expected {}, found {value}", FeatureType::Int.noun()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNFIT: Cell<'_> = Cell::Unfit {
        shown: "[1]",
        what: "a list",
    };

    #[test]
    fn numbers_convert_exactly_or_not_at_all() {
        use FeatureType::{Bool, Float, Int, Timestamp};
        assert_eq!(Cell::Int(7).number(Float), Ok(Some(7.0)));
        assert_eq!(Cell::Float(f64::NAN).number(Int), Ok(None));
        assert_eq!(Cell::Float(3.0).number(Int), Ok(Some(3.0)));
        assert_eq!(Cell::Bool(true).number(Bool), Ok(Some(1.0)));
        assert_eq!(Cell::Untyped(" 29.85 ").number(Float), Ok(Some(29.85)));
        assert_eq!(Cell::Untyped(" ").number(Float), Ok(None));
        assert_eq!(
            Cell::Text("1970-01-01T00:01:00Z").number(Timestamp),
            Ok(Some(60.0))
        );
        for (cell, kind) in [
            (Cell::Int(EXACT + 1), Int),
            (Cell::Float(3.5), Int),
            (Cell::Bool(true), Float),
            (Cell::Text("5"), Float),
            (Cell::Text("true"), Bool),
            (Cell::Untyped("yes"), Bool),
            (Cell::Untyped("-inf x"), Float),
            (Cell::Untyped("five"), Float),
            (Cell::Untyped("1e999"), Float),
            (Cell::Int(2), Bool),
            (UNFIT, Float),
            (UNFIT, Timestamp),
        ] {
            assert!(cell.number(kind).is_err(), "{cell:?} as {kind:?}");
        }
    }

    #[test]
    fn no_value_has_many_spellings_in_text_and_none_as_a_category() {
        for text in [
            "", " ", "nan", "-nan", "NAN", "NaN", "null", "NONE", "na", "#n/a", "<NA>", "NaT", "\\N",
        ] {
            for kind in [
                FeatureType::Float,
                FeatureType::Int,
                FeatureType::Bool,
                FeatureType::Timestamp,
            ] {
                assert_eq!(Cell::Untyped(text).number(kind), Ok(None), "{text:?} as {kind:?}");
            }
        }
        let mut digits = String::new();
        assert_eq!(Cell::Untyped("\\N").category(&mut digits), Ok(None));
        assert_eq!(
            Cell::Untyped("nan").category(&mut digits),
            Ok(Some("nan")),
            "pandas reads it as missing, other writers mean the text"
        );
        for (text, expected) in [("t", 1.0), ("F", 0.0), ("True", 1.0), ("0", 0.0)] {
            assert_eq!(
                Cell::Untyped(text).number(FeatureType::Bool),
                Ok(Some(expected)),
                "{text}"
            );
        }
    }

    #[test]
    fn careless_numbers_are_read_where_that_is_allowed() {
        use FeatureType::{Float, Int, Timestamp};
        for (cell, kind, expected) in [
            (Cell::Text(" 1,234.5 "), Float, Some(1234.5)),
            (Cell::Text("-12,345,678"), Int, Some(-12_345_678.0)),
            (Cell::Text("7"), Int, Some(7.0)),
            (Cell::Text("null"), Float, None),
            (Cell::Bool(true), Float, Some(1.0)),
            (Cell::Text("1970-01-01T00:01:00Z"), Timestamp, Some(60.0)),
        ] {
            assert_eq!(cell.tolerant(kind), Ok(expected), "{cell:?}");
        }
        for text in ["1,23", "12,3456", "1,234,", "1.5,000", "seven", "0x10"] {
            assert!(Cell::Text(text).tolerant(Float).is_err(), "{text}");
        }
    }

    #[test]
    fn a_category_is_named_by_text_or_by_whole_numbers() {
        let mut digits = String::new();
        assert_eq!(Cell::Text("None").category(&mut digits), Ok(Some("None")));
        assert_eq!(Cell::Int(12).category(&mut digits), Ok(Some("12")));
        assert_eq!(Cell::Float(-12.0).category(&mut digits), Ok(Some("-12")));
        assert_eq!(Cell::Float(-0.0).category(&mut digits), Ok(Some("0")));
        assert!(Cell::Float(1.5).category(&mut digits).is_err());
        assert_eq!(Cell::Untyped("").category(&mut digits), Ok(None));
        assert_eq!(Cell::Float(12.0).category(&mut digits), Ok(Some("12")));
        assert_eq!(Cell::Bool(true).category(&mut digits), Ok(Some("true")));
        assert!(Cell::Float(1.5).category(&mut digits).is_err());
        assert!(Cell::Float(f64::INFINITY).category(&mut digits).is_err());
        let unfit = UNFIT.category(&mut digits).unwrap_err();
        assert!(unfit.ends_with("found a list"), "{unfit}");
    }
}
