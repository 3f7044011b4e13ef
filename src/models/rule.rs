//! Conditions of decision paths in the terms of the contract: "4 ≤ visits_30d < 5", "plan is starter or showroom".

use std::collections::BTreeSet;

use evergreen_forest::{Bound, Condition};

use super::input::ModelInput;
use crate::values::feature_type::FeatureType;

/// What a path asks of one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Position among the model's inputs.
    pub input: usize,
    /// The rule as a text; it may have `<`.
    pub text: String,
    /// The lower end of the interval.
    pub lower: Option<Bound>,
    /// The upper end of the interval.
    pub upper: Option<Bound>,
    /// The allowed categories, if it is about categories.
    pub categories: Option<Vec<String>>,
    /// Whether the value must be missing; `None` if it need not be either.
    pub missing: Option<bool>,
}

impl Rule {
    /// Expresses a condition in the terms of an input.
    pub fn new(input: &ModelInput, condition: &Condition) -> Self {
        let whole = input.contract.kind == FeatureType::Int;
        let lower = condition
            .lower
            .map(|bound| if whole { whole_lower(bound) } else { bound });
        let upper = condition
            .upper
            .map(|bound| if whole { whole_upper(bound) } else { bound });
        // As the model's values are shown: 29.85, not 29.850000381469727.
        let shown = |bound: Bound| Bound {
            value: input.decimal(bound.value).parse().unwrap_or(bound.value),
            ..bound
        };
        let (lower, upper) = (lower.map(shown), upper.map(shown));
        let asks_categories = condition.included.is_some() || !condition.excluded.is_empty();
        let categories = asks_categories.then(|| categories(input, condition));
        let mut rule = Self {
            input: condition.feature,
            text: String::new(),
            lower,
            upper,
            categories,
            missing: condition.missing,
        };
        rule.text = rule.describe(input);
        rule
    }

    fn describe(&self, input: &ModelInput) -> String {
        let name = &input.contract.name;
        let number = |bound: Bound| input.decimal(bound.value);
        let sign = |bound: Bound| if bound.inclusive { "≤" } else { "<" };
        let interval = match (self.lower, self.upper) {
            (Some(low), Some(high)) if low == high => Some(format!("{name} = {}", number(low))),
            (Some(low), Some(high)) => Some(format!(
                "{} {} {name} {} {}",
                number(low),
                sign(low),
                sign(high),
                number(high)
            )),
            (Some(low), None) => Some(format!(
                "{name} {} {}",
                if low.inclusive { "≥" } else { ">" },
                number(low)
            )),
            (None, Some(high)) => Some(format!("{name} {} {}", sign(high), number(high))),
            (None, None) => None,
        };
        let one_of = self
            .categories
            .as_ref()
            .map(|names| format!("{name} is {}", names.join(" or ")));
        let yes_or_no = self.truth().filter(|_| input.contract.kind == FeatureType::Bool);
        let interval = match yes_or_no {
            Some(value) => Some(format!("{name} is {value}")),
            None => interval,
        };
        match (interval.or(one_of), self.missing) {
            (Some(text), _) => text,
            (None, Some(false)) => format!("{name} is not missing"),
            (None, _) => format!("{name} is missing"),
        }
    }

    /// Of true and false, the one within the interval; `None` if both are.
    fn truth(&self) -> Option<bool> {
        let holds = |value: f64| {
            let above = self
                .lower
                .is_none_or(|low| value > low.value || (low.inclusive && value == low.value));
            let below = self
                .upper
                .is_none_or(|high| value < high.value || (high.inclusive && value == high.value));
            above && below
        };
        match (holds(0.0), holds(1.0)) {
            (true, false) => Some(false),
            (false, true) => Some(true),
            _ => None,
        }
    }
}

/// The names that a condition on categories leaves.
fn categories(input: &ModelInput, condition: &Condition) -> Vec<String> {
    let allowed = |name: &String| {
        let Some(code) = input.code(name) else {
            return false;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a code is a small whole number"
        )]
        let has = |set: &BTreeSet<u32>| set.contains(&(code as u32));
        condition.included.as_ref().is_none_or(has) && !has(&condition.excluded)
    };
    input.categories().into_iter().filter(allowed).collect()
}

/// The least whole number above a bound.
fn whole_lower(bound: Bound) -> Bound {
    let value = match bound.value.ceil() {
        value if value == bound.value && !bound.inclusive => value + 1.0,
        // Zero, never minus zero.
        value => value + 0.0,
    };
    Bound {
        value,
        inclusive: true,
    }
}

/// The greatest whole number below a bound.
fn whole_upper(bound: Bound) -> Bound {
    let value = match bound.value.floor() {
        value if value == bound.value && !bound.inclusive => value - 1.0,
        // Zero, never minus zero.
        value => value + 0.0,
    };
    Bound {
        value,
        inclusive: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    fn text(name: &str, condition: Condition) -> String {
        let model = sample::version(1);
        let feature = model.input(name).unwrap();
        Rule::new(&model.inputs[feature], &Condition { feature, ..condition }).text
    }

    fn bound(value: f64, inclusive: bool) -> Option<Bound> {
        Some(Bound { value, inclusive })
    }

    #[test]
    fn rules_read_as_intervals_and_lists() {
        let between = |lower, upper| Condition {
            lower,
            upper,
            ..Condition::default()
        };
        for (name, condition, expected) in [
            (
                "visits_30d",
                between(bound(4.0, true), bound(5.0, false)),
                "visits_30d = 4",
            ),
            (
                "visits_30d",
                between(bound(3.5, true), bound(9.0, false)),
                "4 ≤ visits_30d ≤ 8",
            ),
            ("visits_30d", between(None, bound(1.0, false)), "visits_30d ≤ 0"),
            (
                "monthly_price",
                between(bound(20.5, true), None),
                "monthly_price ≥ 20.5",
            ),
            (
                "monthly_price",
                between(bound(20.5, false), bound(30.0, false)),
                "20.5 < monthly_price < 30",
            ),
        ] {
            assert_eq!(text(name, condition), expected);
        }
        let plan = |included: Option<BTreeSet<u32>>, excluded: BTreeSet<u32>| Condition {
            included,
            excluded,
            ..Condition::default()
        };
        assert_eq!(
            text("plan", plan(None, [1].into())),
            "plan is starter or warehouse"
        );
        assert_eq!(
            text("plan", plan(Some([0, 1].into()), [1].into())),
            "plan is starter"
        );
        let missing = Condition {
            missing: Some(true),
            ..Condition::default()
        };
        assert_eq!(text("nps", missing), "nps is missing");
    }
}
