//! The spellings of a category. One rule for every source: the name itself goes first, then other spellings of the same value.

/// Looks a category up by its name, else without blanks around it, else in another spelling of a boolean. With `whole`, where
/// the categories are whole numbers, also as the shortest number: `1.0` and `01` are `1`.
pub fn resolve<T>(category: &str, whole: bool, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    let trimmed = category.trim();
    find(category)
        .or_else(|| find(trimmed))
        .or_else(|| booleans(trimmed).iter().find_map(|name| find(name)))
        .or_else(|| find(&shortest(trimmed)).filter(|_| whole))
}

/// How the libraries write a boolean as a category: pandas as a text, CatBoost and integer columns as a number.
pub fn booleans(category: &str) -> &'static [&'static str] {
    if category.eq_ignore_ascii_case("true") {
        &["true", "True", "TRUE", "1"]
    } else if category.eq_ignore_ascii_case("false") {
        &["false", "False", "FALSE", "0"]
    } else {
        &[]
    }
}

/// Whether a category is a whole number, written as such.
pub fn is_whole(name: &str) -> bool {
    name.parse::<i64>().is_ok_and(|number| number.to_string() == name)
}

/// A whole number without leading zeros and decimals; any other text unchanged.
pub fn shortest(name: &str) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    let number = name.parse::<i64>().ok();
    let number = number.or_else(|| name.parse::<f64>().ok().and_then(whole));
    number.map_or_else(|| name.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_itself_goes_first_and_then_other_spellings() {
        let find = |known: &'static [&'static str], text: &str, whole: bool| {
            resolve(text, whole, |name| known.iter().position(|&other| other == name))
        };
        assert_eq!(find(&["a", " a"], " a", false), Some(1));
        assert_eq!(find(&["a"], " a ", false), Some(0));
        assert_eq!(find(&["False", "True"], "true", false), Some(1));
        assert_eq!(find(&["0", "1"], "FALSE", true), Some(0));
        assert_eq!(find(&["1"], "1.0", true), Some(0));
        assert_eq!(find(&["1"], "1.0", false), None);
        assert_eq!(find(&["1"], "x", true), None);
    }
}
