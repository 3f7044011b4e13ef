//! The field of a feature in the layout of a store, and its precision.

use crate::features::layout::Field;
use crate::models::ModelVersion;
use crate::models::contract::FeatureContract;
use crate::values::feature_type::FeatureType;
use evergreen_forest::Precision;

/// Whether `f32` is enough for a slot: the model rounds to it, and no derived feature uses the slot.
pub(super) fn is_single(model: &ModelVersion, slot: usize) -> bool {
    let operand = model
        .derived
        .iter()
        .flatten()
        .any(|derived| derived.slots().contains(&slot));
    model.forest.precision() == Precision::F32 && slot < model.inputs.len() && !operand
}

/// Whether a field holds a feature.
pub(super) fn is_field(field: &Field, feature: &FeatureContract, group: Option<&str>) -> bool {
    field.group.as_deref() == group
        && field.column == feature.column()
        && field.kind == feature.kind
        && field.parse == feature.parse
}

/// Adds the field of a slot to those needed of a store.
pub(super) fn want(
    fields: &mut Vec<Field>,
    model: &ModelVersion,
    slot: usize,
    feature: &FeatureContract,
    group: Option<String>,
) {
    // Whole numbers and times stay exact, because their ranges are checked before the model rounds them.
    let small = matches!(feature.kind, FeatureType::Bool | FeatureType::Category);
    let single = small || (feature.kind == FeatureType::Float && is_single(model, slot));
    let position = fields
        .iter()
        .position(|field| is_field(field, feature, group.as_deref()));
    let position = position.unwrap_or_else(|| {
        fields.push(Field {
            group,
            column: feature.column().to_owned(),
            kind: feature.kind,
            parse: feature.parse,
            single,
            categories: Vec::new(),
            whole: false,
        });
        fields.len() - 1
    });
    let field = &mut fields[position];
    field.single &= single;
    field.whole |= model.slot_is_whole(slot);
    for category in model.slot_categories(slot) {
        if !field.categories.contains(&category) {
            field.categories.push(category);
        }
    }
}
