//! The memory that a batch takes while it is scored.

use super::request::ScoreRequest;
use super::servable::Servable;

/// Bytes that an entity's result takes without reasons, in memory and as text.
pub(super) const RESULT_BYTES: usize = 768;

/// Bytes that a value takes in the reply of a store and in the vector that is made from it.
const REPLY_BYTES: usize = 64;

/// Bytes that a reason takes, in memory and as text.
const REASON_BYTES: usize = 2048;

/// Bytes that the contribution of one feature of a group takes, in memory and as text.
const PART_BYTES: usize = 256;

/// The memory of a batch from its rows to the text of its answer, in bytes. An estimate from above.
pub(super) fn batch_bytes(servable: &Servable, request: &ScoreRequest) -> usize {
    let width = servable.model.inputs.len();
    // Two rows of 64-bit numbers: the assembled one, and the one that the kernel reads.
    let row = width * 2 * size_of::<f64>();
    let is_remote = servable.plan.as_ref().is_some_and(|plan| plan.is_remote());
    let reply = if is_remote { width * REPLY_BYTES } else { 0 };
    let reasons = match request.explain.any() {
        true => {
            let contributions = servable.model.forest.summary().groups * (width + 1) * size_of::<f64>();
            request.explain.most().min(width) * REASON_BYTES + width * PART_BYTES + contributions
        }
        false => 0,
    };
    request
        .entities
        .len()
        .saturating_mul(row + reply + RESULT_BYTES + reasons)
}
