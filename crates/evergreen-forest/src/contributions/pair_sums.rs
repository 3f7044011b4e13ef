//! Interaction values: how two features act together (SHAP interaction values), by the walk of the lane kernel.
//!
//! For features `i` and `j`, with the notation of [`lane_walk`](super::lane_walk), the Shapley interaction index of a leaf
//! is `v (o_i - z_i) (o_j - z_j) ∫₀¹ ∏_{k ≠ i, j} (o_k t + z_k (1 - t)) dt`. As in XGBoost's `pred_interactions`, each of the
//! two entries of the matrix holds half of it, and the diagonal holds what is left of the feature's contribution.
//!
//! On a path, `ρ_j = (o_j - z_j) / (o_j t + z_j u)` turns the factor of `j` into its difference: `(1 - z) / (t + z u)` if the
//! row goes along, otherwise `-1 / u`. So a split on `i` credits each feature `j` above it with `ρ_j` times its own credit.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over parallel arrays of a fixed length"
)]

use crate::contributions::lane_walk::CreditSink;
use crate::contributions::lanes::{LaneIsa, Lanes, Line};
use crate::contributions::tree_program::{PASS_NODES, PassRule, WalkStep};

/// A split on the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PathEdge {
    /// `ρ` of the split's feature, for each quadrature node.
    rho: [Line; PASS_NODES],
    /// The feature's place in the matrix.
    place: usize,
    /// Whether a later split of the path tests the same feature.
    hidden: bool,
}

/// Sums credits by pairs of features.
pub(super) struct PairSums<'a> {
    /// Features used by the model.
    pub(super) used: usize,
    /// The place of each column's feature.
    pub(super) places: &'a [u32],
    /// `used × used` lines: a split's own credit on the diagonal, its credits with features above it in its row.
    pub(super) sums: &'a mut [Line],
    /// At least as many as the longest path.
    pub(super) edges: &'a mut [PathEdge],
}

impl PairSums<'_> {
    /// Sets `ρ` for an edge with the share `z` of the training weight.
    #[inline(always)]
    fn set_rho<S: LaneIsa, const Q: usize>(
        &mut self,
        isa: S,
        rule: &PassRule,
        depth: usize,
        z: f32,
        here: S::Lanes,
    ) {
        for at in 0..Q {
            let along = (1.0 - z) / (rule.t[at] + z * rule.u[at]);
            let off = -1.0 / rule.u[at];
            here.choose(isa.splat(along), isa.splat(off))
                .store(&mut self.edges[depth].rho[at]);
        }
    }
}

impl<S: LaneIsa, const Q: usize> CreditSink<S, Q> for PairSums<'_> {
    #[inline(always)]
    fn enter(&mut self, isa: S, rule: &PassRule, step: &WalkStep, depth: usize, here: S::Lanes) {
        if step.repeat != 0 {
            self.edges[step.ancestor as usize].hidden = true;
        }
        let edge = &mut self.edges[depth];
        edge.hidden = false;
        edge.place = self.places[step.column as usize] as usize;
        self.set_rho::<S, Q>(isa, rule, depth, step.earlier * step.share, here);
    }

    #[inline(always)]
    fn turn(&mut self, isa: S, rule: &PassRule, step: &WalkStep, depth: usize, here: S::Lanes) {
        self.set_rho::<S, Q>(isa, rule, depth, step.earlier * (1.0 - step.share), here);
    }

    #[inline(always)]
    fn leave(&mut self, step: &WalkStep) {
        if step.repeat != 0 {
            self.edges[step.ancestor as usize].hidden = false;
        }
    }

    #[inline(always)]
    fn credit(&mut self, isa: S, step: &WalkStep, depth: usize, ap: &[S::Lanes; Q], d: &[S::Lanes; Q]) {
        let place = self.places[step.column as usize] as usize;
        let row = &mut self.sums[place * self.used..][..self.used];
        let mut credits = *ap;
        let mut total = isa.splat(0.0);
        for at in 0..Q {
            credits[at] = ap[at] * d[at];
            total = total + credits[at];
        }
        let own = &mut row[place];
        (isa.load(own) + total).store(own);
        for edge in &self.edges[..depth] {
            if edge.hidden || edge.place == place {
                continue;
            }
            let sum = &mut row[edge.place];
            let mut total = isa.load(sum);
            for at in 0..Q {
                total = credits[at].mul_add(isa.load(&edge.rho[at]), total);
            }
            total.store(sum);
        }
    }
}
