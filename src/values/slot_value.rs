//! The value of one slot of a model: an input, or an operand of a derived input.

/// The value of a slot, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlotValue {
    /// A number, or a category's code.
    Value(f64),
    /// An explicit null.
    Null,
    /// The source has no such feature for the entity.
    Absent,
    /// A category that the model was not trained on.
    UnknownCategory,
    /// A value that does not have the feature's type; it counts as absent.
    Invalid,
}
