//! Reads `features_info`: the inputs, and which of them each kind of split tests.

use crate::builder::EnsembleBuilder;
use crate::document::{Document, Fault};
use crate::ensemble::SplitTest;
use crate::{Categories, Feature, FeatureKind};

/// The inputs of a model.
pub(super) struct CatBoostInputs {
    /// By position in a row.
    pub(super) features: Vec<Feature>,
    /// True if names come from the file.
    pub(super) named: bool,
    floats: Vec<Option<FloatInput>>,
    categories: Vec<Option<CategoricalInput>>,
}

/// A numeric feature.
#[derive(Clone)]
struct FloatInput {
    position: u32,
    /// A missing value is less than every border.
    missing_left: bool,
}

/// A categorical feature.
#[derive(Clone)]
struct CategoricalInput {
    position: u32,
    /// The hash of each category, with the test for it.
    tests: Vec<(i64, SplitTest<f64>)>,
}

/// An entry of any feature list.
#[derive(Default)]
struct FeatureEntry {
    name: String,
    index: usize,
    position: u32,
    treatment: String,
    values: Vec<i64>,
}

/// Reads the inputs and adds the sets of one-hot categories to `builder`.
pub(super) fn read<'a, D: Document<'a>>(
    document: &mut D,
    builder: &mut EnsembleBuilder<f64>,
) -> Result<CatBoostInputs, Fault> {
    let mut floats = Vec::new();
    let mut categories = Vec::new();
    let mut unsupported = Vec::new();
    let start = document.offset();
    document.object(|document, key| match key {
        "float_features" => entries(document, &mut floats),
        "categorical_features" => entries(document, &mut categories),
        "text_features" => named(document, "text feature", &mut unsupported),
        "embedding_features" => named(document, "embedding feature", &mut unsupported),
        "ctrs" => ctrs(document, &mut unsupported),
        _ => document.skip(),
    })?;
    reject_unsupported(&unsupported, &categories).map_err(|why| Fault::new(start, why))?;
    let mut inputs = CatBoostInputs {
        features: Vec::new(),
        named: false,
        floats: Vec::new(),
        categories: Vec::new(),
    };
    // Positions index a row, so they are below the number of entries.
    let count = floats.len() + categories.len();
    inputs.features = (0..count).map(unnamed).collect();
    let fault = |why: String| Fault::new(start, why);
    for entry in floats {
        inputs.add_float(entry, count).map_err(fault)?;
    }
    for entry in categories {
        inputs.add_category(entry, count, builder).map_err(fault)?;
    }
    Ok(inputs)
}

/// A feature that the library computes during prediction.
enum UnsupportedInput {
    /// A feature with a name of its own.
    Named(&'static str, String),
    /// Statistics of these categorical features.
    Ctr(Vec<usize>),
}

fn reject_unsupported(unsupported: &[UnsupportedInput], categories: &[FeatureEntry]) -> Result<(), String> {
    let mut names = Vec::new();
    for unsupported in unsupported {
        match unsupported {
            UnsupportedInput::Named(kind, name) => names.push(format!("{kind} `{name}`")),
            UnsupportedInput::Ctr(indices) => names.extend(indices.iter().map(|index| {
                let entry = categories.iter().find(|entry| entry.index == *index);
                format!("`{}`", entry.map_or("?", |entry| entry.name.as_str()))
            })),
        }
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    names.truncate(20);
    Err(format!(
        "CTR statistics, text and embedding features are not supported, found {}; train with one_hot_max_size at least the number \
         of categories, or encode these features before training",
        names.join(", ")
    ))
}

/// Creates an input without an entry.
fn unnamed(position: usize) -> Feature {
    Feature {
        name: position.to_string(),
        kind: FeatureKind::Number,
        categories: None,
        splits: 0,
        gain: 0.0,
    }
}

impl CatBoostInputs {
    fn describe(&mut self, entry: &FeatureEntry, count: usize) -> Result<&mut Feature, String> {
        let position = entry.position as usize;
        let feature = self.features.get_mut(position).ok_or_else(|| {
            format!("flat_feature_index {position} is out of range: the model has {count} features")
        })?;
        if !entry.name.is_empty() && entry.name != position.to_string() {
            self.named = true;
            feature.name.clone_from(&entry.name);
        }
        Ok(feature)
    }

    fn add_float(&mut self, entry: FeatureEntry, count: usize) -> Result<(), String> {
        self.describe(&entry, count)?;
        let missing_left = match entry.treatment.as_str() {
            "AsTrue" => false,
            // Without a rule, NaN is greater than no border.
            "AsFalse" | "AsIs" | "" => true,
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(format!(
                    "unknown nan_value_treatment `{other}`, expected AsTrue, AsFalse or AsIs"
                ));
            }
        };
        place(&mut self.floats, entry.index, count)?.replace(FloatInput {
            position: entry.position,
            missing_left,
        });
        Ok(())
    }

    fn add_category(
        &mut self,
        entry: FeatureEntry,
        count: usize,
        builder: &mut EnsembleBuilder<f64>,
    ) -> Result<(), String> {
        let mut hashes = Vec::with_capacity(entry.values.len());
        let mut tests = Vec::with_capacity(entry.values.len());
        for (code, value) in entry.values.iter().enumerate() {
            let code = u32::try_from(code).map_err(|_| "the feature has too many categories")?;
            tests.push((*value, builder.set(vec![code])?));
            hashes.push(hash(*value)?);
        }
        let feature = self.describe(&entry, count)?;
        feature.kind = FeatureKind::Category;
        feature.categories = Some(Categories::Hashes(hashes));
        tests.sort_by_key(|(value, _)| *value);
        place(&mut self.categories, entry.index, count)?.replace(CategoricalInput {
            position: entry.position,
            tests,
        });
        Ok(())
    }

    /// Returns the position, test and missing rule of a split on a number. The test is `x <= border`.
    pub(super) fn float(&self, index: usize, border: f32) -> Result<(u32, SplitTest<f64>, bool), String> {
        let float = self.floats.get(index).and_then(Option::as_ref);
        let float = float.ok_or_else(|| format!("float feature {index} does not exist"))?;
        Ok((
            float.position,
            SplitTest::Threshold(f64::from(border)),
            float.missing_left,
        ))
    }

    /// Returns the position and test of a split on a category. The test is "x is this category".
    pub(super) fn category(&self, index: usize, value: i64) -> Result<(u32, SplitTest<f64>), String> {
        let category = self.categories.get(index).and_then(Option::as_ref);
        let category = category.ok_or_else(|| format!("categorical feature {index} does not exist"))?;
        let test = category.tests.binary_search_by_key(&value, |(value, _)| *value);
        let test = test.ok().and_then(|at| category.tests.get(at));
        let (_, test) =
            test.ok_or_else(|| format!("category {value} is missing from the feature's values"))?;
        Ok((category.position, *test))
    }
}

/// Returns the place of an entry in a list by index, and extends the list up to it.
fn place<T: Clone>(list: &mut Vec<Option<T>>, index: usize, count: usize) -> Result<&mut Option<T>, String> {
    if index >= count {
        return Err(format!(
            "feature_index {index} is out of range: the model has {count} features"
        ));
    }
    if list.len() <= index {
        list.resize(index + 1, None);
    }
    list.get_mut(index)
        .ok_or_else(|| "the model has too many features".to_owned())
}

/// Converts a hash, which the file writes as a signed number.
#[expect(clippy::cast_sign_loss, reason = "the same 32 bits")]
fn hash(value: i64) -> Result<u32, String> {
    i32::try_from(value)
        .map(|value| value as u32)
        .or_else(|_| u32::try_from(value))
        .map_err(|_| format!("values: {value} is not a 32-bit hash"))
}

fn entries<'a, D: Document<'a>>(document: &mut D, into: &mut Vec<FeatureEntry>) -> Result<(), Fault> {
    document.array(|document, _| {
        let mut entry = FeatureEntry::default();
        document.object(|document, key| match key {
            "feature_id" => document.text().map(|name| entry.name = name.into_owned()),
            "feature_index" => index(document).map(|index| entry.index = index as usize),
            "flat_feature_index" => index(document).map(|position| entry.position = position),
            "nan_value_treatment" => document.text().map(|text| entry.treatment = text.into_owned()),
            "values" => document.integers(&mut entry.values),
            _ => document.skip(),
        })?;
        into.push(entry);
        Ok(())
    })
}

fn index<'a, D: Document<'a>>(document: &mut D) -> Result<u32, Fault> {
    let index = document.integer()?;
    u32::try_from(index).map_err(|_| document.fault(format!("{index} is no index")))
}

fn named<'a, D: Document<'a>>(
    document: &mut D,
    kind: &'static str,
    into: &mut Vec<UnsupportedInput>,
) -> Result<(), Fault> {
    let mut found = Vec::new();
    entries(document, &mut found)?;
    into.extend(
        found
            .into_iter()
            .map(|entry| UnsupportedInput::Named(kind, entry.name)),
    );
    Ok(())
}

fn ctrs<'a, D: Document<'a>>(document: &mut D, into: &mut Vec<UnsupportedInput>) -> Result<(), Fault> {
    document.array(|document, _| {
        let mut indices = Vec::new();
        document.object(|document, key| match key {
            "elements" => document.array(|document, _| {
                document.object(|document, key| match key {
                    "cat_feature_index" => index(document).map(|index| indices.push(index as usize)),
                    _ => document.skip(),
                })
            }),
            _ => document.skip(),
        })?;
        into.push(UnsupportedInput::Ctr(indices));
        Ok(())
    })
}
