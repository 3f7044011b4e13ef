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
use crate::contributions::lanes::{LaneIsa, Lanes, Line, PASS_NODES};
use crate::contributions::tree_program::{PassRule, WalkStep};

/// A split on the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PathEdge {
    /// `ρ` of the split's feature, for each quadrature node.
    rho: [Line; PASS_NODES],
    /// `ρ` of the rows that go along the edge to the second child.
    along_second: [Line; PASS_NODES],
    /// The feature's place in the matrix.
    place: usize,
    /// Whether a later split of the path tests the same feature.
    hidden: bool,
}

/// Most sums that a scratch keeps for later calls.
const KEPT_SUMS: usize = 1 << 15;

/// Where pairs of features are summed.
pub(super) struct PairPlaces<'a> {
    /// Features used by the model.
    pub(super) used: usize,
    /// The place of each column's feature.
    pub(super) places: &'a [u32],
    /// At least as many as the longest path.
    pub(super) edges: &'a mut [PathEdge],
}

impl PairPlaces<'_> {
    /// Sums what `walk` credits in `sums`, and gives the sum of each pair of places to `add`.
    pub(super) fn sum<P: Copy + Default>(
        &mut self,
        sums: &mut Vec<P>,
        walk: impl FnOnce(&mut PairSums<'_, P>),
        mut add: impl FnMut(usize, usize, &P),
    ) {
        let used = self.used;
        // Also after a panic in an earlier call.
        sums.clear();
        sums.resize(used * used, P::default());
        walk(&mut PairSums {
            used,
            places: self.places,
            sums,
            edges: self.edges,
        });
        for (place, sums) in sums.chunks_exact(used).enumerate() {
            for (other, sum) in sums.iter().enumerate() {
                add(place, other, sum);
            }
        }
        // Pairs of many features take much memory, and are rarely asked for.
        if sums.len() > KEPT_SUMS {
            *sums = Vec::new();
        }
    }
}

/// Sums credits by pairs of features.
pub(super) struct PairSums<'a, P> {
    /// Features used by the model.
    pub(super) used: usize,
    /// The place of each column's feature.
    pub(super) places: &'a [u32],
    /// `used × used` vectors: a split's own credit on the diagonal, its credits with features above it in its row.
    pub(super) sums: &'a mut [P],
    /// At least as many as the longest path.
    pub(super) edges: &'a mut [PathEdge],
}

impl<P> PairSums<'_, P> {
    /// Sets `ρ` of the edge that is walked, for the rows that are `here` from `along`, and for the others.
    #[inline(always)]
    fn set_rho<S: LaneIsa, const Q: usize>(
        &mut self,
        isa: S,
        rule: &PassRule,
        depth: usize,
        here: S::Lanes,
        along: &[S::Lanes; Q],
    ) {
        let off = isa.nodes::<Q>(&rule.off);
        for at in 0..Q {
            here.choose(along[at], off[at])
                .store(&mut self.edges[depth].rho[at]);
        }
    }
}

/// Returns `ρ` of the rows that go along an edge with the share `z` of the training weight.
#[inline(always)]
fn along<S: LaneIsa, const Q: usize>(isa: S, rule: &PassRule, z: f32) -> [S::Lanes; Q] {
    let (t, u) = (isa.nodes::<Q>(&rule.t), isa.nodes::<Q>(&rule.u));
    let mut along = t;
    for at in 0..Q {
        along[at] = isa.splat(1.0 - z) / u[at].mul_add(isa.splat(z), t[at]);
    }
    along
}

impl<S: LaneIsa, const Q: usize> CreditSink<S, Q> for PairSums<'_, S::Packed> {
    #[inline(always)]
    fn enter(&mut self, isa: S, rule: &PassRule, step: &WalkStep, depth: usize, here: S::Lanes) {
        if step.repeat != 0 {
            self.edges[step.ancestor as usize].hidden = true;
        }
        let edge = &mut self.edges[depth];
        edge.hidden = false;
        edge.place = self.places[step.column as usize] as usize;
        // Both at once: divisions take long, and do not wait for each other.
        let first = along::<S, Q>(isa, rule, step.earlier * step.share);
        let second = along::<S, Q>(isa, rule, step.earlier * (1.0 - step.share));
        for at in 0..Q {
            second[at].store(&mut edge.along_second[at]);
        }
        self.set_rho::<S, Q>(isa, rule, depth, here, &first);
    }

    #[inline(always)]
    fn turn(&mut self, isa: S, rule: &PassRule, _: &WalkStep, depth: usize, here: S::Lanes) {
        let mut second = [here; Q];
        for at in 0..Q {
            second[at] = isa.load(&self.edges[depth].along_second[at]);
        }
        self.set_rho::<S, Q>(isa, rule, depth, here, &second);
    }

    #[inline(always)]
    fn leave(&mut self, step: &WalkStep) {
        if step.repeat != 0 {
            self.edges[step.ancestor as usize].hidden = false;
        }
    }

    #[inline(always)]
    unsafe fn credit(
        &mut self,
        isa: S,
        step: &WalkStep,
        depth: usize,
        ap: &[S::Lanes; Q],
        d: &[S::Lanes; Q],
    ) {
        let place = self.places[step.column as usize] as usize;
        let row = &mut self.sums[place * self.used..][..self.used];
        let mut credits = *ap;
        let mut total = isa.splat(0.0);
        for at in 0..Q {
            credits[at] = ap[at] * d[at];
            total = total + credits[at];
        }
        let own = &mut row[place];
        isa.pack(isa.unpack(own) + total, own);
        for edge in &self.edges[..depth] {
            if edge.hidden || edge.place == place {
                continue;
            }
            let sum = &mut row[edge.place];
            let mut total = isa.unpack(sum);
            for at in 0..Q {
                total = credits[at].mul_add(isa.load(&edge.rho[at]), total);
            }
            isa.pack(total, sum);
        }
    }
}
