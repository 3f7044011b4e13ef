//! What a source holds for one slot of a model: an input, or an operand of a derived input.

/// What a source has for one input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlotValue {
    /// A number, or a category's code.
    Value(f64),
    /// An explicit null.
    Null,
    /// Nothing: the source has no such feature for the entity.
    Absent,
    /// A category the model was not trained on.
    UnknownCategory,
    /// A value that the feature's type does not take: it counts as absent.
    Invalid,
}
