//! LightGBM text, versions v3 and v4.
//!
//! ```text
//! tree                          header: key=value
//! Tree=0 …                      one block per tree: key=value, arrays separated by spaces
//! end of trees
//! feature_importances: …        not read
//! parameters: [categorical_feature: 0,3] …      only this one is read
//! pandas_categorical:[[…], …]   categories of the columns that were categorical in a frame
//! ```
//! Everything is `f64`, printed so that it reads back exactly.

mod header;
mod lines;
mod objective;
mod pandas;
mod tree;

use self::header::LightGbmHeader;
use self::lines::LineReader;
use self::objective::LightGbmObjective;
use self::pandas::{Assigned, FeatureInfo, PandasColumn, PandasList};
use self::tree::LightGbmTree;
use crate::builder::{BuildOutput, EnsembleBuilder, EnsembleSettings};
use crate::document::{Document, Fault, Json, ValueKind};
use crate::ensemble::{CodeRule, InputRule, MarginRule, ThresholdRule};
use crate::format::limits;
use crate::transform::Transform;
use crate::{Categories, Feature, FeatureKind, Forest, Format, FormatError, LoadOptions, Summary, Trees};

/// Reads a model.
///
/// The file does not record a best iteration: the library saves only the trees up to it.
pub(super) fn read(bytes: &[u8], _options: &LoadOptions) -> Result<Forest, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|error| FormatError {
        at: format!("byte {}", error.valid_up_to()),
        reason: "not valid UTF-8".into(),
    })?;
    let mut lines = LineReader::new(text);
    let header = LightGbmHeader::read(&mut lines)?;
    limits::check("max_feature_idx", header.features, bytes.len())?;
    limits::check("num_tree_per_iteration", header.groups, bytes.len())?;
    let objective = objective::find(&header.objective).map_err(|why| at("objective", why))?;
    let builder = trees(&mut lines, header.groups)?;
    let footer = Footer::read(&mut lines)?;
    let trees = builder.trees();
    let rounds = trees / header.groups;
    if rounds * header.groups != trees {
        let why = format!(
            "{trees} trees are not a multiple of {} trees per iteration",
            header.groups
        );
        return Err(at("num_tree_per_iteration", why));
    }
    let rest = EnsembleSettings {
        features: header.features,
        groups: header.groups,
        base: vec![0.0; header.groups],
        finish: MarginRule::None,
    };
    let built = builder
        .finish(rest)
        .map_err(|(tree, why)| at(&format!("Tree={tree}"), why))?;
    let features = features(&header, &built, footer);
    let ensemble = built.ensemble;
    let linear = !ensemble.linear.is_empty();
    Ok(Forest {
        transform: transform(&objective, header.average, rounds),
        classes: objective.classes(),
        contributions: match linear {
            true => Err("the leaves are linear functions, for which LightGBM has no contributions either"),
            false => Ok(()),
        },
        features,
        summary: Summary {
            format: Format::LightGbm,
            library_version: Some(header.version),
            objective: header.objective,
            task: objective.task,
            named: header.named,
            trees: ensemble.trees.len(),
            groups: ensemble.groups,
            depth: built.depth,
            leaves: ensemble.leaves.len(),
            best_iteration: None,
        },
        trees: Trees::F64(ensemble.into()),
    })
}

/// Returns the transform. A random forest's margins are sums; only its values are averaged.
#[expect(clippy::cast_precision_loss, reason = "a count of trees is far below 2^52")]
fn transform(objective: &LightGbmObjective, average: bool, rounds: usize) -> Transform {
    let transform = Transform::from(objective.link);
    if average && rounds > 0 {
        transform.averaged(rounds as f64)
    } else {
        transform
    }
}

/// Reads the blocks of trees, up to `end of trees`.
fn trees(lines: &mut LineReader<'_>, groups: usize) -> Result<EnsembleBuilder<f64>, FormatError> {
    let mut builder = EnsembleBuilder::new(
        ThresholdRule::LessEqual,
        CodeRule::Truncated,
        InputRule::TinyIsZero,
    );
    let mut columns = LightGbmTree::default();
    while let Some(line) = lines.peek() {
        if line == "end of trees" {
            return Ok(builder);
        }
        if line.is_empty() {
            lines.next();
            continue;
        }
        let number = builder.trees();
        if line != format!("Tree={number}") {
            return Err(lines.fault(format!("expected `Tree={number}` or `end of trees`")));
        }
        lines.next();
        columns
            .read(lines)
            .and_then(|()| columns.build(&mut builder).map_err(|why| lines.fault(why)))
            .map_err(|error| FormatError {
                at: format!("{}, Tree={number}", error.at),
                ..error
            })?;
        builder.group(number, u32::try_from(number % groups).unwrap_or(u32::MAX));
    }
    Err(lines.fault("unexpected end of the file; expected `end of trees`"))
}

/// What follows the trees.
#[derive(Default)]
struct Footer {
    /// The features declared categorical, by position.
    declared: Vec<usize>,
    /// The categories of the training frame's columns.
    lists: Vec<PandasList>,
}

impl Footer {
    /// Reads the rest of the file.
    fn read(lines: &mut LineReader<'_>) -> Result<Self, FormatError> {
        let mut footer = Self::default();
        while let Some(line) = lines.next() {
            if let Some(positions) = line.strip_prefix("[categorical_feature: ") {
                // Names instead of positions come from the command line, where no frame has categories.
                let positions = positions.trim_end_matches(']').split(',');
                footer.declared = positions.filter_map(|position| position.parse().ok()).collect();
            } else if let Some(json) = line.strip_prefix("pandas_categorical:") {
                let mut document = Json::new(json.as_bytes());
                if document.shape().map_err(|fault| lines.within(fault))? == ValueKind::Array {
                    footer.lists = pandas_lists(&mut document, json).map_err(|fault| lines.within(fault))?;
                }
                break;
            }
        }
        Ok(footer)
    }
}

fn pandas_lists(document: &mut Json<'_>, json: &str) -> Result<Vec<PandasList>, Fault> {
    let mut all = Vec::new();
    document.array(|document, _| {
        let mut names = Vec::new();
        let mut numbers = Vec::new();
        let mut length = 0;
        let mut is_its_codes = true;
        document.array(|document, position| {
            length += 1;
            let number = match document.shape()? {
                ValueKind::Text => {
                    let name = document.text()?.into_owned();
                    let number = name.trim().parse().ok();
                    names.push(name);
                    number
                }
                ValueKind::Scalar => {
                    let (number, whole) = scalar(document, json);
                    numbers.extend(whole);
                    Some(number)
                }
                _ => {
                    document.skip()?;
                    None
                }
            };
            #[expect(clippy::cast_precision_loss, reason = "a position is below 2^53")]
            let other = number.is_some_and(|number: f64| number != position as f64);
            is_its_codes &= !other;
            Ok(())
        })?;
        // Mixed and other types are left to the caller to encode.
        let categories = if names.len() == length {
            Categories::Names(names)
        } else if numbers.len() == length {
            Categories::Integers(numbers)
        } else {
            Categories::Codes
        };
        all.push(PandasList {
            categories,
            length,
            is_its_codes,
        });
        Ok(())
    })?;
    Ok(all)
}

/// Reads a number or a boolean. Returns its value as a number, and as an integer if it is one.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
fn scalar(document: &mut Json<'_>, json: &str) -> (f64, Option<i64>) {
    let start = document.offset();
    match document.f64() {
        Ok(number) => {
            let whole = number.fract() == 0.0 && number.abs() < 9e15;
            (number, whole.then_some(number as i64))
        }
        // Booleans are not numbers; the word has been consumed.
        Err(_) => {
            let word = json.get(start..).unwrap_or_default().trim_start();
            (f64::from(u8::from(word.starts_with("true"))), None)
        }
    }
}

fn features(header: &LightGbmHeader, built: &BuildOutput<f64>, footer: Footer) -> Vec<Feature> {
    let mut columns: Vec<PandasColumn> = (0..header.features)
        .map(|position| {
            let info = header.infos.get(position).cloned().unwrap_or(FeatureInfo::Unused);
            PandasColumn {
                categorical: matches!(info, FeatureInfo::Codes(_))
                    || built.categorical.get(position) == Some(&true),
                info,
            }
        })
        .collect();
    for position in footer.declared {
        if let Some(column) = columns.get_mut(position) {
            column.categorical = true;
        }
    }
    let assigned = pandas::assign(&footer.lists, &columns);
    let mut features = Vec::with_capacity(header.features);
    for (position, (splits, gain)) in built.use_of.iter().enumerate() {
        let category = columns.get(position).is_some_and(|column| column.categorical);
        let categories = match assigned.get(position) {
            Some(Assigned::Uncertain) => Some(Categories::Uncertain),
            Some(Assigned::List(list)) => footer.lists.get(*list).map(|list| list.categories.clone()),
            Some(Assigned::Nothing) | None => None,
        };
        features.push(Feature {
            name: header
                .names
                .get(position)
                .cloned()
                .unwrap_or_else(|| format!("Column_{position}")),
            kind: if category {
                FeatureKind::Category
            } else {
                FeatureKind::Number
            },
            categories: categories.or_else(|| category.then_some(Categories::Codes)),
            splits: *splits,
            gain: *gain,
        });
    }
    features
}

/// Creates an error at a named part of the model.
fn at(path: &str, reason: impl Into<String>) -> FormatError {
    FormatError {
        at: path.to_owned(),
        reason: reason.into(),
    }
}
