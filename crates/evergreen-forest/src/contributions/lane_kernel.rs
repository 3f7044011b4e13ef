//! Runs the lane kernel for blocks of rows: eight rows per vector, several vectors per tree.

use std::ops::Range;

use crate::contributions::ROWS_OF_A_VECTOR;
use crate::contributions::lane_walk::{self, ColumnSums, CreditSink, WalkFrame, WalkRows};
#[cfg(target_arch = "x86_64")]
use crate::contributions::lanes::PerNode;
#[cfg(target_arch = "x86_64")]
use crate::contributions::lanes::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::contributions::lanes::node_lanes::NodeIsa;
use crate::contributions::lanes::portable::Portable;
use crate::contributions::lanes::{BinLine, LANES, LaneIsa, LaneSet, Line};
use crate::contributions::pair_sums::{PairPlaces, PairSums, PathEdge};
use crate::contributions::tree_program::{TreePass, TreePrograms};

/// Additions to a column, on average, after which its `f32` sums are added to the `f64` sums.
const ADDITIONS: usize = 64;

/// A tree's part in an output group.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeTerm {
    /// The number of the program.
    pub(super) tree: usize,
    /// Which of the numbers of its leaves.
    pub(super) output: usize,
    pub(super) group: usize,
    /// Whether only this kernel takes the tree.
    pub(super) only: bool,
}

/// Terms of one group whose contributions are summed in `f32`.
#[derive(Debug)]
struct TermSpan {
    group: usize,
    only: bool,
    terms: Range<usize>,
}

/// Trees in the layout of the lane kernel.
#[derive(Debug)]
pub(super) struct LaneKernel {
    programs: TreePrograms,
    /// In the order of groups.
    terms: Vec<TreeTerm>,
    spans: Vec<TermSpan>,
    /// Columns of bins.
    columns: usize,
    /// Numbers per leaf.
    outputs: usize,
    /// Frames that a walk needs.
    frames: usize,
    isa: LaneSet,
}

/// Working memory, grown on first use.
#[derive(Debug, Default)]
pub(super) struct LaneBuffers {
    /// For each vector of rows one line per column.
    pub(super) bins: Vec<BinLine>,
    sums: Vec<Line>,
    /// Of one row: a number for each quadrature node.
    #[cfg(target_arch = "x86_64")]
    node_sums: Vec<PerNode>,
    frames: Vec<WalkFrame>,
    edges: Vec<PathEdge>,
}

impl LaneKernel {
    /// Arranges programs, for bins of so many columns and leaves of so many numbers.
    pub(super) fn new(
        programs: TreePrograms,
        mut terms: Vec<TreeTerm>,
        (columns, outputs): (usize, usize),
        isa: LaneSet,
    ) -> Self {
        // The walk relies on it.
        assert!(programs.columns() <= columns, "all columns of the programs");
        // Stable: the order of trees within a group stays.
        terms.sort_by_key(|term| (term.group, term.only));
        let mut spans: Vec<TermSpan> = Vec::new();
        let mut left = 0;
        for (at, term) in terms.iter().enumerate() {
            let splits = programs.splits(term.tree);
            match spans.last_mut() {
                Some(span) if (span.group, span.only) == (term.group, term.only) && splits <= left => {
                    span.terms.end = at + 1;
                    left -= splits;
                }
                _ => {
                    spans.push(TermSpan {
                        group: term.group,
                        only: term.only,
                        terms: at..at + 1,
                    });
                    left = (ADDITIONS * columns).saturating_sub(splits);
                }
            }
        }
        Self {
            frames: programs.most_depth() + 1,
            isa,
            programs,
            terms,
            spans,
            columns,
            outputs,
        }
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        self.programs.bytes() + size_of_val(self.terms.as_slice()) + size_of_val(self.spans.as_slice())
    }

    /// Returns whether there are no trees.
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns whether there are trees that no other kernel takes.
    pub(super) fn has_only(&self) -> bool {
        self.spans.iter().any(|span| span.only)
    }

    /// Adds the contributions of up to `8 · vectors` rows, of all trees or of those that no other kernel takes.
    /// `buffers.bins` holds a line per column for each vector. `add(lane, group, column, sum)` takes the sums; `lane` counts
    /// the rows of all vectors.
    pub(super) fn add(
        &self,
        all: bool,
        buffers: &mut LaneBuffers,
        mut add: impl FnMut(usize, usize, usize, f32),
    ) {
        let columns = self.columns;
        let LaneBuffers {
            bins, sums, frames, ..
        } = buffers;
        if frames.len() < self.frames {
            frames.resize(self.frames, WalkFrame::default());
        }
        // Also after a panic in an earlier call.
        sums.clear();
        sums.resize(bins.len(), Line::default());
        for span in self.spans.iter().filter(|span| all || span.only) {
            let mut rows = WalkBlock {
                columns,
                bins,
                sums,
                frames,
            };
            self.walk(span, &mut rows);
            for (vector, sums) in sums.chunks_exact_mut(columns).enumerate() {
                for (column, line) in sums.iter_mut().enumerate() {
                    for (lane, sum) in line.0.iter().enumerate() {
                        add(vector * LANES + lane, span.group, column, *sum);
                    }
                    *line = Line::default();
                }
            }
        }
    }

    /// Returns how many of so many rows should be given to [`Self::add_interactions`] at once.
    pub(super) fn rows_of_interactions(&self, rows: usize) -> usize {
        if rows < ROWS_OF_A_VECTOR && self.isa != LaneSet::Portable {
            1
        } else {
            LANES
        }
    }

    /// Adds the interactions of `rows` rows, at most a vector of them, whose bins are in `buffers.bins`. `places` numbers the
    /// features of the columns from 0 to `used - 1`. `add(row, group, place, other, sum)` takes for each pair of places a
    /// part of their interaction index, and for equal places the contribution.
    pub(super) fn add_interactions(
        &self,
        rows: usize,
        (places, used): (&[u32], usize),
        buffers: &mut LaneBuffers,
        mut add: impl FnMut(usize, usize, usize, usize, f32),
    ) {
        let LaneBuffers {
            bins,
            frames,
            edges,
            sums,
            #[cfg(target_arch = "x86_64")]
            node_sums,
        } = buffers;
        // The walk relies on it.
        assert!(bins.len() >= self.columns, "a line of bins for each column");
        frames.resize(self.frames.max(frames.len()), WalkFrame::default());
        edges.resize(self.frames.max(edges.len()), PathEdge::default());
        let mut walk_rows = WalkRows { bins, frames };
        let mut pairs = PairPlaces { used, places, edges };
        for span in &self.spans {
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                LaneSet::Avx2 if rows == 1 => {
                    let add = |place, other, nodes: &PerNode| {
                        add(0, span.group, place, other, nodes.0.iter().sum());
                    };
                    // SAFETY: the set is chosen only where it is available.
                    let walk = |pairs: &mut PairSums<'_, _>| unsafe {
                        self.walk_pairs_of_one(span, &mut walk_rows, pairs);
                    };
                    pairs.sum(node_sums, walk, add);
                }
                _ => {
                    let add = |place, other, line: &Line| {
                        for (row, sum) in line.0[..rows].iter().enumerate() {
                            add(row, span.group, place, other, *sum);
                        }
                    };
                    let walk = |pairs: &mut PairSums<'_, _>| self.walk_pairs(span, &mut walk_rows, pairs);
                    pairs.sum(sums, walk, add);
                }
            }
        }
    }

    /// Walks the trees of a span with the chosen instruction set.
    fn walk(&self, span: &TermSpan, rows: &mut WalkBlock<'_>) {
        match self.isa {
            LaneSet::Portable => self.walk_in(Portable, span, rows),
            // SAFETY: the set is chosen only where it is available.
            #[cfg(target_arch = "x86_64")]
            LaneSet::Avx2 => unsafe { self.walk_avx2(span, rows) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn walk_avx2(&self, span: &TermSpan, rows: &mut WalkBlock<'_>) {
        // SAFETY: this function is compiled for the ISA.
        self.walk_in(unsafe { Avx2::new() }, span, rows);
    }

    #[inline(always)]
    fn walk_in<S: LaneIsa>(&self, isa: S, span: &TermSpan, block: &mut WalkBlock<'_>) {
        for term in &self.terms[span.terms.clone()] {
            let nodes = self.programs.nodes(term.tree);
            for pass in self.programs.passes(term.tree, term.output, self.outputs) {
                let vectors = block.bins.chunks_exact(block.columns);
                for (bins, sums) in vectors.zip(block.sums.chunks_exact_mut(block.columns)) {
                    let frames = &mut *block.frames;
                    let mut rows = WalkRows { bins, frames };
                    // SAFETY: bins and sums have all columns, and there are frames for the deepest tree; see `add`.
                    unsafe { walk_pass(isa, nodes, &pass, &mut rows, &mut ColumnSums(sums)) };
                }
            }
        }
    }

    /// Walks the trees of a span for interactions.
    fn walk_pairs(&self, span: &TermSpan, rows: &mut WalkRows<'_>, pairs: &mut PairSums<'_, Line>) {
        match self.isa {
            LaneSet::Portable => self.walk_pairs_in(Portable, span, rows, pairs),
            // SAFETY: the set is chosen only where it is available.
            #[cfg(target_arch = "x86_64")]
            LaneSet::Avx2 => unsafe { self.walk_pairs_avx2(span, rows, pairs) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn walk_pairs_avx2(&self, span: &TermSpan, rows: &mut WalkRows<'_>, pairs: &mut PairSums<'_, Line>) {
        // SAFETY: this function is compiled for the ISA.
        self.walk_pairs_in(unsafe { Avx2::new() }, span, rows, pairs);
    }

    /// As [`Self::walk_pairs_avx2`], with the quadrature nodes of the first row as lanes.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn walk_pairs_of_one(&self, span: &TermSpan, rows: &mut WalkRows<'_>, pairs: &mut PairSums<'_, PerNode>) {
        // SAFETY: this function is compiled for the ISA.
        let isa = unsafe { NodeIsa::new() };
        for term in &self.terms[span.terms.clone()] {
            for pass in self.programs.passes(term.tree, term.output, self.outputs) {
                // SAFETY: bins have all columns, and there are frames for the deepest tree; see `add_interactions`.
                unsafe { lane_walk::walk::<NodeIsa, 1>(isa, &pass, rows, pairs) };
            }
        }
    }

    #[inline(always)]
    fn walk_pairs_in<S: LaneIsa<Packed = Line>>(
        &self,
        isa: S,
        span: &TermSpan,
        rows: &mut WalkRows<'_>,
        pairs: &mut PairSums<'_, Line>,
    ) {
        for term in &self.terms[span.terms.clone()] {
            let nodes = self.programs.nodes(term.tree);
            for pass in self.programs.passes(term.tree, term.output, self.outputs) {
                // SAFETY: as in `walk_pairs_of_one`.
                unsafe { walk_pass(isa, nodes, &pass, rows, pairs) };
            }
        }
    }
}

/// Walks a tree for one pass of `nodes` quadrature nodes.
///
/// # Safety
/// As [`lane_walk::walk`].
#[inline(always)]
unsafe fn walk_pass<S: LaneIsa, C>(
    isa: S,
    nodes: usize,
    pass: &TreePass<'_>,
    rows: &mut WalkRows<'_>,
    sink: &mut C,
) where
    C: CreditSink<S, 2> + CreditSink<S, 3> + CreditSink<S, 4>,
{
    // SAFETY: guaranteed by the caller.
    unsafe {
        match nodes {
            2 => lane_walk::walk::<S, 2>(isa, pass, rows, sink),
            3 => lane_walk::walk::<S, 3>(isa, pass, rows, sink),
            _ => lane_walk::walk::<S, 4>(isa, pass, rows, sink),
        }
    }
}

/// Vectors of rows that are walked together.
struct WalkBlock<'a> {
    columns: usize,
    bins: &'a [BinLine],
    sums: &'a mut [Line],
    frames: &'a mut [WalkFrame],
}
