//! Assigns the lists of `pandas_categorical` to features.
//!
//! The file has one list for each column of the training frame whose dtype was `category`, in the order of the columns,
//! but does not say which columns these were. A categorical feature of the model need not have such a column (an integer
//! column named in `categorical_feature`), and such a column need not be a categorical feature (an ordered category, or
//! one that `categorical_feature` leaves out). A list is assigned where the file allows no other reading. A list of names is
//! also assigned where LightGBM's default allows one reading: should it be another column's, then that column's texts are
//! refused as numbers. With a list of numbers nothing would tell, so such features stay uncertain.

use crate::Categories;

/// The values of a feature in training, from `feature_infos`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FeatureInfo {
    /// `none`: the feature had one value only and is not used.
    Unused,
    /// `[low:high]`: the range of a number.
    Range(f64, f64),
    /// `-1:3:0:2`: codes of categories; holds the greatest.
    Codes(i64),
}

impl FeatureInfo {
    /// Parses an info. An unreadable range counts as any range.
    pub(super) fn parse(info: &str) -> Self {
        if info == "none" {
            return Self::Unused;
        }
        if let Some(range) = info.strip_prefix('[') {
            let bounds = range.trim_end_matches(']').split_once(':');
            let bounds = bounds.and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            let (low, high) = bounds.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
            return Self::Range(low, high);
        }
        let codes = info.split(':').filter_map(|code| code.parse().ok());
        Self::Codes(codes.max().unwrap_or(-1))
    }
}

/// What the file says of one feature.
pub(super) struct PandasColumn {
    /// The model treats the feature as a category.
    pub(super) categorical: bool,
    pub(super) info: FeatureInfo,
}

/// One list of `pandas_categorical`.
pub(super) struct PandasList {
    pub(super) categories: Categories,
    pub(super) length: usize,
    /// Each category that is a number, or a text of one, equals its position.
    pub(super) is_its_codes: bool,
}

/// The greatest product of lists and features for which lists are assigned; it bounds time and memory.
const MOST_PAIRS: usize = 1 << 20;

/// How the columns of the training frame may have been declared.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    /// LightGBM's default: every categorical feature was a `category` column.
    Automatic,
    /// `categorical_feature` was given: any feature may have been one. A number among them had all its categories.
    Explicit,
    /// As `Explicit`, and training may have seen only some of the categories of a number.
    Loose,
}

/// The categories of a feature, as far as the file tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Assigned {
    /// None, or none that matter: its values are codes.
    Nothing,
    /// The list at this position.
    List(usize),
    /// It may have a list by which a number is not its own code.
    Uncertain,
}

/// Returns the categories of each feature, by position.
pub(super) fn assign(lists: &[PandasList], columns: &[PandasColumn]) -> Vec<Assigned> {
    if lists.is_empty() {
        return vec![Assigned::Nothing; columns.len()];
    }
    if lists.len().saturating_mul(columns.len()) > MOST_PAIRS {
        return vec![Assigned::Uncertain; columns.len()];
    }
    let automatic = possible(lists, columns, Reading::Automatic);
    let feasible = automatic.iter().any(|found| !found.is_empty());
    let complete = feasible
        && columns
            .iter()
            .zip(&automatic)
            .all(|(column, found)| !column.categorical || found.len() == 1);
    let exact = columns.iter().zip(&automatic).all(|(column, found)| {
        let list = found.first().and_then(|list| lists.get(*list));
        !column.categorical || list.is_some_and(|list| is_exact(list, &column.info))
    });
    let explicit = possible(lists, columns, Reading::Explicit);
    let wide = match complete {
        true => explicit.clone(),
        false => possible(lists, columns, Reading::Loose),
    };
    let unplaced = wide.iter().all(Vec::is_empty) && lists.iter().any(PandasList::is_risky);
    let one = |position: usize| match explicit.get(position).map(Vec::as_slice) {
        Some([one]) => Assigned::List(*one),
        Some([_, ..]) if complete && exact => match automatic.get(position).map(Vec::as_slice) {
            Some([one]) if columns.get(position).is_some_and(|column| column.categorical) => {
                Assigned::List(*one)
            }
            _ => Assigned::Nothing,
        },
        _ => Assigned::Nothing,
    };
    let certain = |(position, found): (usize, &Vec<usize>)| {
        let risky = |list: &usize| lists.get(*list).is_some_and(PandasList::is_risky);
        match found.as_slice() {
            _ if unplaced => Assigned::Uncertain,
            [list] if lists.get(*list).is_some_and(PandasList::is_named) => Assigned::List(*list),
            found if found.iter().any(risky) => Assigned::Uncertain,
            _ => one(position),
        }
    };
    wide.iter().enumerate().map(certain).collect()
}

impl PandasList {
    /// Returns whether a number in the training data was not the code of the category of that name.
    fn is_risky(&self) -> bool {
        !self.is_its_codes
    }

    /// Returns whether the categories can be told by name or number.
    fn is_named(&self) -> bool {
        matches!(self.categories, Categories::Names(_) | Categories::Integers(_))
    }
}

/// Returns the lists that each feature can have if every list belongs to a feature and their order is kept. A feature that
/// may also have none has two entries at least, so that it is not certain.
fn possible(lists: &[PandasList], columns: &[PandasColumn], reading: Reading) -> Vec<Vec<usize>> {
    let must = |column: &PandasColumn| reading == Reading::Automatic && column.categorical;
    let fits =
        |list: usize, column: &PandasColumn| lists.get(list).is_some_and(|list| fits(list, column, reading));
    let reach = |before: &[bool], column: &PandasColumn| -> Vec<bool> {
        let used = |count: usize| before.get(count).copied().unwrap_or(false);
        let taken = |count: usize| {
            count
                .checked_sub(1)
                .is_some_and(|list| used(list) && fits(list, column))
        };
        (0..=lists.len())
            .map(|count| taken(count) || (!must(column) && used(count)))
            .collect()
    };
    // `forward[f][n]`: the first n lists can belong to the first f features.
    let mut forward = vec![(0..=lists.len()).map(|count| count == 0).collect::<Vec<bool>>()];
    for (position, column) in columns.iter().enumerate() {
        let next = forward.get(position).map(|before| reach(before, column));
        forward.extend(next);
    }
    // `after[n]`: the lists from n on can belong to the features behind the current one.
    let mut after: Vec<bool> = (0..=lists.len()).map(|count| count == lists.len()).collect();
    let mut found = vec![Vec::new(); columns.len()];
    let rest = found.iter_mut().zip(columns).zip(&forward).rev();
    for ((found, column), before) in rest {
        let at = |flags: &[bool], count: usize| flags.get(count).copied().unwrap_or(false);
        let holds = |list: usize| fits(list, column) && at(before, list) && at(&after, list + 1);
        found.extend((0..lists.len()).filter(|list| holds(*list)));
        let skips = |count: usize| !must(column) && at(before, count) && at(&after, count);
        if (0..=lists.len()).any(skips) && !found.is_empty() {
            found.push(usize::MAX);
        }
        let step = |count: usize| {
            (!must(column) && at(&after, count)) || (fits(count, column) && at(&after, count + 1))
        };
        after = (0..=lists.len()).map(step).collect();
    }
    found
}

/// Returns whether the codes of a feature can be positions in a list. Unless the reading is loose, a number must span the list
/// exactly, as any small whole number would fit otherwise.
#[expect(clippy::cast_precision_loss, reason = "a list of names is shorter than 2^53")]
fn fits(list: &PandasList, column: &PandasColumn, reading: Reading) -> bool {
    match &column.info {
        FeatureInfo::Unused => true,
        FeatureInfo::Codes(greatest) => usize::try_from(*greatest).map_or(true, |code| code < list.length),
        FeatureInfo::Range(low, high) => {
            let within =
                *low >= 0.0 && *high < list.length as f64 && low.fract() == 0.0 && high.fract() == 0.0;
            column.categorical || is_exact(list, &column.info) || (reading == Reading::Loose && within)
        }
    }
}

/// Returns whether training saw the first and the last category of a list, as it does unless categories are rare.
#[expect(clippy::cast_precision_loss, reason = "a list of names is shorter than 2^53")]
fn is_exact(list: &PandasList, info: &FeatureInfo) -> bool {
    match info {
        FeatureInfo::Unused => true,
        FeatureInfo::Codes(greatest) => usize::try_from(*greatest).is_ok_and(|code| code + 1 == list.length),
        FeatureInfo::Range(low, high) => *low == 0.0 && *high + 1.0 == list.length as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Categories with names, or with numbers that are not their own codes.
    fn list(length: usize, risky: bool) -> PandasList {
        PandasList {
            categories: match risky {
                false => Categories::Names(vec![String::new(); length]),
                true => Categories::Integers(vec![7; length]),
            },
            length,
            is_its_codes: !risky,
        }
    }

    /// A column from its info; `*` marks one that the model treats as a category.
    fn column(text: &str) -> PandasColumn {
        let info = FeatureInfo::parse(text.trim_start_matches('*'));
        PandasColumn {
            categorical: text.starts_with('*') || matches!(info, FeatureInfo::Codes(_)),
            info,
        }
    }

    #[test]
    fn infos_are_read() {
        for (text, expected) in [
            ("none", FeatureInfo::Unused),
            ("[0:2]", FeatureInfo::Range(0.0, 2.0)),
            ("[-1.5:1e300]", FeatureInfo::Range(-1.5, 1e300)),
            ("[odd]", FeatureInfo::Range(f64::NEG_INFINITY, f64::INFINITY)),
            ("-1:3:0:12", FeatureInfo::Codes(12)),
        ] {
            assert_eq!(FeatureInfo::parse(text), expected, "{text}");
        }
    }

    fn assigned(lengths: &[usize], columns: &[&str], risky: bool) -> String {
        let lists: Vec<PandasList> = lengths.iter().map(|length| list(*length, risky)).collect();
        let columns: Vec<PandasColumn> = columns.iter().map(|text| column(text)).collect();
        let words = assign(&lists, &columns)
            .into_iter()
            .map(|assigned| match assigned {
                Assigned::Nothing => "-".to_owned(),
                Assigned::List(list) => list.to_string(),
                Assigned::Uncertain => "?".to_owned(),
            });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_is_assigned_only_where_it_is_certain() {
        /// Lengths of the lists, columns, and the lists of the columns if categories are names and if they are numbers.
        type AssignCase<'a> = (&'a [usize], &'a [&'a str], &'a str, &'a str);
        let cases: &[AssignCase<'_>] = &[
            // The default: each categorical feature was a column of categories.
            (&[3, 2], &["-1:2:1:0", "[0:9.5]", "-1:1:0"], "0 - 1", "0 - 1"),
            (&[3, 2], &["-1:2:1:0", "[0:1]", "-1:1:0"], "0 - 1", "0 ? ?"),
            // An indicator beside them may be an ordered category: a text tells, a number does not.
            (&[2], &["[0:1]", "-1:1:0", "[0:1]"], "- 0 -", "? ? ?"),
            // A column with one category is not used, whether it was declared or not.
            (&[1, 4], &["*none", "-1:3:0:2:1"], "0 1", "0 1"),
            (&[1, 4], &["none", "-1:3:0:2:1", "[0.1:0.9]"], "0 1 -", "0 1 -"),
            // Beside a categorical number without categories.
            (&[1, 4], &["none", "-1:3:0:2:1", "-1:5:0"], "0 1 -", "0 1 -"),
            // Which of the two had the categories is unknown.
            (&[4], &["-1:3:0:2:1", "-1:3:1:2:0"], "- -", "? ?"),
            // An ordered column has a list and is a number for the model.
            (&[4, 3], &["-1:3:0:2:1", "[0:2]", "[0.1:0.9]"], "0 1 -", "0 1 -"),
            (
                &[1, 4, 3],
                &["*none", "-1:3:0:2:1", "-1:5:0", "[0:2]"],
                "0 1 - 2",
                "0 1 - 2",
            ),
            // Rare categories that training did not see.
            (&[9, 4], &["-1:6:0", "-1:3:0:2:1"], "0 1", "0 1"),
            (&[9], &["[0:6]"], "0", "0"),
            (&[9], &["[0:6]", "[0:7]"], "- -", "? ?"),
            // No column can have had this list.
            (&[2], &["-1:6:0"], "-", "?"),
            (&[], &["-1:6:0"], "-", "-"),
        ];
        for (lists, columns, names, numbers) in cases {
            assert_eq!(assigned(lists, columns, false), *names, "{lists:?} {columns:?}");
            assert_eq!(assigned(lists, columns, true), *numbers, "{lists:?} {columns:?}");
        }
    }

    #[test]
    fn huge_lists_are_left_unassigned() {
        let lists: Vec<PandasList> = (0..4096).map(|length| list(length, false)).collect();
        let columns: Vec<PandasColumn> = (0..4096).map(|_| column("none")).collect();
        assert_eq!(assign(&lists, &columns), vec![Assigned::Uncertain; 4096]);
    }
}
