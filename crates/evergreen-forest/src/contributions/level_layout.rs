//! The layout of the level kernel: chunks of trees in level order, eight splits per vector.
//!
//! The splits of a level of all trees of a chunk stand side by side. A vector writes what its children need to the next
//! level: first for the left children that are splits, then for the right ones. So a level is full whatever the shape of
//! the trees, and only its last vector is padded.

use crate::contributions::lanes::LANES;
use crate::contributions::quadrature::{QuadratureNode, gauss_legendre, node_count};
use crate::contributions::tree_source::TreeSource;
use crate::ensemble::{ChildRef, ChildTarget};
use crate::number::Real;

/// Most levels: a path's turns are kept as bits of an `f32` lane.
pub(super) const MAX_LEVELS: usize = 32;

/// Most splits of a tree: the working memory is 72 bytes for each.
pub(super) const MAX_SPLITS: usize = 1 << 14;

/// Splits of a chunk, unless its only tree has more: enough for full vectors on most levels, and few enough for the working
/// memory to stay in the L2 cache.
const CHUNK_SPLITS: usize = 1024;

/// Most quadrature nodes of a pass.
pub(super) const LEVEL_NODES: usize = 8;

/// Marks a child that is a leaf in [`LevelVector::picks`].
const LEAF: u8 = 0x80;

/// Eight splits of one level, as left and right children of what the names say.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(super) struct LevelVector {
    /// A row goes right if the bin of the column is greater.
    pub(super) bounds: [i32; LANES],
    /// The share of the training weight that goes left.
    pub(super) shares: [f32; LANES],
    /// Left and right leaves less the tree's mean, divided by the scale; 0 for children that are splits.
    pub(super) leaves: [[f32; LANES]; 2],
    /// The turns that keep a row at the earlier splits on the same feature; none for other splits.
    pub(super) needed: [u32; LANES],
    pub(super) columns: [u16; LANES],
    /// For each place in the next level the split whose left (right) child stands there.
    pub(super) packs: [[u8; LANES]; 2],
    /// For each split the place of its left (right) child among those of the vector, or [`LEAF`].
    pub(super) picks: [[u8; LANES]; 2],
    /// The numbers of left and of right children that are splits.
    pub(super) counts: [u8; 2],
    /// Whether a split repeats a feature: the factors of the vector then stand in [`LevelLayout::factors`].
    pub(super) repeats: bool,
}

impl Default for LevelVector {
    /// Splits that add nothing.
    fn default() -> Self {
        Self {
            bounds: [i32::MAX; LANES],
            shares: [0.5; LANES],
            leaves: [[0.0; LANES]; 2],
            needed: [0; LANES],
            columns: [0; LANES],
            packs: [[0; LANES]; 2],
            picks: [[LEAF; LANES]; 2],
            counts: [0; 2],
            repeats: false,
        }
    }
}

/// Quadrature nodes that are evaluated together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LevelRule {
    /// `1 - t`
    pub(super) u: [f32; LEVEL_NODES],
    /// `1 / (t (1 - t))`
    pub(super) c: [f32; LEVEL_NODES],
    pub(super) weight: [f32; LEVEL_NODES],
}

/// A level of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelSize {
    pub(super) vectors: usize,
    pub(super) splits: usize,
}

/// Trees that are evaluated together, all of one group.
#[derive(Clone, Debug)]
pub(super) struct LevelChunk {
    pub(super) group: usize,
    /// Trees.
    pub(super) roots: usize,
    /// Position in [`LevelLayout::vectors`].
    pub(super) first_vector: usize,
    pub(super) levels: Vec<LevelSize>,
    /// Quadrature nodes per pass.
    pub(super) nodes: usize,
    pub(super) rules: Vec<LevelRule>,
    /// Position in [`LevelLayout::factors`].
    pub(super) first_factor: usize,
    /// Vectors with repeated features.
    pub(super) repeats: usize,
}

/// The trees of at most [`MAX_LEVELS`] levels, with one number per leaf.
#[derive(Debug, Default)]
pub(super) struct LevelLayout {
    /// In the order of groups.
    pub(super) chunks: Vec<LevelChunk>,
    pub(super) vectors: Vec<LevelVector>,
    /// For each pass of a chunk, each vector with repeated features and each node, in this order: `u z / g` of the lanes.
    pub(super) factors: Vec<[f32; LANES]>,
    /// Most vectors of a chunk.
    pub(super) most_vectors: usize,
}

/// A tree to lay out.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelTree {
    pub(super) root: ChildRef,
    pub(super) group: usize,
    pub(super) mean: f64,
    pub(super) splits: usize,
    /// Quadrature nodes.
    pub(super) order: usize,
}

/// A split of the level being written.
#[derive(Clone, Copy, Debug)]
struct LevelSplit {
    position: usize,
    mean: f64,
    /// The edge to it, as position in [`Edges`]; none at a root.
    edge: Option<usize>,
}

/// An edge of a path.
#[derive(Clone, Copy, Debug)]
struct PathEdge {
    /// The edge above.
    above: Option<usize>,
    /// The feature of the split that it leaves.
    feature: u32,
    /// The product of the shares of the path's edges at splits on the feature, this one among them.
    share: f64,
    /// Bit `d` is set if the path has a split on the feature at level `d`.
    levels: u32,
    /// Distinct features down to here.
    distinct: usize,
}

/// The edges of a chunk's trees.
#[derive(Debug, Default)]
struct Edges(Vec<PathEdge>);

impl Edges {
    /// Returns the nearest edge of a path at a split on a feature.
    fn on(&self, feature: u32, path: Option<usize>) -> Option<&PathEdge> {
        let mut next = path;
        while let Some(edge) = next.map(|at| &self.0[at]) {
            if edge.feature == feature {
                return Some(edge);
            }
            next = edge.above;
        }
        None
    }

    /// Returns the number of distinct features of a path.
    fn distinct(&self, path: Option<usize>) -> usize {
        path.map_or(0, |at| self.0[at].distinct)
    }

    /// Appends an edge to a path, given the share of its split's training weight that it takes. Returns its position.
    fn push(&mut self, path: Option<usize>, feature: u32, share: f64, level: usize) -> usize {
        let earlier = self.on(feature, path);
        let edge = PathEdge {
            above: path,
            feature,
            share: share * earlier.map_or(1.0, |edge| edge.share),
            levels: 1 << level | earlier.map_or(0, |edge| edge.levels),
            distinct: self.distinct(path) + usize::from(earlier.is_none()),
        };
        self.0.push(edge);
        self.0.len() - 1
    }
}

impl LevelLayout {
    /// Lays out trees whose roots are splits.
    pub(super) fn new<T: Real>(source: &TreeSource<'_, T>, mut trees: Vec<LevelTree>) -> Self {
        let mut layout = Self::default();
        // A chunk needs as many quadrature nodes as the tree that needs most.
        trees.sort_by_key(|tree| (tree.group, tree.order));
        let mut rest = trees.as_slice();
        while let Some(first) = rest.first() {
            let mut splits = 0;
            let end = rest.iter().take_while(|tree| {
                splits += tree.splits;
                tree.group == first.group && splits <= CHUNK_SPLITS
            });
            let (chunk, others) = rest.split_at(end.count().max(1));
            layout.push(source, chunk);
            rest = others;
        }
        layout.vectors.shrink_to_fit();
        layout.factors.shrink_to_fit();
        layout
    }

    fn push<T: Real>(&mut self, source: &TreeSource<'_, T>, trees: &[LevelTree]) {
        let first_vector = self.vectors.len();
        let mut levels: Vec<LevelSize> = Vec::new();
        let mut edges = Edges::default();
        let mut distinct = 0;
        // The shares of repeated features, for each vector that has any.
        let mut repeated: Vec<[f64; LANES]> = Vec::new();
        let mut level: Vec<LevelSplit> = trees.iter().filter_map(root).collect();
        while !level.is_empty() {
            let mut next = Vec::new();
            levels.push(LevelSize {
                vectors: level.len().div_ceil(LANES),
                splits: level.len(),
            });
            for splits in level.chunks(LANES) {
                let mut vector = LevelVector::default();
                let mut shares = [1.0; LANES];
                for (lane, split) in splits.iter().enumerate() {
                    let feature = source.ensemble.splits[split.position].feature;
                    let earlier = edges.on(feature, split.edge);
                    let test = source.tests[split.position];
                    vector.bounds[lane] = test.bound;
                    vector.columns[lane] = test.column as u16;
                    vector.shares[lane] = source.shares.left(split.position) as f32;
                    if let Some(earlier) = earlier {
                        shares[lane] = earlier.share;
                        vector.needed[lane] = earlier.levels;
                        vector.repeats = true;
                    }
                    distinct = distinct.max(edges.distinct(split.edge) + usize::from(earlier.is_none()));
                }
                for side in 0..2 {
                    let (vector, edges) = (&mut vector, &mut edges);
                    children(source, (splits, levels.len() - 1), side, vector, edges, &mut next);
                }
                if vector.repeats {
                    repeated.push(shares);
                }
                self.vectors.push(vector);
            }
            level = next;
        }
        let order = node_count(distinct);
        let passes = order.div_ceil(LEVEL_NODES);
        let nodes = order.div_ceil(passes).max(2);
        let mut rule = gauss_legendre(order);
        rule.resize(passes * nodes, QuadratureNode::PADDING);
        let first_factor = self.factors.len();
        for pass in rule.chunks(nodes) {
            for shares in &repeated {
                let factors = pass.iter().map(|QuadratureNode { t, .. }| {
                    shares.map(|z| ((1.0 - t) * z / (t + z * (1.0 - t))) as f32)
                });
                self.factors.extend(factors);
            }
        }
        self.most_vectors = self.most_vectors.max(self.vectors.len() - first_vector);
        self.chunks.push(LevelChunk {
            group: trees[0].group,
            roots: trees.len(),
            first_vector,
            levels,
            nodes,
            rules: rule.chunks(nodes).map(level_rule).collect(),
            first_factor,
            repeats: repeated.len(),
        });
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| {
            size_of::<LevelChunk>()
                + size_of_val(chunk.levels.as_slice())
                + size_of_val(chunk.rules.as_slice())
        });
        chunks.sum::<usize>() + size_of_val(self.vectors.as_slice()) + size_of_val(self.factors.as_slice())
    }
}

fn root(tree: &LevelTree) -> Option<LevelSplit> {
    match tree.root.target() {
        ChildTarget::Split(position) => Some(LevelSplit {
            position,
            mean: tree.mean,
            edge: None,
        }),
        ChildTarget::Leaf(_) => None,
    }
}

fn level_rule(nodes: &[QuadratureNode]) -> LevelRule {
    let mut rule = LevelRule::default();
    for (at, QuadratureNode { t, weight }) in nodes.iter().enumerate() {
        rule.u[at] = (1.0 - t) as f32;
        rule.c[at] = (1.0 / (t * (1.0 - t))) as f32;
        rule.weight[at] = *weight as f32;
    }
    rule
}

/// Describes the children on one side of a vector's splits: leaves in the vector, splits in the next level.
fn children<T: Real>(
    source: &TreeSource<'_, T>,
    (splits, level): (&[LevelSplit], usize),
    side: usize,
    vector: &mut LevelVector,
    edges: &mut Edges,
    next: &mut Vec<LevelSplit>,
) {
    let ensemble = source.ensemble;
    for (lane, split) in splits.iter().enumerate() {
        let node = &ensemble.splits[split.position];
        let child = if side == 0 { node.left } else { node.right };
        match child.target() {
            ChildTarget::Leaf(leaf) => {
                vector.leaves[side][lane] = source.leaf(leaf, 0, split.mean);
            }
            ChildTarget::Split(position) => {
                let count = vector.counts[side];
                vector.picks[side][lane] = count;
                vector.packs[side][usize::from(count)] = lane as u8;
                vector.counts[side] += 1;
                let left = source.shares.left(split.position);
                let share = if side == 0 { left } else { 1.0 - left };
                next.push(LevelSplit {
                    position,
                    mean: split.mean,
                    edge: Some(edges.push(split.edge, node.feature, share, level)),
                });
            }
        }
    }
}
