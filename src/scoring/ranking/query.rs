//! Requests for a ranking, independent of any protocol.

use super::order::Order;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::scoring::explain::Wanted;
use crate::suggest::unknown;

/// Customers on a page if the request does not say, and at most.
pub const PAGE_SIZE: usize = 50;
/// Most customers on a page.
pub const MOST_PAGE_SIZE: usize = 1000;

/// Reasons of a customer if the request does not say, and at most.
const REASONS: usize = 3;
const MOST_REASONS: usize = 8;

/// Longest time in days over which contacted customers can be hidden.
pub const MOST_HIDDEN_DAYS: u32 = 365;

/// Which customers a request wants, in which order.
#[derive(Clone, Debug, Default)]
pub struct RankingQuery {
    /// The order.
    pub order: Order,
    /// The names of the bands; all if there are none.
    pub bands: Vec<String>,
    /// A part of the id; empty for all.
    pub search: String,
    /// Filters such as `plan=pro`.
    pub filters: Vec<String>,
    /// Leaves out customers who were contacted in so many days, or have left.
    pub hide_contacted_days: Option<u32>,
    /// What to return of each customer.
    pub fields: Fields,
}

/// What to return of each customer.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the field of that name in answers")]
pub struct Fields {
    pub rank: bool,
    pub id: bool,
    pub score: bool,
    pub band: bool,
    pub change: bool,
    pub contact: bool,
    pub hold_out: bool,
    /// The number of reasons; 0 for none.
    pub reasons: usize,
    /// The names of the features; `None` for none, an empty list for all.
    pub features: Option<Vec<String>>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            rank: true,
            id: true,
            score: true,
            band: true,
            ..Self::none()
        }
    }
}

impl Fields {
    /// The names of the fields, in their order in answers.
    pub const NAMES: [&'static str; 9] = [
        "rank", "id", "score", "band", "change", "contact", "hold_out", "reasons", "features",
    ];

    fn none() -> Self {
        Self {
            rank: false,
            id: false,
            score: false,
            band: false,
            change: false,
            contact: false,
            hold_out: false,
            reasons: 0,
            features: None,
        }
    }

    /// Chooses fields by their names; without any, the default ones. `reasons` and `features` say more about the fields of
    /// that name.
    ///
    /// # Errors
    /// A name is unknown, a number is out of its range, or something is said about a field that is not wanted.
    pub fn parse(
        names: &[String],
        reasons: Option<u64>,
        features: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        let mut fields = match names {
            [] => Self::default(),
            _ => Self::none(),
        };
        let number = reasons.map_or(Ok(REASONS), |wanted| {
            let number = usize::try_from(wanted).unwrap_or(usize::MAX);
            let in_range = (1..=MOST_REASONS).contains(&number).then_some(number);
            in_range.ok_or_else(|| {
                let message =
                    format!("reasons: expected 1 to {MOST_REASONS}, such as {REASONS}, found {wanted}");
                Error::invalid(message).about("reasons")
            })
        })?;
        let (mut has_reasons, mut has_features) = (false, false);
        for name in names {
            match name.as_str() {
                "rank" => fields.rank = true,
                "id" => fields.id = true,
                "score" => fields.score = true,
                "band" => fields.band = true,
                "change" => fields.change = true,
                "contact" => fields.contact = true,
                "hold_out" => fields.hold_out = true,
                "reasons" => has_reasons = true,
                "features" => has_features = true,
                _ => {
                    let message = format!("fields: {}", unknown("field", name, Self::NAMES.into_iter()));
                    return Err(Error::invalid(message).about("fields"));
                }
            }
        }
        for (name, given, wanted) in [
            ("reasons", reasons.is_some(), has_reasons),
            ("features", features.is_some(), has_features),
        ] {
            if given && !wanted {
                let message = format!("{name}: expected only with `{name}` among fields");
                return Err(Error::invalid(message).about(name));
            }
        }
        if has_reasons {
            fields.reasons = number;
        }
        if has_features {
            fields.features = Some(features.unwrap_or_default());
        }
        Ok(fields)
    }

    /// The reasons to compute for each customer.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            strongest: self.reasons,
            ..Wanted::default()
        }
    }

    /// The positions of the wanted features among the inputs of a model.
    ///
    /// # Errors
    /// A feature is unknown.
    pub(super) fn inputs(&self, model: &ModelVersion) -> Result<Vec<usize>, Error> {
        let Some(names) = &self.features else {
            return Ok(Vec::new());
        };
        if names.is_empty() {
            return Ok((0..model.inputs.len()).collect());
        }
        let position = |name: &String| {
            model.input(name).ok_or_else(|| {
                let known = model.inputs.iter().map(|input| input.contract.name.as_str());
                Error::invalid(format!("features: {}", unknown("feature", name, known))).about("features")
            })
        };
        let mut positions = names
            .iter()
            .map(position)
            .collect::<Result<Vec<usize>, Error>>()?;
        positions.sort_unstable();
        positions.dedup();
        Ok(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_terminator(',').map(str::to_owned).collect()
    }

    #[test]
    fn fields_are_chosen_by_name() {
        let fields = Fields::parse(&[], None, None).unwrap();
        assert!(fields.rank && fields.id && fields.score && fields.band);
        assert!(!fields.change && fields.reasons == 0 && fields.features.is_none());
        let fields = Fields::parse(&names("id,reasons,features"), Some(2), None).unwrap();
        assert!(fields.id && !fields.rank && fields.reasons == 2 && fields.features == Some(vec![]));
        assert_eq!(
            Fields::parse(&names("reasons"), None, None).unwrap().reasons,
            REASONS
        );
    }

    #[test]
    fn wrong_fields_are_named() {
        for (list, reasons, features, field, part) in [
            ("id,bnad", None, None, "fields", "did you mean `band`?"),
            (
                "reasons",
                Some(9),
                None,
                "reasons",
                "expected 1 to 8, such as 3, found 9",
            ),
            ("reasons", Some(0), None, "reasons", "found 0"),
            ("id", Some(2), None, "reasons", "only with `reasons` among fields"),
            (
                "",
                None,
                Some(names("plan")),
                "features",
                "only with `features` among fields",
            ),
        ] {
            let error = Fields::parse(&names(list), reasons, features).unwrap_err();
            assert_eq!(error.field(), Some(field));
            assert!(error.to_string().contains(part), "{error}");
        }
        let model = crate::models::sample::version(1);
        let fields = Fields::parse(&names("features"), None, Some(names("plan,nps,plan"))).unwrap();
        assert_eq!(fields.inputs(&model).unwrap().len(), 2);
        let fields = Fields::parse(&names("features"), None, Some(names("plam"))).unwrap();
        let error = fields.inputs(&model).unwrap_err().to_string();
        assert!(error.contains("did you mean `plan`?"), "{error}");
    }
}
