//! Models that are always valid: every byte goes into shapes, thresholds and rows, where the kernels differ.

use evergreen_forest::{Forest, Format, KernelName, LoadOptions};

use crate::input::Input;
use crate::models::agree;
use crate::quick;

/// Thresholds and values that meet: a comparison is decided by the last bit.
const NUMBERS: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.000_000_1,
    0.999_999_94,
    f32::MIN_POSITIVE,
    1e-45,
    3.0e9,
    f32::MAX,
    f32::MIN,
];

/// Values of rows beside those.
const OTHERS: [f32; 4] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5];

/// Most inner nodes of a tree, by choice. Small models are quick, and differ as much.
const SPLITS: [usize; 8] = [2, 3, 3, 5, 5, 9, 17, 41];

/// Most inner nodes of all trees: many trees are small ones.
const MOST_SPLITS: usize = 120;

/// Most inner nodes of all trees times rows.
const MOST_WALKS: usize = 2000;

/// Builds a model and rows from `bytes`, and compares the margins of every kernel with those of the reference.
pub fn kernels_agree(bytes: &[u8]) {
    let mut input = Input(bytes);
    let features = 1 + input.below(9);
    let classes = [1, 1, 1, 3][input.below(4)];
    // Many trees are rare, as they are slow.
    let rounds = match input.below(64) {
        63 => 40,
        choice => [1, 1, 2, 4][choice % 4],
    };
    let trees = classes * (1 + input.below(rounds));
    let mut left = MOST_SPLITS;
    let trees: Vec<Vec<u8>> = (0..trees)
        .map(|id| tree(&mut input, id, features, &mut left))
        .collect();
    let model = model(&trees, features, classes);
    // A full block of the kernels, and parts of one.
    let most_rows = [1, 2, 3, 4, 5, 9, 9, 130][input.below(8)];
    let most_rows = most_rows.min(MOST_WALKS / (1 + MOST_SPLITS - left));
    let rows = 1 + input.below(most_rows);
    let values: Vec<f32> = (0..rows * features).map(|_| value(&mut input)).collect();
    quick(bytes, || {
        let options = LoadOptions {
            format: Some(Format::XgBoost),
            kernel: Some(KernelName::Scalar),
            ..LoadOptions::default()
        };
        let mut forest = Forest::from_bytes(&model, &options).expect("a valid model");
        agree(&mut forest, &values, rows);
    });
}

fn number(input: &mut Input<'_>) -> f32 {
    match input.below(NUMBERS.len() + 4) {
        at if at < NUMBERS.len() => NUMBERS[at],
        _ => Some(f32::from_le_bytes(input.bytes()))
            .filter(|number| number.is_finite())
            .unwrap_or(2.0),
    }
}

fn value(input: &mut Input<'_>) -> f32 {
    match input.below(8) {
        at if at < OTHERS.len() => OTHERS[at],
        _ => number(input),
    }
}

/// A tree: one leaf becomes an inner node after the other.
fn tree(input: &mut Input<'_>, id: usize, features: usize, allowed: &mut usize) -> Vec<u8> {
    let splits = SPLITS[input.below(SPLITS.len())];
    let splits = input.below(splits).min(*allowed);
    *allowed -= splits;
    let nodes = 2 * splits + 1;
    let mut left = vec![-1; nodes];
    let mut right = vec![-1; nodes];
    let mut parents = vec![i64::from(i32::MAX); nodes];
    let mut leaves = vec![0];
    for split in 0..splits {
        // Deep trees are as frequent as wide ones.
        let deep = input.below(2) == 0;
        let at = if deep {
            leaves.len() - 1
        } else {
            input.below(leaves.len())
        };
        let node = leaves.swap_remove(at);
        let children = [2 * split + 1, 2 * split + 2];
        (left[node], right[node]) = (children[0] as i64, children[1] as i64);
        for child in children {
            parents[child] = node as i64;
            leaves.push(child);
        }
    }
    let conditions: Vec<f32> = left
        .iter()
        .map(|&child| match number(input) {
            // The sum of leaves stays finite.
            leaf if child < 0 && leaf.abs() > 1e6 => 0.25,
            number => number,
        })
        .collect();
    let flags: Vec<i32> = (0..nodes).map(|_| input.below(2) as i32).collect();
    let indices: Vec<i32> = (0..nodes).map(|_| input.below(features) as i32).collect();
    let ints = |values: &[i64]| values.iter().map(|&value| value as i32).collect::<Vec<_>>();
    let zeros = vec![0.0; nodes];
    let mut out = Ubjson::default();
    out.object(|tree| {
        tree.floats("base_weights", &zeros);
        for name in [
            "categories",
            "categories_nodes",
            "categories_segments",
            "categories_sizes",
        ] {
            tree.ints(name, &[]);
        }
        tree.ints("default_left", &flags);
        tree.int("id", id);
        tree.ints("left_children", &ints(&left));
        tree.floats("loss_changes", &zeros);
        tree.ints("parents", &ints(&parents));
        tree.ints("right_children", &ints(&right));
        tree.floats("split_conditions", &conditions);
        tree.ints("split_indices", &indices);
        tree.ints("split_type", &vec![0; nodes]);
        tree.floats("sum_hessian", &zeros);
        tree.texts(
            "tree_param",
            &[
                ("num_deleted", 0),
                ("num_feature", features),
                ("num_nodes", nodes),
                ("size_leaf_vector", 1),
            ],
        );
    });
    out.0
}

/// A model as XGBoost writes it, without what it does not need.
fn model(trees: &[Vec<u8>], features: usize, classes: usize) -> Vec<u8> {
    let groups: Vec<i32> = (0..trees.len()).map(|tree| (tree % classes) as i32).collect();
    let rounds: Vec<i32> = (0..=trees.len() / classes)
        .map(|round| (round * classes) as i32)
        .collect();
    let mut out = Ubjson::default();
    out.object(|file| {
        file.name("learner");
        file.object(|learner| {
            learner.name("gradient_booster");
            learner.object(|booster| {
                booster.text("name", "gbtree");
                booster.name("model");
                booster.object(|model| {
                    model.texts(
                        "gbtree_model_param",
                        &[("num_parallel_tree", 1), ("num_trees", trees.len())],
                    );
                    model.ints("iteration_indptr", &rounds);
                    model.ints("tree_info", &groups);
                    model.name("trees");
                    model.values(trees);
                });
            });
            learner.name("learner_model_param");
            learner.object(|param| {
                param.text("base_score", "[5E-1]");
                param.text("boost_from_average", "1");
                param.text("num_class", &(if classes == 1 { 0 } else { classes }).to_string());
                param.text("num_feature", &features.to_string());
                param.text("num_target", "1");
            });
            learner.name("objective");
            learner.object(|objective| match classes {
                1 => {
                    objective.text("name", "binary:logistic");
                    objective.texts("reg_loss_param", &[("scale_pos_weight", 1)]);
                }
                _ => {
                    objective.text("name", "multi:softprob");
                    objective.texts("softmax_multiclass_param", &[("num_class", classes)]);
                }
            });
        });
        file.ints("version", &[3, 2, 0]);
    });
    out.0
}

/// Writes Universal Binary JSON: quick to write and to read, so that most of the time goes into the kernels.
#[derive(Default)]
struct Ubjson(Vec<u8>);

impl Ubjson {
    fn object(&mut self, content: impl FnOnce(&mut Self)) {
        self.0.push(b'{');
        content(self);
        self.0.push(b'}');
    }

    fn length(&mut self, length: usize) {
        self.0.push(b'L');
        self.0.extend((length as i64).to_be_bytes());
    }

    fn name(&mut self, name: &str) {
        self.length(name.len());
        self.0.extend(name.bytes());
    }

    fn int(&mut self, name: &str, value: usize) {
        self.name(name);
        self.length(value);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.0.push(b'S');
        self.length(text.len());
        self.0.extend(text.bytes());
    }

    /// An object of numbers that XGBoost writes as texts.
    fn texts(&mut self, name: &str, numbers: &[(&str, usize)]) {
        self.name(name);
        self.object(|object| {
            for (name, number) in numbers {
                object.text(name, &number.to_string());
            }
        });
    }

    fn ints(&mut self, name: &str, values: &[i32]) {
        self.name(name);
        self.0.extend(b"[$l#");
        self.length(values.len());
        self.0.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    }

    fn floats(&mut self, name: &str, values: &[f32]) {
        self.name(name);
        self.0.extend(b"[$d#");
        self.length(values.len());
        self.0.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    }

    fn values(&mut self, values: &[Vec<u8>]) {
        self.0.extend(b"[#");
        self.length(values.len());
        self.0.extend(values.concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_valid() {
        for seed in 0..64u8 {
            let bytes: Vec<u8> = (0..600u32)
                .map(|at| (at * 2_654_435_761 >> 13) as u8 ^ seed)
                .collect();
            let mut input = Input(&bytes);
            for classes in [1, 3] {
                let trees: Vec<Vec<u8>> = (0..classes).map(|id| tree(&mut input, id, 3, &mut 100)).collect();
                Forest::from_bytes(&model(&trees, 3, classes), &LoadOptions::default())
                    .expect("a valid model");
            }
        }
    }
}
