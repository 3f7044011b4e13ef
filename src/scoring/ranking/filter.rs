//! Filters of a ranking: bands, a part of the id, and values of features as the model sees them.

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::features::plan::Plan;
use crate::models::ModelVersion;
use crate::models::input::{EncodedCell, ModelInput};
use crate::scoring::assemble::input_value;
use crate::suggest::unknown;
use crate::values::cell::Cell;
use crate::values::entity_id::IdRef;
use crate::values::feature_type::FeatureType;
use crate::values::issues::FeatureIssues;

/// Most filters on features in one request.
pub const MOST_FILTERS: usize = 8;

/// Longest text that is searched for, and longest filter, in bytes.
pub const MOST_SEARCH_BYTES: usize = 128;
const MOST_FILTER_BYTES: usize = 512;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Every comparison by its sign; those of two letters first, so that they are found first.
const SIGNS: [(&str, Comparison); 6] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// A filter on the value of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FeatureFilter {
    input: usize,
    comparison: Comparison,
    /// NaN stands for a missing value.
    value: f64,
}

impl FeatureFilter {
    /// Reads a filter such as `plan=pro` or `monthly_price>=99`; a missing value is an empty text.
    ///
    /// # Errors
    /// The feature is unknown, or it cannot have this value or be compared this way.
    pub(super) fn parse(text: &str, model: &ModelVersion) -> Result<Self, Error> {
        let wrong = |message: String| Error::invalid(format!("filter: {message}")).about("filter");
        if text.len() > MOST_FILTER_BYTES {
            let found = text.len();
            return Err(wrong(format!(
                "expected at most {MOST_FILTER_BYTES} bytes, found {found}"
            )));
        }
        let (input, comparison, value) = split(text, model).map_err(wrong)?;
        let found = model
            .inputs
            .get(input)
            .ok_or_else(|| wrong("no such feature".to_owned()))?;
        let name = &found.contract.name;
        let named = |message: String| wrong(format!("{name}: {message}"));
        let is_ordered = !matches!(found.contract.kind, FeatureType::Category | FeatureType::Bool);
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
        if !is_ordered && !is_equality {
            let kind = found.contract.kind.noun();
            return Err(named(format!("expected = or !=, as the feature is {kind}")));
        }
        let value = match found.encode(Cell::Untyped(value)).map_err(named)? {
            EncodedCell::Value(value) => narrowed(found, value),
            EncodedCell::Null if is_equality => f64::NAN,
            EncodedCell::Null => {
                return Err(named(
                    "expected a value to compare with, found nothing".to_owned(),
                ));
            }
            EncodedCell::UnknownCategory => {
                let categories = found.categories();
                let known = categories.iter().map(String::as_str);
                return Err(named(unknown("category", value, known)));
            }
        };
        Ok(Self {
            input,
            comparison,
            value,
        })
    }

    fn matches(&self, value: f64) -> bool {
        let same = value == self.value || (value.is_nan() && self.value.is_nan());
        match self.comparison {
            Comparison::Equal => same,
            Comparison::Unequal => !same,
            Comparison::Less => value < self.value,
            Comparison::AtMost => value <= self.value,
            Comparison::Greater => value > self.value,
            Comparison::AtLeast => value >= self.value,
        }
    }
}

/// A value in the precision in which the model sees it, so that a number that a person reads is found.
fn narrowed(input: &ModelInput, value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "as the model rounds")]
    match input.is_narrow() {
        true => f64::from(value as f32),
        false => value,
    }
}

/// Splits a filter into the position of the input, the comparison and the value. Names may have signs in them, so known
/// names are tried first.
fn split<'t>(text: &'t str, model: &ModelVersion) -> Result<(usize, Comparison, &'t str), String> {
    let with_sign = |rest: &'t str| {
        let found = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        found.and_then(|(sign, comparison)| Some((*comparison, rest.get(sign.len()..)?)))
    };
    let known = model.inputs.iter().enumerate();
    let known = known.filter_map(|(position, input)| {
        let name = &input.contract.name;
        let (comparison, value) = with_sign(text.strip_prefix(name.as_str())?)?;
        Some((name.len(), (position, comparison, value)))
    });
    if let Some((_, found)) = known.max_by_key(|(length, _)| *length) {
        return Ok(found);
    }
    let Some(end) = text.find(['=', '!', '<', '>']) else {
        return Err(format!(
            "expected NAME=VALUE, !=, <, <=, > or >=, such as visits_30d>=5, found {text:?}"
        ));
    };
    let names = model.inputs.iter().map(|input| input.contract.name.as_str());
    Err(unknown("feature", text.get(..end).unwrap_or_default(), names))
}

/// A part of an id, in any case of its letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search(String);

impl Search {
    /// Reads the text to search for; `None` if it is empty.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Error> {
        let found = text.len();
        if found > MOST_SEARCH_BYTES {
            let message = format!("search: expected at most {MOST_SEARCH_BYTES} bytes, found {found}");
            return Err(Error::invalid(message).about("search"));
        }
        Ok((!text.is_empty()).then(|| Self(text.to_lowercase())))
    }

    pub(super) fn matches(&self, id: IdRef<'_>) -> bool {
        let digits;
        let text = match id {
            IdRef::Text(text) => text,
            IdRef::Int(number) => {
                digits = number.to_string();
                &digits
            }
        };
        if !text.is_ascii() || !self.0.is_ascii() {
            return text.to_lowercase().contains(&self.0);
        }
        let wanted = self.0.as_bytes();
        text.as_bytes()
            .windows(wanted.len())
            .any(|part| part.eq_ignore_ascii_case(wanted))
    }
}

/// The filters of a request that need to look at each customer.
#[derive(Clone, Debug, Default)]
pub(super) struct RowFilters {
    pub(super) search: Option<Search>,
    pub(super) features: Vec<FeatureFilter>,
}

impl RowFilters {
    /// Whether every customer matches.
    pub(super) fn is_empty(&self) -> bool {
        self.search.is_none() && self.features.is_empty()
    }

    /// Whether a customer matches: `id`, in row `row` of the table of `plan`, at the time `now`.
    pub(super) fn matches(
        &self,
        model: &ModelVersion,
        plan: &Plan,
        row: usize,
        id: IdRef<'_>,
        now: f64,
        issues: &mut FeatureIssues,
    ) -> bool {
        if self.search.as_ref().is_some_and(|search| !search.matches(id)) {
            return false;
        }
        if self.features.is_empty() {
            return true;
        }
        let record = plan.record(row);
        self.features.iter().all(|filter| {
            let Some(input) = model.inputs.get(filter.input) else {
                return false;
            };
            *issues = FeatureIssues::default();
            let value = input_value(model, &record, filter.input, now, issues);
            value.is_some_and(|value| filter.matches(narrowed(input, value)))
        })
    }

    /// Whether a row of values matches, for customers that are not in a snapshot.
    pub(super) fn matches_row(&self, model: &ModelVersion, id: IdRef<'_>, values: &[f64]) -> bool {
        self.search.as_ref().is_none_or(|search| search.matches(id))
            && self.features.iter().all(|filter| {
                let input = model.inputs.get(filter.input);
                let value = values.get(filter.input);
                input
                    .zip(value)
                    .is_some_and(|(input, &value)| filter.matches(narrowed(input, value)))
            })
    }

    /// Adds the filters to a hash; their order does not matter.
    pub(super) fn hash(&self, hash: &mut Sha256) {
        if let Some(Search(text)) = &self.search {
            hash.update(b"search");
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let key = |filter: &FeatureFilter| (filter.input, filter.comparison as u8, filter.value.to_bits());
        let mut keys: Vec<_> = self.features.iter().map(key).collect();
        keys.sort_unstable();
        for (input, comparison, value) in keys {
            hash.update((input as u64).to_le_bytes());
            hash.update([comparison]);
            hash.update(value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    fn parse(text: &str) -> Result<FeatureFilter, Error> {
        FeatureFilter::parse(text, &sample::version(1))
    }

    #[test]
    fn reads_every_comparison() {
        for (text, comparison, value) in [
            ("visits_30d=5", Comparison::Equal, 5.0),
            ("visits_30d!=5", Comparison::Unequal, 5.0),
            ("visits_30d<5", Comparison::Less, 5.0),
            ("visits_30d<=5", Comparison::AtMost, 5.0),
            ("visits_30d>5", Comparison::Greater, 5.0),
            ("visits_30d>=5", Comparison::AtLeast, 5.0),
            ("yearly_contract=true", Comparison::Equal, 1.0),
        ] {
            let filter = parse(text).unwrap();
            assert_eq!((filter.comparison, filter.value), (comparison, value), "{text}");
        }
        assert!(parse("nps=").unwrap().value.is_nan());
    }

    #[test]
    fn wrong_filters_say_what_is_wrong() {
        for (text, part) in [
            ("visits=5", "filter: no feature `visits`"),
            ("visits_30d", "expected NAME=VALUE"),
            ("", "expected NAME=VALUE"),
            ("plan>pro", "plan: expected = or !=, as the feature is a category"),
            ("plan=shworoom", "did you mean `showroom`?"),
            ("visits_30d=many", "visits_30d: expected"),
            ("visits_30d<", "expected a value to compare with"),
            ("=5", "filter: no feature ``"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.field(), Some("filter"));
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert!(parse(&"x".repeat(600)).is_err());
    }

    #[test]
    fn a_missing_value_is_unequal_to_all_and_neither_less_nor_greater() {
        let matches = |text: &str, value: f64| parse(text).unwrap().matches(value);
        assert!(matches("nps!=5", f64::NAN) && !matches("nps=5", f64::NAN));
        assert!(!matches("nps<5", f64::NAN) && !matches("nps>=5", f64::NAN));
        assert!(matches("nps=", f64::NAN) && !matches("nps=", 5.0) && matches("nps!=", 5.0));
        // What a person reads as 29.85 is another number in 32 bits.
        let version = sample::version(1);
        let input = version.input("monthly_price").unwrap();
        let input = &version.inputs[input];
        let seen = narrowed(input, 29.850_000_381_469_727);
        assert!(matches("monthly_price=29.85", seen) || !input.is_narrow());
    }

    #[test]
    fn a_part_of_an_id_is_found_in_any_case() {
        let search = |text: &str| Search::parse(text).unwrap().unwrap();
        assert!(search("c-10").matches(IdRef::Text("C-1042")));
        assert!(search("042").matches(IdRef::Text("C-1042")));
        assert!(!search("1043").matches(IdRef::Text("C-1042")));
        assert!(search("ZOË").matches(IdRef::Text("zoë-7")) && search("42").matches(IdRef::Int(1420)));
        assert!(Search::parse("").unwrap().is_none() && Search::parse(&"x".repeat(200)).is_err());
    }
}
