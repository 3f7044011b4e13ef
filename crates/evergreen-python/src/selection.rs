//! Which column of a table belongs to which feature, by name.

use std::collections::HashMap;

use evergreen::models::contract::{FeatureContract, FeatureType};
use evergreen::models::input::ModelInput;

use crate::model::Model;

/// Column with the time at which a row was observed, as in a snapshot.
pub(crate) const AS_OF: &str = "as_of";

/// Names listed in an error.
const LISTED: usize = 8;

/// The columns that a model reads.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The names of all columns of the table; none for a matrix.
    names: Vec<String>,
    /// Their positions in the table.
    pub(crate) columns: Vec<usize>,
    /// By slot, its position in `columns`; `None` for a feature that is derived from others.
    pub(crate) slots: Vec<Option<usize>>,
    /// Position in `columns` of the time as of which features are derived.
    pub(crate) as_of: Option<usize>,
    /// By slot, whether a derived feature needs its value.
    pub(crate) is_operand: Vec<bool>,
}

impl Selection {
    /// Matches the columns of a table. A column has the name that the feature has in stores, or its name in the model. A derived
    /// feature that has a column of its own is read, not computed.
    ///
    /// # Errors
    /// A column is missing, or there are two of its name.
    pub(crate) fn by_name<'a>(model: &Model, names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut positions: HashMap<&str, Option<usize>> = HashMap::new();
        let mut all = Vec::new();
        for (position, name) in names.enumerate() {
            all.push(name);
            // `None` is for a name that two columns have.
            let first = |found: &mut Option<usize>| *found = None;
            positions.entry(name).and_modify(first).or_insert(Some(position));
        }
        let mut columns = Vec::new();
        let mut missing = Vec::new();
        let mut slots = Vec::with_capacity(model.slots());
        for (slot, contract) in (0..model.slots()).filter_map(|slot| Some((slot, model.slot(slot)?))) {
            let stored = positions.get(contract.column());
            let found = stored.or_else(|| positions.get(contract.name.as_str()));
            slots.push(match found {
                Some(Some(position)) => {
                    columns.push(*position);
                    Some(columns.len() - 1)
                }
                Some(None) => {
                    return Err(format!(
                        "two columns for feature `{}`; rename or drop one",
                        contract.name
                    ));
                }
                None => {
                    if model.derived(slot).is_none() {
                        missing.push(contract);
                    }
                    None
                }
            });
        }
        if !missing.is_empty() {
            return Err(missing_columns(&missing, &all));
        }
        let mut selection = Self::of_slots(model, columns, slots);
        selection.names = all.into_iter().map(str::to_owned).collect();
        if selection.derives()
            && let Some(Some(position)) = positions.get(AS_OF)
        {
            selection.columns.push(*position);
            selection.as_of = Some(selection.columns.len() - 1);
        }
        Ok(selection)
    }

    /// The columns of a matrix: one per input, in the model's order.
    ///
    /// # Errors
    /// The matrix has another width, or a feature takes what no matrix holds.
    pub(crate) fn by_position(model: &Model, width: usize) -> Result<Self, String> {
        let inputs = model.inputs();
        if width != inputs.len() {
            return Err(format!(
                "expected {} columns, one per feature in the order of Scorer.features, found {width}",
                inputs.len()
            ));
        }
        if let Some(input) = inputs.iter().find(|input| takes_texts(input)) {
            return Err(format!(
                "an array holds numbers only, but feature `{}` is a category; pass a table with named columns",
                input.contract.name
            ));
        }
        let slots = (0..model.slots()).map(|slot| (slot < width).then_some(slot));
        Ok(Self::of_slots(model, (0..width).collect(), slots.collect()))
    }

    fn of_slots(model: &Model, columns: Vec<usize>, slots: Vec<Option<usize>>) -> Self {
        let mut is_operand = vec![false; slots.len()];
        for (position, column) in slots.iter().enumerate() {
            if let (Some(derived), None) = (model.derived(position), column) {
                for &slot in derived.slots() {
                    is_operand[slot] = true;
                }
            }
        }
        Self {
            names: Vec::new(),
            columns,
            slots,
            as_of: None,
            is_operand,
        }
    }

    /// Whether it is that of a table with these columns.
    pub(crate) fn is_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        self.names.iter().map(String::as_str).eq(names)
    }

    /// Whether any feature is derived from others.
    pub(crate) fn derives(&self) -> bool {
        self.is_operand.iter().any(|&is_operand| is_operand)
    }
}

fn missing_columns(missing: &[&FeatureContract], found: &[&str]) -> String {
    let names = missing.iter().take(LISTED).map(|contract| {
        let kind = contract.kind.label();
        format!("`{}` ({kind})", contract.column())
    });
    let names: Vec<String> = names.collect();
    let (missing, listed) = (missing.len(), found.len().min(LISTED));
    let more = |left: usize| {
        if left > 0 {
            format!(" and {left} more")
        } else {
            String::new()
        }
    };
    format!(
        "missing column{}: {}{}; found {}{}",
        if missing == 1 { "" } else { "s" },
        names.join(", "),
        more(missing - names.len()),
        if found.is_empty() {
            "no columns".to_owned()
        } else {
            found[..listed].join(", ")
        },
        more(found.len() - listed),
    )
}

/// Whether a feature has categories that are not whole numbers.
fn takes_texts(input: &ModelInput) -> bool {
    input.contract.kind == FeatureType::Category && !input.has_whole_categories()
}
