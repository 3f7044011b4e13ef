//! Parses `base_score`, the initial value of the sums.
//!
//! It is a string, in the space of the *values*: one number up to release 3.0 (`5E-1`), a list since 3.1
//! (`[5E-1]`, one number for all groups or one per group). It is converted to margins once, in `f32`.

use crate::format::xgboost::objective::{BaseLink, XgBoostObjective};
use crate::transform::LEAST_GAP;

/// Returns the initial margin of each group.
pub(super) fn margins(
    text: &str,
    groups: usize,
    objective: &XgBoostObjective,
    version: &[u32],
) -> Result<Vec<f32>, String> {
    let inner = text
        .trim()
        .trim_start_matches(['[', '('])
        .trim_end_matches([']', ')']);
    let mut scores = Vec::new();
    for part in inner.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let score: f32 = part
            .parse()
            .map_err(|_| format!("expected a number such as 0.5, found `{part}`"))?;
        scores.push(score);
    }
    match scores.as_slice() {
        [one] => scores = vec![*one; groups],
        all if all.len() == groups => {}
        all => return Err(format!("expected 1 or {groups} numbers, found {}", all.len())),
    }
    let clamps = version >= [3, 2].as_slice();
    link(&mut scores, objective.base, clamps);
    if scores.iter().all(|margin| margin.is_finite()) {
        Ok(scores)
    } else {
        Err(format!(
            "`{text}` has no finite margin for objective {}",
            objective.name
        ))
    }
}

fn link(scores: &mut [f32], link: BaseLink, clamps: bool) {
    match link {
        BaseLink::Identity => {}
        BaseLink::Logit => {
            for score in scores {
                let p = if clamps {
                    score.clamp(1e-6, 1.0 - 1e-6)
                } else {
                    *score
                };
                *score = -(1.0 / p - 1.0).ln();
            }
        }
        BaseLink::Log => scores.iter_mut().for_each(|score| *score = score.ln()),
        BaseLink::InverseSoftplusOfGaps => {
            for at in (1..scores.len()).rev() {
                let gap = match (scores.get(at - 1), scores.get(at)) {
                    (Some(below), Some(above)) => above - below,
                    _ => continue,
                };
                if let Some(score) = scores.get_mut(at) {
                    // Keep the gaps away from zero by the amount that the transform adds.
                    let gap = (gap - LEAST_GAP).max(LEAST_GAP);
                    *score = gap + (-(-gap).exp_m1()).ln();
                }
            }
        }
    }
}
