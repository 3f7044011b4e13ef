//! Checks that the output named by a contract is one number that the model has.

use crate::models::contract::{Contract, ScoreKind};
use crate::models::version::output_of;
use evergreen_forest::{Forest, OutputKind};

/// Checks the kind of the score.
///
/// # Errors
/// The model lacks the output, or it is several numbers; the message lists the kinds that would do.
pub(super) fn score_is_one_number(forest: &Forest, contract: &Contract) -> Result<(), String> {
    let kind = contract.output.kind;
    if kind == ScoreKind::Probability && !forest.gives_probabilities() {
        let objective = &forest.summary().objective;
        return Err(format!(
            "[output] kind: expected one that the model has, as {objective} gives no probability: {}",
            scores_of(forest)
        ));
    }
    match forest.width(output_of(kind)) {
        Ok(1) => Ok(()),
        Ok(width) => Err(format!(
            "[output] kind: expected an output of one number, the model gives {width}: {}",
            scores_of(forest)
        )),
        Err(error) => Err(format!("[output] kind: {error}: {}", scores_of(forest))),
    }
}

/// The kinds of score that a model has, as advice.
fn scores_of(forest: &Forest) -> String {
    let kinds = [
        (OutputKind::Class, "\"class\""),
        (OutputKind::Value, "\"value\""),
        (OutputKind::Margin, "\"margin\""),
    ];
    let single = kinds.iter().filter(|(kind, _)| forest.width(*kind) == Ok(1));
    let single: Vec<&str> = single.map(|(_, name)| *name).collect();
    match single.as_slice() {
        [] => "the model has no output of one number; train one model per output".to_owned(),
        kinds => format!("use {}", kinds.join(" or ")),
    }
}
