//! Assigns the lists of `pandas_categorical` to features.
//!
//! The file has one list for each column of the training frame whose dtype was `category`, in the order of the columns,
//! but does not say which columns these were. A categorical feature of the model need not have such a column (an integer
//! column named in `categorical_feature`), and such a column need not be a categorical feature (an ordered category, or
//! one that `categorical_feature` leaves out). A list is assigned only where the file allows no other reading.

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
}

/// The greatest product of lists and features for which lists are assigned; it bounds time and memory.
const MOST_PAIRS: usize = 1 << 20;

/// How the columns of the training frame may have been declared.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    /// LightGBM's default: every categorical feature was a `category` column.
    Automatic,
    /// `categorical_feature` was given: any feature may have been one.
    Explicit,
}

/// Returns the list of each feature, by position; `None` for a feature without a list or with an uncertain one.
pub(super) fn assign(lists: &[PandasList], columns: &[PandasColumn]) -> Vec<Option<usize>> {
    if lists.is_empty() || lists.len().saturating_mul(columns.len()) > MOST_PAIRS {
        return vec![None; columns.len()];
    }
    let automatic = possible(lists, columns, Reading::Automatic);
    let complete = columns
        .iter()
        .zip(&automatic)
        .all(|(column, found)| !column.categorical || found.len() == 1);
    let exact = columns.iter().zip(&automatic).all(|(column, found)| {
        let list = found.first().and_then(|list| lists.get(*list));
        !column.categorical || list.is_some_and(|list| is_exact(list, &column.info))
    });
    let found = if complete && exact {
        automatic
    } else {
        possible(lists, columns, Reading::Explicit)
    };
    let certain = |(column, found): (&PandasColumn, &Vec<usize>)| match found.as_slice() {
        [one] if column.categorical => Some(*one),
        _ => None,
    };
    columns.iter().zip(&found).map(certain).collect()
}

/// Returns the lists that each feature can have if every list belongs to a feature and their order is kept. A feature that
/// may also have none has two entries at least, so that it is not certain.
fn possible(lists: &[PandasList], columns: &[PandasColumn], reading: Reading) -> Vec<Vec<usize>> {
    let must = |column: &PandasColumn| reading == Reading::Automatic && column.categorical;
    let fits = |list: usize, column: &PandasColumn| lists.get(list).is_some_and(|list| fits(list, column));
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

/// Returns whether the codes of a feature can be positions in a list. A number must span the list exactly, as any small
/// whole number would fit otherwise.
fn fits(list: &PandasList, column: &PandasColumn) -> bool {
    match &column.info {
        FeatureInfo::Unused => true,
        FeatureInfo::Codes(greatest) => usize::try_from(*greatest).map_or(true, |code| code < list.length),
        FeatureInfo::Range(..) => column.categorical || is_exact(list, &column.info),
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

    fn list(length: usize) -> PandasList {
        PandasList {
            categories: Categories::Codes,
            length,
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

    #[test]
    fn a_list_is_assigned_only_where_it_is_certain() {
        /// Lengths of the lists, columns, and the list of each column.
        type AssignCase<'a> = (&'a [usize], &'a [&'a str], &'a [Option<usize>]);
        let cases: &[AssignCase<'_>] = &[
            // The default: each categorical feature was a column of categories.
            (
                &[3, 2],
                &["-1:2:1:0", "[0:9.5]", "-1:1:0"],
                &[Some(0), None, Some(1)],
            ),
            // An indicator or a small number beside them does not matter.
            (&[2], &["[0:1]", "-1:1:0", "[0:1]"], &[None, Some(0), None]),
            // A column with one category is not used, whether it was declared or not.
            (&[1, 4], &["*none", "-1:3:0:2:1"], &[Some(0), Some(1)]),
            (
                &[1, 4],
                &["none", "-1:3:0:2:1", "[0.1:0.9]"],
                &[None, Some(1), None],
            ),
            // Beside a categorical number without categories.
            (&[1, 4], &["none", "-1:3:0:2:1", "-1:5:0"], &[None, Some(1), None]),
            (
                &[1, 4],
                &["*none", "-1:3:0:2:1", "-1:5:0"],
                &[Some(0), Some(1), None],
            ),
            // Which of the two had the categories is unknown.
            (&[4], &["-1:3:0:2:1", "-1:3:1:2:0"], &[None, None]),
            // An ordered column has a list and is a number for the model.
            (
                &[4, 3],
                &["-1:3:0:2:1", "[0:2]", "[0.1:0.9]"],
                &[Some(0), None, None],
            ),
            (
                &[1, 4, 3],
                &["*none", "-1:3:0:2:1", "-1:5:0", "[0:2]"],
                &[Some(0), Some(1), None, None],
            ),
            // Rare categories that training did not see.
            (&[9, 4], &["-1:6:0", "-1:3:0:2:1"], &[Some(0), Some(1)]),
            (&[], &["-1:6:0"], &[None]),
        ];
        for (lists, columns, expected) in cases {
            let lists: Vec<PandasList> = lists.iter().map(|length| list(*length)).collect();
            let columns: Vec<PandasColumn> = columns.iter().map(|text| column(text)).collect();
            assert_eq!(assign(&lists, &columns), *expected);
        }
    }

    #[test]
    fn huge_lists_are_left_unassigned() {
        let lists: Vec<PandasList> = (0..4096).map(list).collect();
        let columns: Vec<PandasColumn> = (0..4096).map(|_| column("none")).collect();
        assert_eq!(assign(&lists, &columns), vec![None; 4096]);
    }
}
