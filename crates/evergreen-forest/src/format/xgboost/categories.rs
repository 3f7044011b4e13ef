//! Reads `cats` (since 3.1): the categories of the training data. A category's position is its code.
//!
//! Names are stored as the signed bytes of all names in one array, divided by offsets.
//!
//! Releases 3.1 and 3.2 count a name's characters instead of its bytes, so names beyond ASCII are cut at the wrong
//! places (dmlc/xgboost#12371). Such names are dropped: codes stay right, and a contract can name them.

use crate::Categories;
use crate::document::{Document, Fault, ValueKind};

/// Reads the container. Features without categories are `None`.
pub(super) fn read<'a, D: Document<'a>>(document: &mut D) -> Result<Vec<Option<Categories>>, Fault> {
    let mut all = Vec::new();
    document.object(|document, key| match key {
        "enc" => document.array(|document, _| {
            all.push(encoding(document)?);
            Ok(())
        }),
        _ => document.skip(),
    })?;
    Ok(all)
}

fn encoding<'a, D: Document<'a>>(document: &mut D) -> Result<Option<Categories>, Fault> {
    let mut offsets: Option<Vec<usize>> = None;
    let mut values: Vec<i64> = Vec::new();
    let mut fractions = false;
    let start = document.offset();
    document.object(|document, key| match key {
        "offsets" => document.integers(offsets.get_or_insert_default()),
        "values" => {
            let mut numbers = Vec::new();
            document.array(|document, _| {
                if document.shape()? != ValueKind::Scalar {
                    return Err(document.fault("expected a number"));
                }
                numbers.push(document.f64()?);
                Ok(())
            })?;
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
            for number in numbers {
                fractions |= number.fract() != 0.0 || number.abs() > 9e15;
                values.push(number as i64);
            }
            Ok(())
        }
        _ => document.skip(),
    })?;
    match offsets {
        Some(offsets) => names(&offsets, &values).map_err(|why| Fault::new(start, why)),
        None if values.is_empty() => Ok(None),
        // Fractional categories are left to the caller to encode.
        None if fractions => Ok(Some(Categories::Codes)),
        None => Ok(Some(Categories::Integers(values))),
    }
}

fn names(offsets: &[usize], values: &[i64]) -> Result<Option<Categories>, String> {
    if offsets.len() < 2 {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(values.len());
    for value in values {
        let byte = i8::try_from(*value)
            .map(i8::cast_unsigned)
            .or_else(|_| u8::try_from(*value));
        bytes.push(byte.map_err(|_| format!("{value} is not a byte of a category name"))?);
    }
    let mut names = Vec::with_capacity(offsets.len() - 1);
    for pair in offsets.windows(2) {
        let name = match pair {
            [from, to] => bytes.get(*from..*to),
            _ => None,
        };
        let name = name.ok_or("offsets are outside the category names")?;
        match String::from_utf8(name.to_vec()) {
            Ok(name) => names.push(name),
            Err(_) => return Ok(Some(Categories::Codes)),
        }
    }
    Ok(Some(Categories::Names(names)))
}

/// Drops the names that the release `version` has cut at the wrong places.
pub(super) fn drop_garbled(all: &mut [Option<Categories>], version: &[u32]) {
    if !(version.starts_with(&[3, 1]) || version.starts_with(&[3, 2])) {
        return;
    }
    for categories in all {
        if let Some(Categories::Names(names)) = categories
            && !names.iter().all(|name| name.is_ascii())
        {
            *categories = Some(Categories::Codes);
        }
    }
}
